"""A script written for smtplib, with only its import line changed, against real servers."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MARK = b"\nRequire-TLS-ESMTP: yes\n"
OURS = "import requiretls_client as smtplib"

SCRIPT = """\
import ssl
import sys

import smtplib

way, host, port, ca_file, sender, recipient, *options = sys.argv[1:]
context = ssl.create_default_context(cafile=ca_file)
text = f"From: {smtplib.quoteaddr(sender)}\\r\\nSubject: canary\\r\\n\\r\\n.hello\\r\\n"
settings = {"local_hostname": "client.test", "timeout": 10}
try:
    if way == "ssl":
        session = smtplib.SMTP_SSL(host, int(port), context=context, **settings)
    else:
        session = smtplib.SMTP(host, int(port), **settings)
    with session:
        if way == "starttls":
            session.starttls(context=context)
        print("refused:", session.sendmail(sender, recipient.split(), text, options))
except smtplib.SMTPRecipientsRefused as error:
    print("nobody:", sorted(error.recipients))
except smtplib.SMTPSenderRefused as error:
    print("sender:", error.smtp_code, error.sender)
except smtplib.SMTPNotSupportedError as error:
    print("not supported:", type(error).__name__, error)
except smtplib.SMTPException as error:
    print("failed:", type(error).__name__, error)
except smtplib.socket.error as error:
    print("network:", type(error).__name__)
"""


@pytest.fixture
def token():
    """Return a word that only this test's messages and addresses hold."""
    return uuid.uuid4().hex


@pytest.fixture
def script(real_ca, token, tmp_path):
    """Return what runs the script, with our module or smtplib's, and returns what it prints."""

    def run(way, host, port, recipient, *options, ours=True):
        path = tmp_path / "script.py"
        assert SCRIPT.count("import smtplib\n") == 1
        path.write_text(SCRIPT.replace("import smtplib", OURS) if ours else SCRIPT)
        sender = f"{token}@sender.test"
        return start(path, way, host, port, real_ca.path, sender, recipient, *options)

    return run


def start(*command):
    """Run a Python file, with this checkout first on its path; returns its output."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd="/",
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(
    ("way", "host", "port"),
    [
        ("clear", "plain.real.test", 25),
        ("clear", "mx.real.test", 25),
        ("starttls", "mx.real.test", 25),
        ("starttls", "mx.real.test", 587),
        ("ssl", "mx.real.test", 465),
    ],
)
def test_script_sends(postfix311, script, token, way, host, port, ours):
    """The script sends the same message to the same effect with either import line."""
    printed = script(way, host, port, "user@real.test elsewhere@other.test", ours=ours)
    assert printed.startswith("refused: {'elsewhere@other.test': (554, b'5.7.1 ")
    stored = postfix311.wait_for(token)
    assert MARK not in stored
    assert (b"with ESMTPS " in stored) == (way != "clear")
    assert f"\nFrom: <{token}@sender.test>\nSubject: canary\n".encode() in stored
    assert stored.endswith(b"\n\n.hello\n")


# way, host, recipient, what the script prints
SAME_FAILURES = [
    ("clear", "mx.real.test", "user@other.test", "nobody: ['user@other.test']\n"),
    ("starttls", "plain.real.test", "user@real.test", "not supported: SMTPNotSupportedError "),
    ("clear", "127.0.0.1", "user@real.test", "network: ConnectionRefusedError\n"),
]


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(("way", "host", "recipient", "text"), SAME_FAILURES)
def test_script_fails_alike(postfix311, script, way, host, recipient, text, ours):
    """What the script catches of smtplib's exceptions it catches of ours."""
    assert script(way, host, 25, recipient, ours=ours).startswith(text)


@pytest.mark.parametrize(("way", "port"), [("starttls", 25), ("starttls", 587), ("ssl", 465)])
def test_script_asks_for_requiretls(postfix311, script, token, way, port):
    """A script that has TLS and REQUIRETLS among its mail_options gets what it asks for."""
    assert script(way, postfix311.name, port, "user@real.test", "REQUIRETLS") == "refused: {}\n"
    stored = postfix311.wait_for(token)
    assert MARK in stored
    assert b"with ESMTPS " in stored


# way, host, what the script prints; a script without TLS gets it, with the roots of certifi
REFUSALS = [
    ("starttls", "hidden.real.test", "not supported: RequireTLSNotOffered require_tls was"),
    ("clear", "plain.real.test", "failed: TLSNotEstablished require_tls was refused: plain."),
    ("clear", "untrusted.real.test", "failed: CertificateNotVerified require_tls was refused:"),
]


@pytest.mark.parametrize(("way", "host", "text"), REFUSALS)
def test_script_is_refused(postfix311, script, token, way, host, text):
    """Where smtplib sends MAIL with REQUIRETLS whatever it met, the script now sends none."""
    assert script(way, host, 25, "user@real.test", "REQUIRETLS").startswith(text)
    assert postfix311.mail_commands(token) == []
    printed = script(way, host, 25, "user@real.test", "REQUIRETLS", ours=False)
    assert printed == f"sender: 555 {token}@sender.test\n"
    assert len(postfix311.mail_commands(token)) == 1


@pytest.mark.parametrize("ours", [True, False])
def test_example_sends(postfix311, real_ca, token, tmp_path, ours):
    """The script of examples/ runs with either import line."""
    example = (ROOT / "examples/import_swap.py").read_text()
    assert OURS in example
    path = tmp_path / "import_swap.py"
    path.write_text(example if ours else example.replace(OURS, "import smtplib"))
    people = (f"{token}@sender.test", "user@real.test")
    assert start(path, postfix311.name, 25, *people, real_ca.path) == "sent\n"
    assert b"with ESMTPS " in postfix311.wait_for(token)
