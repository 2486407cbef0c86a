"""From host to host of a domain: dial, climb down the rungs, and hand out sessions that qualify.

Does the I/O that RFC 8689 section 4.2.1 describes: steps 2 to 5 for each MX host until one
qualifies, with QUIT to those that do not. What qualifies is decided elsewhere: before connecting by
:mod:`requiretls_client.path`, afterwards by :mod:`requiretls_client.policy`.
"""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from requiretls_client import dane, descent, errors, syntax, tls
from requiretls_client.connection import Connection
from requiretls_client.descent import barred, bars, descend, no_host, on_the_way
from requiretls_client.evidence import Trouble, Visit
from requiretls_client.facts import PathFacts, RouteFacts, SessionFacts, TLSFacts
from requiretls_client.path import Wish, combine, judge_host, need, refuse
from requiretls_client.replies import enhanced_status
from requiretls_client.reports import Attempt
from requiretls_client.starttls import USABLE, Blocked
from requiretls_client.verdict import Finding, Verdict

if TYPE_CHECKING:
    import ssl

    from requiretls_client.lookups import Lookups
    from requiretls_client.session import SMTP

    Session = TypeVar("Session", bound=SMTP)

WALK_SECONDS = 900.0  # after which no further address is tried: no domain holds anyone for hours
_LATE = Trouble("late", f"the others took {WALK_SECONDS:g} s")


class Walk:
    """One walk over the hosts of a domain.

    Attributes:
        attempts: what came of each address so far, in order.
        visits: the connections that were made for it, and what they showed.
    """

    def __init__(
        self, route: RouteFacts, context: ssl.SSLContext, make: Callable[[], SMTP], wish: Wish
    ) -> None:
        """Prepare the walk.

        Args:
            route: what was looked up.
            context: verifies mail hosts by PKIX.
            make: returns a new session object, not connected.
            wish: what to hold the hosts to.
        """
        self.attempts: list[Attempt] = []
        self.visits: list[Visit] = []
        self._route, self._context, self._make, self._wish = route, context, make, wish

    def verdict(self) -> Verdict:
        """Return why no host (further) qualifies; for a message, if there is one that does."""
        return combine([each.verdict for each in self.attempts])

    def sessions(self) -> Iterator[SMTP]:
        """Yield connected sessions that qualify, from the best host to the last.

        Who takes one closes it; asking for the next one says that this one would not do.
        """
        deadline = time.monotonic() + WALK_SECONDS
        nowhere = no_host(self._route, self._wish)
        if nowhere is not None:
            self.attempts.append(nowhere)
            return
        for host in self._route.hosts:
            path = PathFacts(self._route, host)
            findings = bars(path, self._wish)
            refused = barred(path, findings, self._wish)
            if refused is not None:
                self.attempts.append(refused)
                continue
            for address in host.addresses:
                late = time.monotonic() > deadline
                smtp, verdict = self._go_down(path, address, findings, late=late)
                self.attempts.append(Attempt(host.name, host.preference, address, verdict))
                if late:
                    return
                if smtp is not None:
                    yield smtp

    # -- one address -------------------------------------------------------------------------------

    def _go_down(
        self, path: PathFacts, address: str, findings: list[Finding], *, late: bool
    ) -> tuple[SMTP | None, Verdict]:
        """Try one address, from the best rung down; return the session that qualified, or None."""
        plan = descend(path, address, findings, self._wish)
        held = next(plan)
        while True:
            smtp = self._make()
            try:
                shown = _LATE if late else self.look(smtp, held, address)
                self.visits.append(Visit(path.host.name, address, held.rung, shown))
                try:
                    held = plan.send(shown)
                except StopIteration as stop:
                    verdict, smtp._path = stop.value
                    if verdict.allowed:
                        return smtp, verdict
                    self._turn_away(smtp, shown)
                    return None, verdict
                self._turn_away(smtp, shown)
            except BaseException:
                smtp.close()
                raise

    def look(self, smtp: SMTP, path: PathFacts, address: str) -> SessionFacts | Trouble:
        """Bring one connection as far as its rung asks for; return what it showed."""
        smtp._path = path
        smtp._session_requires = self._wish.require_tls
        smtp._session_optional = self._wish.tls_optional
        try:
            blocked = self._reach(smtp, path, address)
        except OSError as error:
            smtp.close()
            return trouble_of(error)
        return smtp._facts(blocked.obstacle() if blocked else None)

    def _turn_away(self, smtp: SMTP, shown: SessionFacts | Trouble) -> None:
        """Leave a host that does not qualify, with QUIT where it still understands it."""
        if isinstance(shown, SessionFacts):
            smtp._leave(usable=shown.obstacle is None or shown.obstacle.kind in USABLE)

    def _reach(self, smtp: SMTP, path: PathFacts, address: str) -> Blocked | None:
        """Go as far as EHLO inside TLS; return what stood in the way.

        Raises:
            OSError: it could not be reached, or broke before TLS was tried.
        """
        wanted = need(path)
        smtp._path_name = wanted.sni
        smtp._path_context = first_context(path, self._context)
        blocked = self._open(smtp, path, address)
        shown = smtp._seen.tls[1] if smtp._seen.tls and blocked is None else None
        trusted = anchors_to_try(path, shown) if shown else ()
        if trusted:  # RFC 7672 s3.1.2: now that the chain is known, verify it, on a new connection
            smtp._leave()
            smtp._path_context = tls.anchor_context(trusted)
            blocked = self._open(smtp, path, address)
        return blocked

    def _open(self, smtp: SMTP, path: PathFacts, address: str) -> Blocked | None:
        """Connect, and go as far as the rung asks for; return what stood in the way of TLS."""
        code, reply = smtp._connect(path.host.name, self._route.port, smtp.source_address, address)
        if code != 220:
            smtp._leave()
            raise smtplib.SMTPConnectError(code, reply)
        if path.rung == "clear":
            smtp.ehlo_or_helo_if_needed()
            return None
        return smtp._reach()


