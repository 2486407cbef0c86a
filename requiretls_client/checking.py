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
from requiretls_client.mxwalk import Walk, Wish, unreachable
from requiretls_client.path import combine, refuse
from requiretls_client.policy import judge_session
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
) -> CheckReport:
    """Find out whether a submission server takes mail with REQUIRETLS (RFC 8689 s4.3).

    Args:
        host: the server.
        port: 465 means TLS at once, any other STARTTLS.
        lookups: with it the server's TLSA records are looked up, and bind its certificate.
        context: for TLS; None means certifi's roots.
        server_hostname: the name to verify, when it is not ``host``.
        timeout: seconds for each wait on a socket.

    Returns:
        The report. Trouble of any kind is in it, not an exception.

    Raises:
        ValueError: a bad name.
    """
    cls: type[SMTP] = SMTP
    if port == smtplib.SMTP_SSL_PORT:
        from requiretls_client.smtps import SMTP_SSL

        cls = SMTP_SSL
    smtp = cls(timeout=timeout, context=context, server_hostname=server_hostname, lookups=lookups)
    try:
        strict, ordinary = _judge_relay(smtp, host, port)
    finally:
        smtp.close()
    facts = smtp._path.host if smtp._path else HostFacts(host)
    attempt = Attempt(host, 0, None, strict)
    verdicts = {STRICT: strict, ORDINARY: ordinary, OPTIONAL: ordinary}
    route = smtp._path.route if smtp._path else None
    report = HostReport(host, 0, facts, strict, (attempt,))
    return CheckReport(f"{host}:{port}", strict, verdicts, (report,), route)


def _judge_relay(smtp: SMTP, host: str, port: int) -> tuple[Verdict, Verdict]:
    """Return the verdicts for a message with require_tls, and for ordinary mail."""
    try:
        code, reply = smtp.connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, reply)
        blocked = smtp._reach()
    except errors.RequireTLSError as error:
        if error.verdict is None:
            raise
        return error.verdict, error.verdict
    except OSError as error:
        found = [unreachable(host, "", error)]
        return (
            refuse(None, found, require_tls=True, domain=None),
            refuse(None, found, require_tls=False, domain=None),
        )
    facts = smtp._facts(blocked.obstacle() if blocked else None)
    smtp._leave(usable=blocked is None)
    return judge_session(facts), judge_session(facts, require_tls=False)


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
