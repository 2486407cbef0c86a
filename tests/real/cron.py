"""Debian's cron, for one boot of a machine of its own: it runs @reboot jobs and mails their output.

The package is unpacked and not installed. Run as a script, this file makes a private view of the
file system, in which /usr/sbin/sendmail is ours and there is no other crontab, and becomes cron.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import isolation

# What cron reads, runs or writes; each is empty in its view.
PRIVATE = ("/usr/sbin", "/var/spool", "/run", "/etc/pam.d", "/etc/cron.d")
PAM = "".join(f"{kind} sufficient pam_permit.so\n" for kind in ("auth", "account", "session"))
CRONTABS = Path("/var/spool/cron/crontabs")


class Machine:
    """A machine whose cron mails through ``requiretls-sendmail``, by one configuration."""

    def __init__(self, program: Path, folder: Path, config: str) -> None:
        """Write the configuration.

        Args:
            program: cron.
            folder: of the machine, empty.
            config: what config.toml says; the spool is added.
        """
        self._program = program
        self.spool = folder / "spool"
        self._environment = {
            "HOME": str(folder), "PATH": "/usr/bin:/bin", "XDG_CONFIG_HOME": str(folder),
            "XDG_CACHE_HOME": str(folder),
        }  # fmt: skip
        path = folder / "requiretls-client/config.toml"
        path.parent.mkdir()
        path.write_text(f'{config}\n[spool]\nfolder = "{self.spool}"\n')

    @contextmanager
    def booted(self, crontab: str) -> Iterator[None]:
        """Run cron as at the start of a machine."""
        sendmail = Path(sys.executable).with_name("requiretls-sendmail")
        task = json.dumps([str(self._program), str(sendmail), crontab])
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.cron", task],
            cwd=Path(__file__).parents[1], env=self._environment, start_new_session=True,
        )  # fmt: skip
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line under the same configuration."""
        command = [sys.executable, "-m", "requiretls_client", *arguments]
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False
        )

    def queue(self) -> list[dict]:
        """Return what ``requiretls queue --json`` says."""
        return [json.loads(line) for line in self.run("queue", "--json").stdout.splitlines()]


def main(task: str) -> None:
    """Make the view and become cron."""
    program, sendmail, crontab = json.loads(task)
    isolation.unshare_mounts()
    for folder in PRIVATE:
        if Path(folder).exists():
            isolation.mount("tmpfs", folder, "tmpfs", 0)
    if Path("/etc/crontab").exists():
        isolation.mount("/dev/null", "/etc/crontab", None, isolation.MS_BIND)
    os.symlink(sendmail, "/usr/sbin/sendmail")
    Path("/etc/pam.d/cron").write_text(PAM)
    CRONTABS.mkdir(parents=True)
    (CRONTABS / "root").write_text(crontab)
    (CRONTABS / "root").chmod(0o600)
    os.execv(program, [program, "-f"])


if __name__ == "__main__":
    main(sys.argv[1])
