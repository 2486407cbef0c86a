"""What a report shows: parts, rows, states. Terminal and page only draw it.

Pure. Everything foreign in it has gone through :func:`~requiretls_client.cli.words.shown`, so that
no text holds a control character, whatever a server, the DNS or a recording said.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from requiretls_client.cli import hostview
from requiretls_client.cli.hostview import FAIL, GOOD, NOTE, OPEN, Part, Row, broken, plural
from requiretls_client.cli.words import shown
from requiretls_client.facts import PolicyFacts, RouteFacts
from requiretls_client.path import judge_domain
from requiretls_client.reports import CheckReport
from requiretls_client.verdict import Verdict

ALL, SOME, NONE, UNKNOWN = "all", "some", "none", "unknown"
HEADLINES = {
    ALL: "POSSIBLE",
    SOME: "POSSIBLE, BUT NOT AT EVERY HOST",
    NONE: "NOT POSSIBLE",
    UNKNOWN: "COULD NOT TELL",
}


@dataclass(frozen=True, slots=True)
class View:
    """One report, ready to be drawn.

    Attributes:
        target: what was checked.
        outcome: ``all``, ``some``, ``none`` or ``unknown``.
        summary: how many hosts qualify, as a clause.
        started: when, for people, in UTC.
        seconds: how long it took.
        policy: what was looked up about the domain; None of a named server without look-ups.
        hosts: one part for each, in the order in which they would be tried.
        fates: what becomes of a message of each of the three kinds.
    """

    target: str
    outcome: str
    summary: str
    started: str
    seconds: float
    policy: Part | None
    hosts: tuple[Part, ...]
    fates: tuple[Row, ...]

    @property
    def headline(self) -> str:
        """The verdict in capitals."""
        return HEADLINES[self.outcome]


def view_of(report: CheckReport) -> View:
    """Return what a report shows."""
    good = sum(host.verdict.allowed for host in report.hosts)
    return View(
        target=shown(report.target),
        outcome=report.outcome,
        summary=_summary(good, len(report.hosts), report),
        started=_moment(report.facts.started),
        seconds=report.facts.seconds,
        policy=_policy(report.route) if report.route and not report.facts.named else None,
        hosts=tuple(hostview.host_part(report, host) for host in report.hosts),
        fates=tuple(_fate(kind, report) for kind in report.verdicts),
    )


def _summary(good: int, total: int, report: CheckReport) -> str:
    if total == 1 and report.outcome == UNKNOWN:
        return "its one host could not be judged"
    if report.facts.named:
        return "the server qualifies" if good else "the server does not qualify"
    if not total:
        return "no mail host is known"
    if total == 1:
        return "its one mail host qualifies" if good else "its one mail host does not qualify"
    return f"{good} of {total} mail hosts {'qualifies' if good == 1 else 'qualify'}"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


# -- the domain ----------------------------------------------------------------------------------


def _policy(route: RouteFacts) -> Part:
    signed = route.mx is not None and route.mx.status == "secure"
    rows = [_dnssec(route), _mx(route), _mta_sts(route.policy, OPEN if signed else NOTE)]
    return Part("Policy", _worst(rows), "", "", tuple(rows))


def _worst(rows: list[Row]) -> str:
    states = {row.state for row in rows}
    return FAIL if FAIL in states else NOTE if NOTE in states else GOOD


def _dnssec(route: RouteFacts) -> Row:
    reason = shown(route.trust_reason)
    if not route.trusted:
        return Row(NOTE, "DNSSEC", f"not evaluated, resolver not trusted: {reason}")
    if route.mx is None:
        return Row(NOTE, "DNSSEC", "nothing was asked for an address literal")
    status = route.mx.status
    state = GOOD if status == "secure" else NOTE if status == "insecure" else FAIL
    return Row(state, "DNSSEC", f"{status}; resolver trusted: {reason}")


def _mx(route: RouteFacts) -> Row:
    finding = judge_domain(route)
    if not finding.ok:
        return broken("MX", finding)
    if route.mx is None:
        return Row(NOTE, "MX", "none: the address itself")
    if route.mx.outcome == "nodata":
        return Row(GOOD, "MX", "no MX record, so mail goes to the domain itself")
    signed = "signed" if route.mx.status == "secure" else "not protected by DNSSEC"
    state = GOOD if route.mx.status == "secure" else NOTE
    return Row(state, "MX", f"{plural(len(route.hosts), 'host')}, {signed}")


def _mta_sts(policy: PolicyFacts, missing: str) -> Row:
    """Return the row of the policy; ``missing`` is its state where there is none."""
    problem = shown(policy.problem)
    stored = policy.stored
    if stored is None:
        if policy.failed:
            return Row(NOTE, "MTA-STS", f"unknown: {problem}")
        return Row(missing, "MTA-STS", f"no policy ({problem})" if problem else "no policy")
    source = "fetched now" if policy.source == "fetched" else "from the cache"
    until = _moment(min(stored.fetched + stored.policy.max_age, 253402300799.0))
    text = (
        f"{stored.policy.mode}, id {shown(stored.policy_id)}, "
        f"max_age {_span(stored.policy.max_age)}, {source}, valid until {until}"
    )
    if problem:
        text += f"; not renewed: {problem}"
    state = GOOD if stored.policy.mode == "enforce" and not problem else NOTE
    return Row(state, "MTA-STS", shown(text))


def _span(seconds: int) -> str:
    """Return a span of time in the largest unit that fits."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds} s"


# -- what becomes of a message -------------------------------------------------------------------

_KINDS = {
    "require_tls": "with REQUIRETLS",
    "ordinary": "ordinary",
    "tls_optional": "with TLS-Required: No",
}
_LEVELS = {
    "authenticated": "over verified TLS",
    "encrypted": "over TLS, the host not verified",
    "none": "in clear text",
}


def _fate(kind: str, report: CheckReport) -> Row:
    """Say what would become of a message of one kind."""
    verdict, label = report.verdicts[kind], _KINDS[kind]
    if not verdict.allowed:
        return Row(FAIL, label, _refused(verdict))
    how = _LEVELS[verdict.tls_level]
    where = shown(verdict.host)
    text = f"sent to {where} {how}" if where else f"sent {how}"
    if report.facts.named and verdict.tls_level == "none":
        text += ", unless the program that sends it starts TLS"
    if kind == "require_tls":
        if sum(not host.verdict.allowed for host in report.hosts):
            return Row(NOTE, label, f"{text}; refused while no host that qualifies can be reached")
        return Row(GOOD, label, text)
    return Row(GOOD if verdict.tls_level == "authenticated" else NOTE, label, text)


def _refused(verdict: Verdict) -> str:
    codes = " ".join(str(each) for each in (verdict.code, verdict.status) if each)
    if verdict.temporary:
        return f"not sent now, later may be better ({codes})"
    return f"refused ({codes})"