def walks(
    lookups: Lookups, domain: str, port: int, make: Callable[[], SMTP], wish: Wish
) -> Iterator[Walk]:
    """Yield a walk over the hosts of a domain; and a second one, where the policy has changed.

    Who asks for the second says that the first led nowhere: under an enforced MTA-STS policy that
    is not final before the policy id has been looked at anew (RFC 8461 s5.1).
    """
    made = lookups.route(domain, port=port)
    yield Walk(made, lookups.context, make, wish)
    if lookups.has_newer_policy(made):
        yield Walk(lookups.route(domain, port=port), lookups.context, make, wish)


def first_session(
    cls: type[Session],
    domain: str,
    lookups: Lookups | None,
    *,
    port: int,
    require_tls: bool,
    tls_optional: bool,
    **options: Any,
) -> Session:
    """Return a session with the first host of a domain that qualifies: ``SMTP.to_domain()``."""
    syntax.check_connecting(port, options.get("timeout"), options.get("local_hostname"))
    if issubclass(cls, (smtplib.SMTP_SSL, smtplib.LMTP)):
        raise TypeError(f"mail hosts of a domain speak SMTP with STARTTLS, not {cls.__name__}")
    from requiretls_client.lookups import default_lookups

    wish = Wish(require_tls, tls_optional)
    for walk in walks(lookups or default_lookups(), domain, port, lambda: cls(**options), wish):
        for smtp in walk.sessions():
            return smtp  # type: ignore[return-value]  # made by cls
    raise errors.refusal(walk.verdict(), f"mail to {domain} was refused")


def connect_named(smtp: Connection, host: str, port: int, source_address: Any) -> tuple[int, bytes]:
    """Connect to a server that the caller named, once its TLSA records are known (RFC 7673).

    Raises:
        RequireTLSError: a look-up failed, or its records do not match the certificate.
        OSError: as smtplib.
    """
    lookups = smtp._lookups
    assert lookups is not None  # noqa: S101 - that is why we are here
    made = lookups.server(host, port=port)
    path = PathFacts(made, made.hosts[0], "named")
    smtp._path, smtp._path_context = path, None
    for finding in judge_host(path, require_tls=True):
        if not finding.ok:
            verdict = refuse(path, [finding], require_tls=True, domain=None)
            raise errors.refusal(with_way_on(verdict, path, lookups))
    broken: OSError = OSError(f"{path.host.name} has no address")
    for address in path.host.addresses:
        try:
            if dane.usable(path.host.tlsa):
                smtp._path_name = smtp._server_hostname or need(path).sni
                smtp._path_context = _context_of_named(smtp, path, source_address, address)
            reply = smtp._connect(path.host.name, port, source_address, address)
            if smtp._in_tls():  # from the first byte: nothing but the greeting has been read
                verdict = smtp._judge(require_tls=False)
                if not verdict.allowed:
                    smtp._refuse(verdict)
            return reply
        except smtplib.SMTPException:
            raise
        except OSError as error:
            broken = error
    raise broken


