"""``requiretls check``: what it prints, and the status it ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from small_internet import DOMAIN, FIRST, SECOND, WITHOUT
from support import CA_AT_HAND, NO_STARTTLS, nothing_sent, verbs

from requiretls_client import cli


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    """Keep policies away from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def ca_file(tmp_path):
    """Return a file with the authority of the tests' servers."""
    path = tmp_path / "ca.pem"
    path.write_bytes(CA_AT_HAND.pem)
    return path


def check(*arguments):
    """Run the command in this process; return its status."""
    return cli.main(["check", *map(str, arguments)])


def internet(net, ca_file):
    """Return the options that lead into a small internet."""
    server = net.name_server()
    return [
        "--nameserver", "127.0.0.1", "--nameserver-port", server.port, "--trust-ad",
        "--ca-file", ca_file, "--allow-private", "--port", net.port, "--timeout", 5,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ({}, {}, 0),
        ({"tls_extensions": WITHOUT}, {}, 1),
        ({}, NO_STARTTLS, 1),
        ({"tls_extensions": WITHOUT}, NO_STARTTLS, 3),
    ],
    ids=["all", "second", "first", "none"],
)
def test_check_of_a_domain(net, ca_file, capsys, first, second, status):
    """The status says how many hosts qualify; each host is shown once, and nothing is sent."""
    servers = net.host(FIRST, **first), net.host(SECOND, **second)
    net.mx(FIRST, SECOND)
    assert check(f"bob@{DOMAIN}", *internet(net, ca_file)) == status
    output = capsys.readouterr().out
    assert [output.count(f"REQUIRETLS to {each}: ") for each in (FIRST, SECOND)] == (
        [1, 2] if status == 3 else [1, 1]  # a refusal begins with the host that decides
    )
    assert ("5.7.30" in output) == bool(first)
    assert ("fix: " in output) == (status != 0)
    assert output.startswith("REQUIRETLS to ")
    assert "\nordinary: can be sent" in output
    for server in servers:
        assert nothing_sent(server)
        assert set(verbs(server)) <= {"EHLO", "STARTTLS", "QUIT"}


def test_check_that_could_not_tell(net, ca_file, capsys):
    """A name server that does not answer is no verdict on the domain."""
    net.host(FIRST, tls_extensions=WITHOUT)
    net.mx(FIRST)
    options = internet(net, ca_file)
    options[options.index("--nameserver-port") + 1] = net.port  # nobody listens there on UDP
    assert check(DOMAIN, *options) == 4
    assert "4.4.3" in capsys.readouterr().out


def test_private_addresses(net, ca_file, capsys):
    """Domains lead to private addresses only with --allow-private."""
    net.host(FIRST)
    net.mx(FIRST)
    options = internet(net, ca_file)
    assert check(DOMAIN, *options) == 0
    cautious = [each for each in options if each != "--allow-private"]
    assert check(DOMAIN, *cautious) == 3
    assert "private" in capsys.readouterr().out


def test_json(net, ca_file, capsys):
    """One object a line, in the versioned form of CheckReport.as_dict()."""
    net.host(FIRST)
    net.mx(FIRST)
    assert check(DOMAIN, f"x@{DOMAIN}", "--json", *internet(net, ca_file)) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["target"] for each in objects] == [DOMAIN, f"x@{DOMAIN}"]
    assert all(each["schema"] == "requiretls-check/1" for each in objects)
    assert all(each["verdict"]["allowed"] for each in objects)


@pytest.mark.parametrize(("options", "status"), [({}, 0), ({"tls_extensions": WITHOUT}, 3)])
def test_relay(serve, ca_file, capsys, options, status):
    """--relay looks at a submission server without any DNS."""
    server = serve(certificate=CA_AT_HAND.issue("localhost"), **options)
    assert check("--relay", f"{server.host}:{server.port}", "--ca-file", ca_file) == status
    assert ("5.7.30" in capsys.readouterr().out) == bool(status)
    assert nothing_sent(server)


def test_relay_that_is_down(capsys):
    """A connection that is refused may be taken later."""
    assert check("--relay", "127.0.0.1:9") == 4
    assert "could not be reached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a domain"),
        (["a\x1b[31m.example"], "control character"),
        (["--relay", "a:b:c"], "--relay must be"),
        (["--relay", "a:0"], "port"),
        (["--ca-file", "/nonexistent", DOMAIN], "No such file"),
        (["--nameserver", "ns.example", DOMAIN], "ns.example"),
    ],
)
def test_wrong_call(capsys, arguments, said):
    """Status 2, a sentence on standard error, and no raw control character in it."""
    assert check(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert "\x1b" not in printed.err


def test_bad_target_beside_a_good_one(net, ca_file, capsys):
    """The good one is checked all the same."""
    net.host(FIRST)
    net.mx(FIRST)
    assert check("a..b", DOMAIN, *internet(net, ca_file)) == 2
    assert "allowed" in capsys.readouterr().out


def test_help():
    """The status codes are in --help; the list of commands loads neither DNS nor sockets."""
    done = subprocess.run(
        [sys.executable, "-m", "requiretls_client", "check", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    assert "4  could not tell" in done.stdout
    code = (
        "import sys\nfrom requiretls_client.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'dns', 'requests', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_reader_that_has_gone():
    """Output into a closed pipe ends the command quietly, as it ends others."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "requiretls_client", "check", "--relay", "127.0.0.1:9"],
        stdout=writing, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_interrupted(monkeypatch, capsys):
    """^C is a status and not a traceback."""

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("requiretls_client.cli.check.check_relay", interrupt)
    assert check("--relay", "127.0.0.1:9") == 130
    assert capsys.readouterr().err == ""
