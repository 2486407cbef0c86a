"""Many checks at once: order, bounds, ^C, and the meter beside them."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from requiretls_client.cli import many
from requiretls_client.cli.many import Many
from requiretls_client.cli.meter import Meter


class Screen(io.StringIO):
    """Standard error on a terminal."""

    def isatty(self):
        """Say so."""
        return True


def test_results_come_in_order():
    """The first job ends last, and its result is first all the same."""
    others_done = threading.Event()

    def first():
        assert others_done.wait(30)
        return "first"

    def last():
        others_done.set()
        return "last"

    assert list(Many([first, lambda: "second", last]).results()) == ["first", "second", "last"]


def test_never_more_at_once(monkeypatch):
    """A thousand jobs run on a few threads, and are not all begun at once."""
    begun, running, most = 0, 0, 0
    lock = threading.Lock()

    def job():
        nonlocal begun, running, most
        with lock:
            begun, running = begun + 1, running + 1
            most = max(most, running)
        with lock:
            running -= 1

    results = Many([job] * 1000).results()
    next(results)
    assert begun <= many._AHEAD + 1
    assert len(list(results)) == 999
    assert most <= many.AT_ONCE


def test_a_bad_name_is_a_result():
    """A ValueError stands in its place; any other exception is a bug, and raised."""

    def bad():
        raise ValueError("no name")

    def bug():
        raise KeyError("bug")

    one, two = Many([bad, lambda: 2]).results()
    assert (str(one), two) == ("no name", 2)
    with pytest.raises(KeyError):
        list(Many([bug]).results())


def test_what_is_known_when_interrupted(monkeypatch):
    """After ^C what is done is told, in order; what is not is given up, and not waited for."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    stuck, go_on = threading.Event(), threading.Event()

    def hang():
        stuck.set()
        go_on.wait(30)

    jobs = Many([lambda: 1, hang, lambda: 3])
    results = jobs.results()
    assert next(results) == 1
    assert stuck.wait(30)
    jobs._begun[1].result(30)  # the third is done meanwhile
    try:
        assert list(jobs.known()) == [3]
        assert jobs.left == 1
    finally:
        go_on.set()


def test_second_interrupt_ends_at_once():
    """^C twice: the first tells what is known, the second does not wait for a silent server."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "requiretls_client", "check", "--timeout", "60",
             "--relay", f"127.0.0.1:{port}", "--relay", "127.0.0.1:1"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # A test run in the background of a shell has it ignored, and so would the child.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            line = process.stderr.readline()
            while "interrupted: " not in line:
                assert line, "no word of the interruption"
                line = process.stderr.readline()
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in out


@pytest.mark.parametrize("with_rich", [True, False])
def test_meter(monkeypatch, with_rich):
    """On a terminal the meter counts, and is gone while something else is printed."""
    if with_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with Meter(3) as meter:
        meter.step()
        with meter.aside():
            before = screen.getvalue()
            assert before.endswith(("\r", "\x1b[2K"))
        assert "1" in screen.getvalue()[len(before) :]
    assert screen.getvalue().endswith("\r") or screen.getvalue().endswith("\x1b[2K")


@pytest.mark.parametrize(("total", "screen"), [(1, Screen()), (3, io.StringIO())])
def test_no_meter(monkeypatch, total, screen):
    """Nothing is shown of one step, or where standard error is a file."""
    monkeypatch.setattr(sys, "stderr", screen)
    with Meter(total) as meter:
        meter.step()
        with meter.aside():
            pass
    assert screen.getvalue() == ""


def test_reader_of_many_that_has_gone():
    """``requiretls check ... | head -1`` ends at once, and quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    relays = [each for n in range(1, 30) for each in ("--relay", f"127.0.0.1:{n}")]
    done = subprocess.run(
        [sys.executable, "-m", "requiretls_client", "check", "--summary", *relays],
        stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
