"""``check()`` and ``check_relay()``: would a message with ``require_tls`` get through?

Nothing is sent. The same look-ups, walk and judgements as a delivery, as far as EHLO inside TLS,
then QUIT. Collecting (here, I/O) and judging (:mod:`requiretls_client.assessment`, pure) are apart:
a report comes from the collected facts alone, so that the same facts give the same report later.
"""

from __future__ import annotations

import smtplib
import ssl
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from requiretls_client import errors, syntax, tls
from requiretls_client.assessment import assess
from requiretls_client.evidence import CheckFacts, Trouble, Visit
from requiretls_client.facts import HostFacts, PathFacts, SessionFacts
from requiretls_client.lookups import Lookups, default_lookups
from requiretls_client.mxwalk import Walk, trouble_of
from requiretls_client.path import Wish
from requiretls_client.reports import CheckReport
from requiretls_client.session import DEFAULT_TIMEOUT, SMTP

if TYPE_CHECKING:
    from typing import NoReturn

    from requiretls_client.starttls import Blocked
    from requiretls_client.verdict import Verdict

AT_ONCE = 8  # hosts of one domain that are tried side by side


def check(
    target: str,
    *,
    lookups: Lookups | None = None,
    port: int = 25,
    timeout: float = DEFAULT_TIMEOUT,
) -> CheckReport:
    """Find out whether mail to a domain can go with REQUIRETLS (RFC 8689 s4.2.1), at every host.

    Args:
        target: a domain, or an address of one: ``example.net`` or ``user@example.net``.
        lookups: None means the process's own, with all defaults.
        port: TCP port of the mail hosts.
        timeout: seconds for each wait on a socket.

    Returns:
        The report. Trouble of any kind is in it, not an exception.

    Raises:
        ValueError: the target is neither.
    """
    return assess(_collect(target, lookups or default_lookups(), port, timeout))


def check_relay(
    host: str,
    port: int = 587,
    *,
    lookups: Lookups | None = None,
    context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    implicit_tls: bool | None = None,
) -> CheckReport:
    """Find out whether a submission server takes mail with REQUIRETLS (RFC 8689 s4.3).

    Args:
        host: the server.
        port: TCP port.
        lookups: with it the server's TLSA records are looked up, and bind its certificate.
        context: for TLS; None means certifi's roots.
        server_hostname: the name to verify, when it is not ``host``.
        timeout: seconds for each wait on a socket.
        implicit_tls: TLS at once, not STARTTLS; None: on port 465 and on no other.

    Returns:
        The report. Trouble of any kind is in it, not an exception.

    Raises:
        ValueError: a bad name.
    """
    syntax.check_connecting(port, timeout)
    at_once = port == smtplib.SMTP_SSL_PORT if implicit_tls is None else implicit_tls
    name = {"timeout": timeout, "server_hostname": server_hostname}
    return assess(_collect_relay(host, port, context, lookups, name, at_once=at_once))


# -- the hosts of a domain -----------------------------------------------------------------------


def _collect(target: str, lookups: Lookups, port: int, timeout: float) -> CheckFacts:
    """Look a domain up, and connect as for each of the three kinds of message."""
    syntax.check_connecting(port, timeout)
    domain = syntax.mail_domain(target.rpartition("@")[2], "target")
    started, clock = time.time(), time.monotonic()
    route = lookups.route(domain, port=port)

    def walk(hosts: tuple[HostFacts, ...], wish: Wish) -> Walk:
        return Walk(
            replace(route, hosts=hosts), lookups.context, lambda: SMTP(timeout=timeout), wish
        )

    def look_at(host: HostFacts) -> tuple[list[Visit], list[Visit]]:
        strict = walk((host,), Wish(require_tls=True))
        for smtp in strict.sessions():
            smtp._leave()
        path = PathFacts(route, host, "encrypted")
        bad = [each for each in strict.visits if _hides_certificate(each)]
        return strict.visits, [
            _unverified(walk((host,), Wish()), path, timeout, each) for each in bad
        ]

    def first(wish: Wish) -> tuple[Visit, ...]:
        walked = walk(route.hosts, wish)
        for smtp in walked.sessions():
            smtp._leave()
            break
        return _without_path(walked.visits)

    seen = _each(look_at, route.hosts)
    return CheckFacts(
        target, started,
        strict=_without_path(visit for visits, _ in seen for visit in visits),
        ordinary=first(Wish()),
        optional=first(Wish(tls_optional=True)),
        unverified=_without_path(visit for _, visits in seen for visit in visits),
        route=route,
        seconds=time.monotonic() - clock,
    )  # fmt: skip


