"""``requiretls demo``: what it prints is what happened, and its status is honest."""

from __future__ import annotations

import subprocess
import sys

from requiretls_client import cli
from requiretls_client.cli import demo
from requiretls_client.testing import Server, lie


def test_demo_as_a_command():
    """Three acts: sent with the mark, refused before MAIL, sent with TLS-Required: No."""
    done = subprocess.run(
        [sys.executable, "-m", "requiretls_client", "demo"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, rest = done.stdout.split("\n2. ")
    second, third = rest.split("\n3. ")
    assert "REQUIRETLS\n" in first
    assert "  tls    C: MAIL FROM:<alice@example.org>" in first
    assert "5.7.30" not in first
    assert "does not offer REQUIRETLS" in second
    assert "fix: " in second
    assert "MAIL FROM" not in second.upper()
    assert "  tls    C: TLS-Required: No" in third
    assert done.stdout.endswith("3 of 3 acts went as they must\n")


def test_status_when_an_act_goes_wrong(monkeypatch, capsys):
    """When one act does not go as it must the status is 1 and the output says which."""
    monkeypatch.setattr(demo, "_sent", lambda server: False)
    assert cli.main(["demo"]) == 1
    output = capsys.readouterr().out
    assert "as it must be: NO" in output
    assert "2 of 3 acts" in output


def test_acts_look_at_the_ledger():
    """An act believes the server's ledger, not the server's words."""
    with Server(script={".": lie("250 2.0.0 taken")}) as liar:
        assert demo._sent(liar) is False
    with Server() as offering:
        assert demo._refused(offering) is False


def test_without_trustme():
    """Where the extra is missing the demo says which one, and fails."""
    code = (
        "import sys; sys.modules['trustme'] = None\n"
        "from requiretls_client.cli import main; sys.exit(main(['demo']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "requiretls-client[demo]" in done.stderr
    assert "Traceback" not in done.stderr
