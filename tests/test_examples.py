"""The scripts in examples/ do what they say, each in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
ADDRESSES = ("--from", "alice@example.org", "--to", "bob@example.net")
OFFERS_NOTHING = {"tls_extensions": ["8BITMIME"]}
SECRET = "canary-password"


def run(script, *arguments, stdin="", **environment):
    """Run an example as from a shell, with this checkout first on its path."""
    return subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        input=stdin,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd="/",
    )


@pytest.fixture
def example(tmp_path):
    """Return what runs an example against a server, trusting the server's authority."""

    def start(name, server, *arguments, **rest):
        ca_file = tmp_path / "ca.pem"
        ca_file.write_bytes(server.ca.pem)
        command = (server.host, server.port, "--ca-file", ca_file, *arguments)
        return run(ROOT / f"examples/{name}.py", *command, **rest)

    return start


@pytest.fixture
def nobody():
    """Return the address of a port that is taken and does not listen."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


def mail_commands(server):
    """Return the MAIL commands that the server was sent, on either channel."""
    return [command for command in server.commands() if command.upper().startswith("MAIL")]


def field(message, name):
    """Return the values that a header field has in an accepted message."""
    head = message.content.partition(b"\r\n\r\n")[0].decode()
    start = f"{name}: "
    return [line.removeprefix(start) for line in head.split("\r\n") if line.startswith(start)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_short_enough_to_copy(path):
    """An example is less than 60 lines and opens with how to call it."""
    lines = path.read_text().splitlines()
    assert len(lines) < 60
    assert lines[2].startswith("usage: ")
    assert path.name in lines[2]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_called_without_arguments(path):
    """An example that is called without arguments says how to call it, and fails."""
    done = run(path)
    assert done.returncode != 0
    assert done.stderr.startswith("usage: ")


def test_application_sends(serve, example):
    """The application's message leaves with REQUIRETLS, and the receipt says under what."""
    server = serve()
    done = example("application", server)
    assert (done.returncode, done.stderr) == (0, "")
    assert "REQUIRETLS to localhost: allowed" in done.stdout
    (message,) = server.ledger
    assert message.tls
    assert "REQUIRETLS" in message.parameters


def test_application_logs_in(serve, example):
    """The application logs in after TLS is up."""
    server = serve(users={"alice": SECRET})
    done = example("application", server, SMTP_USER="alice", SMTP_PASSWORD=SECRET)
    assert (done.returncode, done.stderr) == (0, "")
    assert any(command.startswith("AUTH") for command in server.commands("tls"))
    assert len(server.ledger) == 1


@pytest.mark.parametrize(
    ("offer", "status", "later"),
    [
        (OFFERS_NOTHING, "does not offer REQUIRETLS", False),
        ({"starttls": False}, "does not offer STARTTLS", False),
        ({"script": {"STARTTLS": "454 4.7.0 Later"}}, "refused STARTTLS", True),
    ],
)
def test_application_refused(serve, example, offer, status, later):
    """Where the server does not qualify, the application explains that and sends nothing."""
    server = serve(**offer)
    done = example("application", server)
    assert (done.returncode, done.stdout) == (1, "")
    assert status in done.stderr
    assert "fix: " in done.stderr
    assert ("Trying again later" in done.stderr) == later
    assert mail_commands(server) == []


def test_application_fails_otherwise(serve, example):
    """An ordinary failure is told apart from a refusal."""
    server = serve(script={"GREETING": "554 5.3.2 Closed"})
    done = example("application", server)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("not sent: (554, ")


@pytest.mark.parametrize("stock", [False, True])
def test_import_swap(serve, tmp_path, stock):
    """The script sends with our module and, with the old import line, with smtplib too."""
    server = serve()
    ca_file, script = tmp_path / "ca.pem", tmp_path / "script.py"
    ca_file.write_bytes(server.ca.pem)
    text = (ROOT / "examples/import_swap.py").read_text()
    ours = "import requiretls_client as smtplib  # was: import smtplib\n"
    assert text.count(ours) == 1
    script.write_text(text.replace(ours, "import smtplib\n") if stock else text)
    people = ("alice@example.org", "bob@example.net")
    done = run(script, server.host, server.port, *people, ca_file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "sent\n", "")
    (message,) = server.ledger
    assert message.tls
    assert message.recipients == ("bob@example.net",)
    assert field(message, "To") == ["<bob@example.net>"]


