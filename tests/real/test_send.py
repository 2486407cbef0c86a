"""``requiretls send`` and ``init`` in the small internet: real DNSSEC, policies and servers."""

from __future__ import annotations

import uuid

import pytest

from requiretls_client.cli.config import load

# zone -> exit status of send --require-tls
ZONES = {
    "dane": 0, "first-without": 0, "sts": 0, "relay": 0,
    "noreq": 69, "sts-noreq": 69, "loose": 69, "borrowed": 69, "literal-mx": 69, "sts-none": 69,
    "nullmx": 68, "nosuch": 68, "mx-nowhere": 68,
    "not-now": 75, "tampered": 75, "dead": 75, "sts-missing": 75,
    # A host that fails the policy of its domain is tried again (RFC 7672 s2.2, RFC 8461 s5).
    "plain": 75, "mismatch": 75, "ta-expired": 75, "sts-mismatch": 75, "sts-untrusted": 75,
}  # fmt: skip


@pytest.mark.parametrize(("name", "status"), ZONES.items())
def test_straight_to_the_mail_hosts(machine, internet, name, status):
    """Without an account each domain's hosts get it with REQUIRETLS, or nobody does."""
    zone, token = internet.zone(name), uuid.uuid4().hex
    machine.configure(f'[lookups]\nca_file = "{internet.ca.path}"\nallow_private = true')
    message = f"From: {token}@sender.test\nSubject: {token}\n\ncanary {token}\n"
    done = machine.send("--require-tls", "-oeq", f"user@{zone.domain}", stdin=message)
    assert done.returncode == status, done.stderr
    commands = internet.mail_commands(token)
    assert bool(commands) == bool(zone.delivered) == (status == 0)
    for line in (line for lines in commands.values() for line in lines):
        assert line.upper().endswith("REQUIRETLS")
    assert len(machine.kept("queue")) == (1 if status == 75 else 0)


@pytest.mark.parametrize(
    ("domain", "arguments", "status", "port"),
    [("dane", [], 0, 465), ("sts", [], 69, None), ("sts", ["--yes"], 0, 587)],
)
def test_init(machine, internet, domain, arguments, status, port):
    """A provider's server that a signed domain names is used; an unsigned one needs the user."""
    path = machine.home / "new.toml"
    done = machine.run(
        "init", f"alice@{domain}.test", *arguments, "--config", path, "--ca-file", internet.ca.path
    )
    assert done.returncode == status, done.stderr
    if port is None:
        assert not path.exists()
        return
    assert b"The server offers REQUIRETLS" in done.stdout
    account = load(str(path)).accounts[f"{domain}.test"]
    assert (account.host, account.port, account.implicit_tls) == ("mx.real.test", port, port == 465)
