"""The two real servers that are not Postfix: smtp-sink (which comes with it) and smtp-server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import places, zones
from .certificates import RealCA, bundle
from .process import serve
from .server import Server

VERBS = "HELO|EHLO|MAIL|RCPT|DATA|RSET|NOOP|VRFY|QUIT|AUTH|STARTTLS"


class SMTPServer(Server):
    """A running smtp-server: STARTTLS on ports 25 and 587, TLS on 465.

    Port 587 wants AUTH as user/secret. REQUIRETLS is offered inside TLS.
    """

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages that it took, oldest first.

        Keys: from, to (list), requireTLS and secure (bool), tlsRequired (the TLS-Required
        header field or None), text (the message).
        """
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line["message"] for line in lines if "message" in line]

    def commands(self, token: str = "") -> list[str]:
        """Return every command line sent to it by now that contains `token`."""
        return [json.loads(f'"{line}"') for line in super().commands(token)]


@contextmanager
def running_smtp_sink(root: Path) -> Iterator[Server]:
    """Run the smtp-sink in the unpacked `root` on port 25."""
    log = places.scratch() / "smtp-sink.log"
    server = Server("sink.real.test", log, rf"(?i)smtp-sink: ((?:{VERBS})\b.*)$")
    listen = f"{server.host}:25"
    # -v prints the commands; it refuses to run as root.
    command = ["chroot", root, "/usr/sbin/smtp-sink", "-v", "-4", "-u", "nobody", listen, "100"]
    for _ in serve(command, log, [(server.host, 25)]):
        yield server


@contextmanager
def running_smtp_server(folder: Path, ca: RealCA) -> Iterator[SMTPServer]:
    """Run the smtp-server that npm installed in `folder`."""
    log = places.scratch() / "smtp-server.log"
    server = SMTPServer("mx.node.test", log, r'^\{"command":"(.*)"\}$')
    issued = ca.issue(server.name, *zones.names_of("smtp_server"))
    server.certificates = {"smtp_server": issued}
    certificate = places.scratch() / "smtp-server.pem"
    certificate.write_bytes(bundle(issued))
    script = Path(__file__).with_name("smtp_server.mjs")
    node = shutil.which("node") or "node"
    command = [node, script, folder, certificate, server.name, server.host]
    for _ in serve(command, log, [(server.host, port) for port in (25, 587, 465)]):
        yield server