def test_import_swap_reports_recipients(serve, tmp_path):
    """The script's own handling of a refused recipient works as with smtplib."""
    server = serve(script={"RCPT": "550 5.1.1 No such user"})
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(server.ca.pem)
    people = ("alice@example.org", "bob@example.net")
    done = run(ROOT / "examples/import_swap.py", server.host, server.port, *people, ca_file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "bob@example.net: 550 5.1.1 No such user\n"
    assert server.ledger == []


def test_cron_alert_sends(serve, example):
    """The alert leaves with REQUIRETLS and with the header fields that a machine's mail has."""
    server = serve()
    done = example("cron_alert", server, *ADDRESSES, stdin="disk full: \u20ac\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (message,) = server.ledger
    assert "REQUIRETLS" in message.parameters
    assert message.recipients == ("bob@example.net",)
    assert field(message, "Auto-Submitted") == ["auto-generated"]
    assert len(field(message, "Date")) == len(field(message, "Message-ID")) == 1


def test_cron_alert_has_nothing_to_say(serve, example):
    """A job without output makes no mail, as with cron."""
    server = serve()
    done = example("cron_alert", server, *ADDRESSES, stdin="\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert server.commands() == []


# what the server does, exit status, what standard error says
CRON = [
    (OFFERS_NOTHING, 69, "does not offer REQUIRETLS"),
    ({"starttls": False}, 69, "does not offer STARTTLS"),
    ({"script": {"STARTTLS": "454 4.7.0 Later"}}, 75, "refused STARTTLS"),
    ({"script": {"GREETING": "421 4.3.2 Down"}}, 75, "421"),
    ({"script": {"MAIL": "550 5.7.1 Not you"}}, 69, "550"),
    ({"script": {"MAIL": "451 4.3.0 Later"}}, 75, "451"),
    ({"script": {"RCPT": "550 5.1.1 Nobody"}}, 69, "550"),
    ({"script": {"RCPT": "450 4.2.1 Busy"}}, 75, "450"),
]


@pytest.mark.parametrize(("offer", "status", "text"), CRON)
def test_cron_alert_fails(serve, example, offer, status, text):
    """An alert that cannot be sent is one line on standard error and a status of sysexits.h."""
    server = serve(**offer)
    done = example("cron_alert", server, *ADDRESSES, stdin="disk full\n")
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("cron_alert: not sent: ")
    assert done.stderr.count("\n") == 1
    assert text in done.stderr
    assert server.ledger == []


def test_cron_alert_meets_no_server(nobody):
    """Nobody listening is a reason to try again later."""
    done = run(ROOT / "examples/cron_alert.py", *nobody, *ADDRESSES, stdin="disk full\n")
    assert done.returncode == 75
    assert done.stderr.count("\n") == 1


def test_report_of_a_broken_certificate(serve, tmp_path):
    """The report says what is wrong and carries TLS-Required: No, over TLS that nobody verified."""
    server = serve()
    script = ROOT / "examples/tls_required_no.py"
    done = run(script, server.host, server.port)  # certifi knows nothing of the server's authority
    assert done.returncode == 0
    assert done.stdout.startswith("Reported: the certificate of localhost was not verified: ")
    assert "unverified_context()" in done.stderr
    (message,) = server.ledger
    assert message.tls
    assert message.parameters.count("REQUIRETLS") == 0
    assert message.recipients == ("postmaster@localhost",)
    assert field(message, "TLS-Required") == ["No"]
    assert b"was not verified" in message.content


def test_no_report_of_a_good_certificate(serve, example):
    """A certificate that verifies is reported to nobody."""
    server = serve()
    done = example("tls_required_no", server)
    assert (done.returncode, done.stderr) == (0, "")
    assert "in order" in done.stdout
    assert mail_commands(server) == []


# what the server offers, exit status, Postfix's word for it, the step that failed
WHY = [
    ({}, 0, "requiretls", None),
    (OFFERS_NOTHING, 1, "requiretls:none", "requiretls"),
    ({"starttls": False}, 1, "requiretls:nostarttls", "tls"),
]


@pytest.mark.parametrize(("offer", "status", "word", "step"), WHY)
def test_why_refused(serve, example, offer, status, word, step):
    """The verdict is shown for people and as JSON, and no MAIL is ever sent."""
    server = serve(**offer)
    done = example("why_refused", server)
    assert (done.returncode, done.stderr) == (status, "")
    assert ("FAIL" in done.stdout) == (step is not None)
    assert f"FAIL {step}: " in done.stdout or step is None
    done = example("why_refused", server, "--json")
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["allowed"], verdict["word"]) == (status, status == 0, word)
    failed = [finding["step"] for finding in verdict["findings"] if not finding["ok"]]
    assert failed == ([step] if step else [])
    assert mail_commands(server) == []


def test_why_refused_needs_a_certificate(serve):
    """A certificate from an authority that nobody trusts is a verdict too."""
    server = serve()
    done = run(ROOT / "examples/why_refused.py", server.host, server.port)
    assert done.returncode == 1
    assert "FAIL certificate: " in done.stdout


def test_why_refused_meets_no_server(nobody):
    """A server that cannot be asked gets no verdict."""
    done = run(ROOT / "examples/why_refused.py", *nobody)
    assert (done.returncode, done.stdout) == (75, "")
    assert "could not be asked" in done.stderr
