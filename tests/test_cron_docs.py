"""docs/cron.rst and examples/cron keep to the code, and do what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from requiretls_client.cli import send_help
from requiretls_client.cli.config import LookupSettings, parse

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/cron.rst").read_text()
EXAMPLES = ROOT / "examples/cron"


def configuration():
    """Return the configuration on the page."""
    block = re.search(r"code-block:: toml\n   :name: configuration\n\n((?:   .*\n|\n)+)", PAGE)[1]
    return re.sub(r"^   ", "", block, flags=re.M)


def test_configuration():
    """The configuration on the page is one, and has every key that there is."""
    text = configuration()
    config = parse("docs/cron.rst", text.encode(), private=True)
    assert config.accounts["work"].require_tls
    raw = tomllib.loads(text)
    assert raw["lookups"].keys() == {each.name for each in fields(LookupSettings)}
    assert config.accounts["work"].ca_file == config.lookups.ca_file == "/etc/ssl/our-ca.pem"
    for key in ("password_command", "password_env", "credential", "keyring", "password"):
        assert f"``{key}" in PAGE


def test_statuses():
    """Every exit status on the page is in --help."""
    table = PAGE[PAGE.index("status: send, sendmail") :]
    found = set(re.findall(r"\b\d\d\b", "".join(re.findall(r"  [\d, or]+$", table, re.M))))
    assert found >= {"64", "65", "67", "68", "69", "73", "75", "77", "78"}
    text = send_help.text("x", sendmail=True)
    assert all(f"\n  {each}  " in text for each in found)


def test_page_renders():
    """The page is sound reStructuredText."""
    docutils = pytest.importorskip("docutils.core")
    settings = {"report_level": 2, "halt_level": 2}
    docutils.publish_doctree(PAGE, settings_overrides=settings)


def logwatch(machine, log):
    """Run the example as cron would."""
    return subprocess.run(
        [EXAMPLES / "logwatch.sh", log, "security@example.org"], capture_output=True, check=False
    )


def test_logwatch(machine, serve):
    """The example mails new lines once, with REQUIRETLS, and again what was not taken."""
    server = serve()
    (machine.home / "ca.pem").write_bytes(server.ca.pem)
    text = f'[accounts.a]\nhost = "localhost"\nport = {server.port}\nca_file = "{{}}"\n'
    machine.configure(text.format(machine.home / "ca.pem"))
    machine.patch.setenv("LOGWATCH_STATE", str(machine.home))
    machine.executable("requiretls-sendmail")
    machine.patch.setenv("PATH", f"{machine.home}:/usr/bin:/bin")
    log = machine.home / "auth.log"
    log.write_text("all is well\nFailed password for root\n")
    for _ in range(2):
        done = logwatch(machine, log)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    with log.open("a") as file:
        file.write("Connection refused\n")
    machine.patch.setenv("PATH", "/usr/bin:/bin")  # as cron's, which does not find the program
    assert logwatch(machine, log).returncode == 127
    machine.patch.setenv("PATH", f"{machine.home}:/usr/bin:/bin")
    assert logwatch(machine, log).returncode == 0
    first, second = server.ledger
    assert first.content.endswith(b"\r\n\r\nFailed password for root\r\n")
    assert second.content.endswith(b"\r\n\r\nConnection refused\r\n")
    for message in server.ledger:
        assert "REQUIRETLS" in message.parameters
        assert list(message.recipients) == ["security@example.org"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_units():
    """systemd understands the service and the timer."""
    units = sorted(EXAMPLES.glob("*.service")) + sorted(EXAMPLES.glob("*.timer"))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_crontab():
    """Every line of the crontab is a remark, a variable or a job of a system crontab."""
    job = r"(@\w+|(\S+ ){5})\s*root\s+\S.*"
    for line in (EXAMPLES / "crontab").read_text().splitlines():
        assert re.fullmatch(rf"#.*|[A-Z]+=\S+|{job}|", line), line
