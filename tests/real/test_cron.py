"""Issue 6: Debian's cron mails the output of jobs through us, to real servers, and none is lost."""

from __future__ import annotations

import uuid
from email import message_from_bytes, policy

import pytest

from . import postfix
from .conftest import folder_of
from .cron import Machine
from .process import poll

MARK = b"\nRequire-TLS-ESMTP: yes\n"


@pytest.fixture
def token():
    """Return a word that only this test's messages and addresses hold."""
    return uuid.uuid4().hex


@pytest.fixture
def machine(tmp_path, real_ca, token):
    """Make machines that relay through a server, with REQUIRETLS."""
    program = folder_of("cron") / "files/usr/sbin/cron"

    def make(relay: str, domain: str) -> Machine:
        account = (
            f'default_account = "relay"\n[accounts.relay]\nhost = "{relay}"\nport = 25\n'
            f'from = "{token}@{domain}"\nrequire_tls = true\nca_file = "{real_ca.path}"\n'
        )
        return Machine(program, tmp_path, account)

    return make


def job(domain, token):
    """Return a crontab whose job speaks, once."""
    return f"MAILTO=admin@{domain}\n@reboot echo canary {token} ü\n"


def kept(machine, state):
    """Return the one message in the spool when it has been tried; its report has gone by then."""

    def settled():
        messages = machine.queue()
        tried = [each["state"] for each in messages if each["recipients"][0]["result"]]
        return messages if tried == [state] and len(messages) == 1 else []

    messages = poll(settled, 15)
    assert messages, machine.queue()
    return messages[0]


def test_output_arrives_with_requiretls(machine, postfix311, token):
    """The output of a job is mailed with REQUIRETLS, as it was said, and marked as automatic."""
    computer = machine(postfix311.name, postfix311.domain)
    with computer.booted(job(postfix311.domain, token)):
        stored = postfix311.wait_for(token, 15)
        assert poll(lambda: computer.spool.exists() and not computer.queue(), 10) is True
    assert MARK in stored
    parsed = message_from_bytes(stored, policy=policy.default)
    assert parsed.get_content() == f"canary {token} ü\n"
    assert parsed["To"] == f"admin@{postfix311.domain}"
    assert parsed["Subject"].endswith(f"echo canary {token} ü")
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert [("REQUIRETLS" in line) for line in postfix311.mail_commands(token)] == [True]


def test_output_waits_while_the_relay_is_away(machine, real_ca, token):
    """With Postfix stopped the output waits; after flush it has arrived, once."""
    computer = machine("mx.away.test", "away.test")
    with computer.booted(job("away.test", token)):
        message = kept(computer, "waiting")
    assert message["require_tls"] is True
    assert "Connection refused" in message["recipients"][0]["result"]["text"]
    assert computer.run("flush").returncode == 75  # not due yet
    with postfix.running_away(folder_of("postfix311") / "root", real_ca) as relay:
        done = computer.run("flush", "--all")
        assert (done.returncode, done.stdout) == (0, f"{message['id']}: 1 sent\n")
        assert MARK in relay.wait_for(token)
        assert computer.run("flush", "--all").returncode == 0
        assert [("REQUIRETLS" in line) for line in relay.mail_commands(token)] == [True]
        assert len(relay.messages(token)) == 1
    assert computer.queue() == []


def test_relay_without_requiretls(machine, postfix37, token):
    """It is refused and kept; the reason can be read, and only a report without text was sent."""
    computer = machine(postfix37.name, postfix37.domain)
    with computer.booted(job(postfix37.domain, token)):
        report = postfix37.wait_for(token, 15)
        message = kept(computer, "failed")
    listing = computer.run("queue", "--failed").stdout
    assert "550 5.7.30 at mx.old.test: " in listing
    assert "REQUIRETLS" in listing
    assert f"canary {token} ü" in computer.run("queue", "--show", message["id"]).stdout
    assert computer.run("flush", "--all").returncode == 0
    assert postfix37.mail_commands(token) == []
    assert b"multipart/report" in report
    assert f"\ncanary {token}".encode() not in report
    assert len(postfix37.messages(token)) == 1
