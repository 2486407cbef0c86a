"""``check()`` and ``check_relay()``: would a message with ``require_tls`` get through?

Nothing is sent. The same look-ups, walk and judgements as a delivery, as far as EHLO inside TLS,
then QUIT.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from requiretls_client import errors, syntax
from requiretls_client.facts import HostFacts
from requiretls_client.lookups import Lookups, default_lookups
from requiretls_client.mxwalk import Walk, unreachable
from requiretls_client.path import Wish, combine, refuse
from requiretls_client.reports import Attempt, CheckReport, HostReport
from requiretls_client.session import DEFAULT_TIMEOUT, SMTP
from requiretls_client.verdict import Verdict

AT_ONCE = 8  # hosts of one domain that are tried side by side

STRICT, ORDINARY, OPTIONAL = "require_tls", "ordinary", "tls_optional"


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
    syntax.check_connecting(port, timeout)
    domain = syntax.mail_domain(target.rpartition("@")[2], "target")
    lookups = lookups or default_lookups()
    route = lookups.route(domain, port=port)

    def walk(hosts: tuple[HostFacts, ...], wish: Wish) -> Walk:
        return Walk(
            replace(route, hosts=hosts), lookups.context, lambda: SMTP(timeout=timeout), wish
        )

    def look_at(host: HostFacts) -> HostReport:
        walked = walk((host,), Wish(require_tls=True))
        for smtp in walked.sessions():
            smtp._leave()
        tried = tuple(walked.attempts)
        return HostReport(host.name, host.preference, host, walked.verdict(), tried)

    hosts = _each(look_at, route.hosts)
    strict = combine([each.verdict for each in hosts]) if hosts else _verdict_of(
        walk((), Wish(require_tls=True))
    )  # fmt: skip
    verdicts = {
        STRICT: strict,
        ORDINARY: _verdict_of(walk(route.hosts, Wish())),
        OPTIONAL: _verdict_of(walk(route.hosts, Wish(tls_optional=True))),
    }
    return CheckReport(target, strict, verdicts, hosts, route)


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
    cls: type[SMTP] = SMTP
    if port == smtplib.SMTP_SSL_PORT if implicit_tls is None else implicit_tls:
        from requiretls_client.smtps import SMTP_SSL

        cls = SMTP_SSL
    verdicts, path = {}, None
    for name, strict in ((STRICT, True), (ORDINARY, False)):
        smtp = cls(
            timeout=timeout, context=context, server_hostname=server_hostname, lookups=lookups,
            require_tls=strict,
        )  # fmt: skip
        try:
            verdicts[name] = _judge_relay(smtp, host, port, strict=strict)
        finally:
            smtp.close()
        path = path or smtp._path
    verdicts[OPTIONAL] = verdicts[ORDINARY]
    report = HostReport(
        host, 0, path.host if path else HostFacts(host), verdicts[STRICT],
        (Attempt(host, 0, None, verdicts[STRICT]),),
    )  # fmt: skip
    route = path.route if path else None
    return CheckReport(f"{host}:{port}", verdicts[STRICT], verdicts, (report,), route)


def _judge_relay(smtp: SMTP, host: str, port: int, *, strict: bool) -> Verdict:
    """Connect as for a message, judge, and leave."""
    try:
        code, reply = smtp.connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, reply)
        smtp.ehlo_or_helo_if_needed()
        verdict = smtp.judge(require_tls=strict)
        smtp._leave()
    except errors.RequireTLSError as error:
        if error.verdict is None:
            raise
        return replace(error.verdict, require_tls=strict)
    except OSError as error:
        return refuse(None, [unreachable(host, "", error)], require_tls=strict, domain=None)
    return verdict


def _each(
    look_at: Callable[[HostFacts], HostReport], hosts: Iterable[HostFacts]
) -> tuple[HostReport, ...]:
    """Look at the hosts side by side; they come back in their order."""
    with ThreadPoolExecutor(AT_ONCE, "requiretls-check") as pool:
        return tuple(pool.map(look_at, hosts))


def _verdict_of(walk: Walk) -> Verdict:
    """Return the verdict of the first host that would take a message, or of all that would not."""
    for smtp in walk.sessions():
        smtp._leave()
        break
    return walk.verdict()
