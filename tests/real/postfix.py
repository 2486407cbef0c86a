"""Postfix in its unpacked root: started on loopback, its log and its mailbox read by tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from . import postfix_config, zones
from .certificates import RealCA
from .places import HOSTS
from .postfix_config import Instance, Listener
from .process import poll, serve
from .server import Server

CHAIN = "smtpd_tls_chain_files=/mnt/etc/"
DOMAINS = tuple(zone.domain for zone in zones.ZONES)  # of the small internet


class Postfix(Server):
    """A running Postfix, listening on ports 25 and 587 (and 465: Postfix 3.11 only).

    Attributes:
        domain: it accepts and stores mail for every user of this domain.
    """

    def __init__(self, home: Path, name: str) -> None:
        """Speak for the instance with this folder whose host name is `name`."""
        super().__init__(name, home / "log", r"< \S+\[[\d.]+\]: (.*)$")
        self._inbox = home / "mail/inbox/new"
        self.domain = name.partition(".")[2]

    def messages(self, token: str) -> list[bytes]:
        """Return every stored message that contains `token`, headers and body, LF line ends."""
        stored = [path.read_bytes() for path in sorted(self._inbox.glob("*"))]
        return [message for message in stored if token.encode() in message]

    def wait_for(self, token: str, timeout: float = 10) -> bytes:
        """Return the stored message that contains `token`, once it has come."""
        found = poll(lambda: self.messages(token), timeout)
        assert found, f"no message with {token!r} came; log:\n{self.log()[-3000:]}"
        return found[0]


class Postfix311(Postfix):
    """Postfix 3.11: offers REQUIRETLS inside TLS on `host`, 587 wanting TLS, 465 being TLS.

    Attributes (addresses, port 25 only):
        hidden_host: REQUIRETLS is not offered.
        plain_host: STARTTLS is not offered.
        wrong_name_host: the certificate is for wrong.test.
        untrusted_host: the certificate, for `name`, is from an authority that nobody trusts.
    """

    hidden_host = HOSTS["hidden.real.test"]
    plain_host = HOSTS["plain.real.test"]
    wrong_name_host = HOSTS["misnamed.real.test"]
    untrusted_host = HOSTS["untrusted.real.test"]


@contextmanager
def running_311(root: Path, ca: RealCA) -> Iterator[Postfix311]:
    """Run Postfix 3.11 with all its listeners."""
    server = Postfix311(root / "mnt", "mx.real.test")
    names = ("mx.real.test", "hidden.real.test", "plain.real.test")
    own = ca.issue(*names, *zones.names_of("postfix311"), *zones.names_of("hidden"))
    misnamed = ca.issue("wrong.test")
    of_others = ("untrusted.real.test", *zones.names_of("untrusted"))
    untrusted = ca.issue(server.name, *of_others, trusted=False)
    certificates = {"own.pem": own, "wrong.pem": misnamed, "untrusted.pem": untrusted}
    server.certificates = {
        "postfix311": own, "hidden": own, "misnamed": misnamed, "untrusted": untrusted,
    }  # fmt: skip
    listeners = (
        Listener(server.host, 25),
        Listener(server.host, 587, ("smtpd_tls_security_level=encrypt",)),
        Listener(server.host, 465, ("smtpd_tls_wrappermode=yes",)),
        Listener(server.hidden_host, 25, ("smtpd_discard_ehlo_keywords=REQUIRETLS",)),
        Listener(server.plain_host, 25, ("smtpd_tls_security_level=none",)),
        Listener(server.wrong_name_host, 25, (CHAIN + "wrong.pem",)),
        Listener(server.untrusted_host, 25, (CHAIN + "untrusted.pem",)),
    )
    domains = (server.domain, *DOMAINS)
    yield from run(root, server, Instance(server.name, certificates, listeners, domains))


@contextmanager
def running_away(root: Path, ca: RealCA) -> Iterator[Postfix]:
    """Run one more Postfix 3.11, which a test starts when it likes: until then it is away."""
    server = Postfix(root / "mnt/away", "mx.away.test")
    certificates = {"own.pem": ca.issue(server.name)}
    listeners = (Listener(server.host, 25),)
    instance = Instance(server.name, certificates, listeners, (server.domain,), place="/mnt/away")
    yield from run(root, server, instance)


@contextmanager
def running_37(root: Path, ca: RealCA) -> Iterator[Postfix]:
    """Run Postfix 3.7, which knows no REQUIRETLS."""
    server = Postfix(root / "mnt", "mx.old.test")
    listeners = (Listener(server.host, 25), Listener(server.host, 587))
    own = ca.issue(server.name, *zones.names_of("postfix37"))
    server.certificates = {"postfix37": own}
    domains = (server.domain, *DOMAINS)
    yield from run(root, server, Instance(server.name, {"own.pem": own}, listeners, domains))


_AnyPostfix = TypeVar("_AnyPostfix", bound=Postfix)


def run(root: Path, server: _AnyPostfix, instance: Instance) -> Iterator[_AnyPostfix]:
    """Configure and run one instance."""
    home = postfix_config.write(root, instance)
    # -d: master neither detaches nor lets go of its output, which holds the start-up errors.
    master = "/usr/lib/postfix/sbin/master"
    command = ["chroot", root, master, "-d", "-c", f"{instance.place}/etc"]
    ports = [(listener.address, listener.port) for listener in instance.listeners]
    for _ in serve(command, home / "output", ports):
        yield server
