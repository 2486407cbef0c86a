"""What the facts of a check come to: the report, by the same rules as a delivery.

Pure, and the only way to a :class:`~requiretls_client.reports.CheckReport`: facts that were kept in
a file give the report that they gave on the day, or a better one after the rules were mended.
"""

from __future__ import annotations

from dataclasses import replace

from requiretls_client import dane, mtasts
from requiretls_client.certificate import describe
from requiretls_client.descent import judge_named, judge_walk, on_the_way
from requiretls_client.evidence import CheckFacts, Visit
from requiretls_client.facts import HostFacts, PathFacts, RouteFacts, SessionFacts, TLSFacts
from requiretls_client.path import Wish, combine, need
from requiretls_client.reports import Attempt, CheckReport, HostReport
from requiretls_client.verdict import Verdict

STRICT, ORDINARY, OPTIONAL = "require_tls", "ordinary", "tls_optional"
_WISHES = {
    STRICT: Wish(require_tls=True), ORDINARY: Wish(), OPTIONAL: Wish(tls_optional=True),
}  # fmt: skip


def assess(facts: CheckFacts) -> CheckReport:
    """Return what the facts come to.

    Args:
        facts: of :func:`~requiretls_client.checking.check` or ``check_relay()``. Where a rule
            calls for a connection that is not among them, the address counts as not reached.
    """
    if facts.named or facts.route is None:
        return _assess_named(facts)
    route = facts.route
    hosts = tuple(_assess_host(facts, route, host) for host in route.hosts)
    nowhere = (
        judge_walk(replace(route, hosts=()), _WISHES[STRICT], (), every=True) if not hosts else []
    )
    strict = combine([*(each.verdict for each in hosts), *(each.verdict for each in nowhere)])
    verdicts = {
        STRICT: strict,
        ORDINARY: _first(route, ORDINARY, facts.ordinary),
        OPTIONAL: _first(route, OPTIONAL, facts.optional),
    }
    return CheckReport(facts.target, strict, verdicts, hosts, route, facts)


def _first(route: RouteFacts, kind: str, visits: tuple[Visit, ...]) -> Verdict:
    """Return the verdict of the first host that would take a message, or of all that would not."""
    attempts = judge_walk(route, _WISHES[kind], visits, every=False)
    return combine([each.verdict for each in attempts])


def _assess_host(facts: CheckFacts, route: RouteFacts, host: HostFacts) -> HostReport:
    alone = replace(route, hosts=(host,))
    attempts = judge_walk(alone, _WISHES[STRICT], facts.strict, every=True)
    verdict = combine([each.verdict for each in attempts])
    stored = route.policy.stored
    counts = stored is not None and stored.policy.mode in ("enforce", "testing")
    listed = stored is not None and mtasts.permits(stored.policy, host.name)
    report = HostReport(host.name, host.preference, host, verdict, tuple(attempts),
                        policy_lists=listed if counts else None)  # fmt: skip
    return _with_certificate(report, facts, PathFacts(route, host))


def _assess_named(facts: CheckFacts) -> CheckReport:
    route = facts.route
    path = PathFacts(route, route.hosts[0], "named") if route else None
    host = facts.strict[0].host
    kinds = {STRICT: facts.strict, ORDINARY: facts.ordinary, OPTIONAL: facts.optional}
    verdicts = {
        # For a named server TLS-Required: No changes nothing but the message.
        kind: judge_named(visits[0].shown, path, host, Wish(require_tls=kind == STRICT))
        for kind, visits in kinds.items()
    }
    if path is not None and facts.mail_domain:
        verdicts = {kind: on_the_way(each, path) for kind, each in verdicts.items()}
    strict = verdicts[STRICT]
    looked_up = path.host if path else HostFacts(host)
    report = HostReport(host, 0, looked_up, strict, (Attempt(host, 0, None, strict),))
    report = _with_certificate(report, facts, path)
    return CheckReport(facts.target, strict, verdicts, (report,), route, facts)


def _with_certificate(report: HostReport, facts: CheckFacts, path: PathFacts | None) -> HostReport:
    """Add what the certificate says, and what DANE makes of it."""
    handshake = _handshake(facts, report)
    if handshake is None:
        return report
    certificate = describe(handshake.presented[0])
    wanted = need(path) if path else None
    match = dane.match(wanted.dane, handshake, wanted.names) if wanted and wanted.dane else None
    return replace(report, certificate=certificate, dane=match)


def _handshake(facts: CheckFacts, report: HostReport) -> TLSFacts | None:
    """Return the handshake that shows most about a host: with the address that decided, if any."""
    decided = next((each for each in report.attempts if each.verdict.allowed), report.attempts[0])
    found = [
        visit.shown.tls
        for address in (decided.address or "", None)
        for visit in (*facts.strict, *facts.unverified)
        if visit.host == report.name and address in (visit.address, None)
        and isinstance(visit.shown, SessionFacts) and visit.shown.tls and visit.shown.tls.presented
    ]  # fmt: skip
    return found[0] if found else None
