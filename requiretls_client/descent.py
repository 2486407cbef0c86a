"""The way down one address, and the judgement of a whole walk from what was seen on it.

Pure. :func:`descend` is a plan like those of :mod:`requiretls_client.route`: it yields what the
next connection is held to and is sent what that connection showed.
:mod:`requiretls_client.mxwalk` drives it with real connections, :func:`judge_walk` with those of a
record: both come to the same verdicts.

RFC 8689 section 4.2.1 steps 2 to 5, section 4.2.2; RFC 5321 section 4.5.4.1 (several addresses).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from requiretls_client.evidence import Trouble, Visit
from requiretls_client.facts import PathFacts, RouteFacts, SessionFacts
from requiretls_client.path import Wish, judge_domain, judge_host, refuse, rungs
from requiretls_client.policy import judge_session
from requiretls_client.reports import Attempt
from requiretls_client.verdict import Finding, Verdict

Shown: TypeAlias = SessionFacts | Trouble
Descent: TypeAlias = Generator[PathFacts, Shown, tuple[Verdict, PathFacts]]

_UNSEEN = Trouble("connect", "what a connection would have shown was not recorded")


def descend(path: PathFacts, address: str, findings: Sequence[Finding], wish: Wish) -> Descent:
    """Plan the connections to one address, from the best rung down.

    Args:
        path: the host; its own ``rung`` is not read.
        address: IP address.
        findings: of :func:`bars`, all ok.
        wish: what to hold the host to.

    Returns:
        The verdict, and what the connection is held to that it is about. Where a lower rung
        qualified, the verdict says what failed above it (RFC 8689 s4.2.2: a policy failure is
        noted).
    """
    failed: list[Finding] = []
    left = list(rungs(path, wish))
    while True:
        held = replace(path, rung=left.pop(0))
        shown = yield held
        if isinstance(shown, Trouble):
            found = unreachable(path.host.name, address, shown)
            return _refusal(path.route, path, [*findings, found], wish), held
        obstacle = shown.obstacle
        if obstacle is not None and obstacle.kind == "not_offered" and "clear" in left:
            held = replace(path, rung="clear")  # on this very connection
        verdict = judge_session(
            replace(shown, path=held), require_tls=wish.require_tls, null_path=wish.null_path
        )
        if verdict.allowed:
            return replace(verdict, findings=(*failed, *verdict.findings)), held
        failed += [replace(each, status=None) for each in verdict.findings if not each.ok]
        if obstacle is not None and obstacle.kind != "certificate":
            left = [rung for rung in left if rung == "clear"]  # TLS itself does not work there
        if not left:
            return verdict, held


def bars(path: PathFacts, wish: Wish) -> list[Finding]:
    """Return the findings about a host before it is connected to, up to the first that bars it."""
    findings = []
    for finding in judge_host(path, require_tls=wish.require_tls, lenient=wish.tls_optional):
        findings.append(finding)
        if not finding.ok:
            break
    return findings


def no_host(route: RouteFacts, wish: Wish) -> Attempt | None:
    """Return why there is no host to go to, or None."""
    finding = judge_domain(route)
    if finding.ok:
        return None
    return Attempt("", 0, None, _refusal(route, None, [finding], wish))


def barred(path: PathFacts, findings: Sequence[Finding], wish: Wish) -> Attempt | None:
    """Return what comes of a host that may not be connected to; None if it may."""
    if findings[-1].ok:
        return None
    verdict = _refusal(path.route, path, findings, wish)
    return Attempt(path.host.name, path.host.preference, None, verdict)


def judge_walk(
    route: RouteFacts, wish: Wish, visits: Iterable[Visit], *, every: bool
) -> list[Attempt]:
    """Judge a walk over the hosts of a domain by what its connections showed.

    Args:
        route: what was looked up.
        wish: what the message asks.
        visits: the connections. One that is called for and missing counts as not reached.
        every: go on behind a host that qualifies.

    Returns:
        What came of each address, or of a host that was not connected to; at least one.
    """
    seen = {(each.host, each.address, each.rung): each.shown for each in visits}
    nowhere = no_host(route, wish)
    if nowhere is not None:
        return [nowhere]
    attempts: list[Attempt] = []
    for host in route.hosts:
        path = PathFacts(route, host)
        findings = bars(path, wish)
        refused = barred(path, findings, wish)
        if refused is not None:
            attempts.append(refused)
            continue
        for address in host.addresses:
            verdict, late = _judge_address(path, address, findings, wish, seen)
            attempts.append(Attempt(host.name, host.preference, address, verdict))
            if late or (verdict.allowed and not every):
                return attempts
    return attempts


def _judge_address(
    path: PathFacts,
    address: str,
    findings: Sequence[Finding],
    wish: Wish,
    seen: dict[tuple[str, str, str], Shown],
) -> tuple[Verdict, bool]:
    """Drive the plan with a record; return the verdict, and whether the walk ended there."""
    plan = descend(path, address, findings, wish)
    held = next(plan)
    while True:
        shown = seen.get((path.host.name, address, held.rung), _UNSEEN)
        try:
            held = plan.send(shown)
        except StopIteration as stop:
            verdict: Verdict = stop.value[0]
            return verdict, isinstance(shown, Trouble) and shown.kind == "late"


def judge_named(shown: Shown, path: PathFacts | None, host: str, wish: Wish) -> Verdict:
    """Judge a server that the caller named by what a connection to it showed.

    Args:
        shown: the session; its ``path`` is not read.
        path: what was looked up about it; None without look-ups.
        host: its name, for a text about trouble.
        wish: what the message asks.
    """
    if path is not None:
        strictly = replace(wish, require_tls=True, tls_optional=False)
        refused = barred(path, bars(path, strictly)[-1:], wish)
        if refused is not None:
            return refused.verdict
    if isinstance(shown, Trouble):
        found = unreachable(host, "", shown)
        return refuse(None, [found], require_tls=wish.require_tls, domain=None)
    return judge_session(replace(shown, path=path), require_tls=wish.require_tls)


def on_the_way(verdict: Verdict, path: PathFacts) -> Verdict:
    """Add to a refusal at a named server that it is a mail domain with MX records."""
    failed = verdict.failed
    if failed is None:
        return verdict
    hint = f"; {path.host.name} is a mail domain with MX records: use to_domain() or deliver()"
    mended = replace(failed, fix=failed.fix + hint)
    findings = tuple(mended if each is failed else each for each in verdict.findings)
    return replace(verdict, findings=findings)


def unreachable(host: str, address: str, trouble: Trouble) -> Finding:
    """Put into words why a host could not be talked to, and whether later may be better."""
    where = f"{host} [{address}]" if address else host
    if trouble.kind == "late":
        text = f"{host} was not tried any more: {trouble.text}"
        return Finding("connect", False, text, "RFC 5321 s4.5.4.1", "try again later", host,
                       trouble.status)  # fmt: skip
    if trouble.code is not None:
        fix = "try again later" if trouble.code < 500 else "ask its postmaster why"
        said = f"{where} does not take mail now: {trouble.code} {trouble.text}"
        return Finding("server", False, said, "RFC 5321 s3.1", fix, host, trouble.status)
    said = f"{where} could not be reached: {trouble.text}"
    fix = "try again later"
    return Finding(trouble.kind, False, said, "RFC 5321 s4.5.4.1", fix, host, trouble.status)


def _refusal(
    route: RouteFacts, path: PathFacts | None, findings: Sequence[Finding], wish: Wish
) -> Verdict:
    return refuse(path, findings, require_tls=wish.require_tls, domain=route.domain)
