"""A user who sends: home, configuration and spool, and the two programs as others call them."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from support import CA_AT_HAND

from requiretls_client.cli import main as requiretls
from requiretls_client.cli.sendmail import main as sendmail

ROOT = Path(__file__).resolve().parent.parent
MESSAGE = "From: alice@example.org\nTo: bob@example.net\nSubject: canary-subject\n\ncanary-body\n"
PROGRAM = "import sys\nfrom requiretls_client.cli.sendmail import main\nsys.exit(main())\n"


class Machine:
    """A user with a home, a configuration and a spool."""

    def __init__(self, home, patch):
        """Begin with an empty home; ``patch`` makes it that of this process too."""
        self.home = home
        self.spool = home / "spool"
        self.patch = patch
        for name, value in (
            ("HOME", home), ("PYTHONPATH", ROOT), ("XDG_CONFIG_HOME", home / "config"),
            ("XDG_CACHE_HOME", home / "cache"), ("XDG_STATE_HOME", home / "state"),
        ):  # fmt: skip
            patch.setenv(name, str(value))
        self.configure("")

    def configure(self, text, *, spool=None):
        """Write the configuration; returns its path."""
        path = self.home / "config/requiretls-client/config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{text}\n[spool]\nfolder = "{spool or self.spool}"\n')
        path.chmod(0o600)
        return path

    def relay(self, server, *lines, top="", **rest):
        """Write a configuration with one account at a server, which trusts our authority."""
        ca_file = self.home / "ca.pem"
        ca_file.write_bytes(CA_AT_HAND.pem)
        account = [f'host = "{server.host}"', f"port = {server.port}", f'ca_file = "{ca_file}"']
        account += ["timeout = 5", *lines]
        return self.configure("\n".join([top, "[accounts.work]", *account]), **rest)

    def sendmail(self, *arguments, stdin=MESSAGE, name="sendmail"):
        """Run requiretls-sendmail in this process, called by a name."""
        return self._run(sendmail, name, arguments, stdin)

    def send(self, *arguments, stdin=MESSAGE):
        """Run requiretls send in this process."""
        return self._run(requiretls, "requiretls", ("send", *arguments), stdin)

    def run(self, *arguments, stdin=""):
        """Run another command of requiretls in this process."""
        return self._run(requiretls, "requiretls", arguments, stdin)

    def _run(self, main, name, arguments, stdin):
        raw = stdin if isinstance(stdin, bytes) else stdin.encode()
        streams = [io.TextIOWrapper(io.BytesIO(each), "utf-8") for each in (raw, b"", b"")]
        with (
            self.patch.context() as patch,
            contextlib.redirect_stdout(streams[1]),
            contextlib.redirect_stderr(streams[2]),
        ):
            patch.setattr(sys, "argv", [f"/usr/sbin/{name}"])
            patch.setattr(sys, "stdin", streams[0])
            status = main([str(each) for each in arguments])
        for each in streams:
            each.flush()
        out, err = (each.buffer.getvalue() for each in streams[1:])
        return SimpleNamespace(returncode=status, stdout=out, stderr=err)

    def process(self, *arguments, stdin=MESSAGE, program=PROGRAM):
        """Run requiretls-sendmail as a process of its own."""
        return subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True, check=False, timeout=60, cwd=self.home,
        )  # fmt: skip

    def executable(self, name="sendmail"):
        """Write the program as a file that other programs can call; returns its path."""
        path = self.home / name
        path.write_text(f"#!{sys.executable}\n{PROGRAM}")
        path.chmod(0o755)
        return path

    def kept(self, place):
        """Return the files in a part of the spool."""
        folder = self.spool / place
        return sorted(folder.iterdir()) if folder.exists() else []