def _context_of_named(
    smtp: Connection, path: PathFacts, source_address: Any, address: str
) -> ssl.SSLContext:
    """Return the context for a server that TLSA records bind.

    For usage 2 its chain has to be seen first, on a connection of its own: the caller's session
    begins once and goes on with one handshake.
    """
    context = first_context(path, tls.encrypting_context())
    if context.verify_mode or not any(each.usage == dane.TA for each in path.host.tlsa):
        return context
    probe = _same_kind(smtp)
    try:
        probe._path, probe._path_context = replace(path, rung="verified"), context
        probe._path_name = smtp._path_name
        code, _ = probe._connect(path.host.name, path.route.port, source_address, address)
        if code == 220:
            probe._reach()
        shown = probe._seen.tls[1] if probe._seen.tls else None
        probe._leave()
    finally:
        probe.close()
    trusted = anchors_to_try(path, shown) if shown else ()
    return tls.anchor_context(trusted) if trusted else context


def _same_kind(smtp: Connection) -> SMTP:
    """Return a new object that greets a server as ``smtp`` does."""
    from requiretls_client.lmtp import LMTP
    from requiretls_client.session import SMTP
    from requiretls_client.smtps import SMTP_SSL

    cls = next((each for each in (SMTP_SSL, LMTP) if isinstance(smtp, each)), SMTP)
    return cls(local_hostname=smtp.local_hostname, timeout=smtp.timeout)


def with_way_on(verdict: Verdict, path: PathFacts, lookups: Lookups) -> Verdict:
    """Add to a refusal at a named server that it is a mail domain, if it has MX records."""
    failed = verdict.failed
    if failed is None or not path.named or not lookups.has_mx(path.host.name):
        return verdict
    return on_the_way(verdict, path)


def first_context(path: PathFacts, verifying: ssl.SSLContext) -> ssl.SSLContext:
    """Return the context of the first handshake: what it has to prove is in the path.

    By PKIX where that is needed. Where DANE alone counts, one that verifies nothing: usage 3 pins
    the certificate itself, usage 2 needs to see the chain first, unless the DNS holds the anchor.
    """
    wanted = need(path)
    if path.rung == "encrypted":
        return tls.encrypting_context()
    if wanted.pkix:
        return verifying
    known = dane.anchors(wanted.dane, ())
    if known and len(known) == len(wanted.dane):  # every record holds its whole anchor
        return tls.anchor_context(known)
    return tls.encrypting_context()


def anchors_to_try(path: PathFacts, shown: TLSFacts) -> tuple[bytes, ...]:
    """Return the trust anchors for a second handshake; empty where none is needed or can help."""
    wanted = need(path)
    if path.rung == "encrypted" or wanted.pkix or shown.verify_required:
        return ()
    if dane.match(wanted.dane, shown, wanted.names).ok:
        return ()
    return dane.anchors(wanted.dane, shown.presented)


def trouble_of(error: OSError) -> Trouble:
    """Return as a fact why a connection was not made, or broke before TLS."""
    if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code > 0:
        said = error.smtp_error
        text = syntax.printable(said if isinstance(said, bytes) else str(said))
        status = enhanced_status(error.smtp_code, said if isinstance(said, bytes) else b"")
        return Trouble("server", text, error.smtp_code, status)
    kind = "server" if isinstance(error, smtplib.SMTPException) else "connect"
    return Trouble(kind, syntax.printable(str(error)))


def unreachable(host: str, address: str, error: OSError) -> Finding:
    """Put into words why a host could not be talked to, and whether later may be better."""
    return descent.unreachable(host, address, trouble_of(error))