def _each(
    look_at: Callable[[HostFacts], Any], hosts: Iterable[HostFacts]
) -> tuple[tuple[list[Visit], list[Visit]], ...]:
    """Look at the hosts side by side; they come back in their order."""
    with ThreadPoolExecutor(AT_ONCE, "requiretls-check") as pool:
        return tuple(pool.map(look_at, hosts))


def _hides_certificate(visit: Visit) -> bool:
    """Tell whether a handshake broke off at a certificate, which nobody has seen then."""
    shown = visit.shown
    if isinstance(shown, Trouble) or shown.obstacle is None:
        return False
    return shown.obstacle.kind == "certificate"


def _unverified(walk: Walk, path: PathFacts, timeout: float, visit: Visit) -> Visit:
    """Connect once more, only to see the certificate that was not verified."""
    smtp = SMTP(timeout=timeout)
    shown = walk.look(smtp, path, visit.address)
    smtp._leave(usable=isinstance(shown, SessionFacts) and shown.obstacle is None)
    return replace(visit, rung=path.rung, shown=shown)


def _without_path(visits: Iterable[Visit]) -> tuple[Visit, ...]:
    """Leave out of each visit what stands in the route already."""
    return tuple(
        visit if isinstance(visit.shown, Trouble)
        else replace(visit, shown=replace(visit.shown, path=None))
        for visit in visits
    )  # fmt: skip


# -- a server that the caller named --------------------------------------------------------------


class _Remembering:
    """Over a session class: keeps the facts by which it was refused, and the certificates."""

    keeps_chain = True
    shown: SessionFacts | None = None

    def _refuse(self, verdict: Verdict, blocked: Blocked | None = None) -> NoReturn:
        self.shown = self._facts(blocked.obstacle() if blocked else None)  # type: ignore[attr-defined]  # the mixin's other base
        super()._refuse(verdict, blocked)  # type: ignore[misc]  # the mixin's other base
        raise AssertionError("a refusal raises")  # for the type checker


def _collect_relay(
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    lookups: Lookups | None,
    name: dict[str, Any],
    *,
    at_once: bool,
) -> CheckFacts:
    """Connect to a named server as for a message with ``require_tls``, and for an ordinary one."""
    base: type[SMTP] = SMTP
    if at_once:
        from requiretls_client.smtps import SMTP_SSL

        base = SMTP_SSL
    cls = type(base.__name__, (_Remembering, base), {})
    started, clock = time.time(), time.monotonic()
    route, visits = None, []
    for strict in (True, False):
        smtp = cls(context=context, lookups=lookups, require_tls=strict, **name)
        visits.append(Visit(host, "", "named", _look_at(smtp, host, port)))
        route = route or (smtp._path.route if smtp._path else None)
    unverified = []
    if _hides_certificate(visits[0]):
        smtp = cls(context=tls.encrypting_context(), **name)
        unverified.append(Visit(host, "", "encrypted", _look_at(smtp, host, port, secure=True)))
    strict_one, ordinary = _without_path(visits)
    return CheckFacts(
        f"{host}:{port}", started, time.monotonic() - clock, route,
        (strict_one,), (ordinary,), (ordinary,), _without_path(unverified),
        named=True,
        implicit_tls=at_once,
        mail_domain=bool(lookups and route and lookups.has_mx(route.hosts[0].name)),
    )  # fmt: skip


def _look_at(smtp: Any, host: str, port: int, *, secure: bool = False) -> SessionFacts | Trouble:
    """Connect as for a message, and leave; return what it showed.

    Args:
        smtp: a session of a class made with :class:`_Remembering`.
        host: where to connect.
        port: the same.
        secure: go on into TLS, although the session does not require it.
    """
    try:
        code, reply = smtp.connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, reply)
        if secure:
            smtp._reach()
        else:
            smtp.ehlo_or_helo_if_needed()
        shown: SessionFacts = smtp._facts()
        smtp._leave()
    except errors.RequireTLSError as error:
        if error.verdict is None:
            raise
        return smtp.shown or smtp._facts()  # type: ignore[no-any-return]  # the mixin's
    except OSError as error:
        return trouble_of(error)
    finally:
        smtp.close()
    return shown
