"""The way to a domain's host: may it be connected to, and what must TLS prove there?

Reads what was looked up (:class:`~requiretls_client.facts.RouteFacts`), returns findings. Pure.
:mod:`requiretls_client.policy` puts them together with what the session shows, and
:func:`combine` puts the verdicts of all hosts together.

RFC 8689 section 4.2.1 steps 2 to 4; RFC 8461 sections 4 and 5; RFC 7672 sections 2.2 and 3. Our
readings of what these leave open stand in ``docs/standards.rst``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from requiretls_client import dane, mtasts, syntax
from requiretls_client.facts import (
    FAILED,
    TLSA,
    HostFacts,
    PathFacts,
    RouteFacts,
    StoredPolicy,
)
from requiretls_client.route import is_null_mx
from requiretls_client.verdict import Finding, Verdict

_STEP2 = "RFC 8689 s4.2.1 step 2"
_LATER = "try again later"
_HAVE_SIGNED = (
    "have the domain publish an MTA-STS policy (RFC 8461) or sign its zone with DNSSEC, or send "
    "without require_tls"
)
_MEND_POLICY = "have the domain bring its MX records and its policy together, and try again later"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a message asks of the way: RFC 8689 s4.2.1, s4.2.2, or neither.

    ``null_path``: its reverse path is empty, so that the keyword may be missing (s5).
    """

    require_tls: bool = False
    tls_optional: bool = False
    null_path: bool = False

    def __post_init__(self) -> None:
        """Refuse both at once."""
        if self.require_tls and self.tls_optional:
            raise ValueError("one message cannot both require TLS and carry TLS-Required: No")


@dataclass(frozen=True, slots=True)
class Need:
    """What TLS must prove on one host.

    Attributes:
        dane: usable TLSA records, one of which must match; empty where DANE does not apply.
        pkix: the chain must lead to a trusted root and the certificate name the host.
        sni: the name to send (RFC 7672 s8.1, RFC 8461 s7.1).
        names: reference identifiers for usage 2 (RFC 7672 s3.2.2), the first one preferred.
    """

    dane: tuple[TLSA, ...]
    pkix: bool
    sni: str
    names: tuple[str, ...]


def need(path: PathFacts) -> Need:
    """Return what a verified handshake with the host has to prove.

    DANE where usable records exist, PKIX where not (RFC 8689 s4.2.1 step 4: also where none of
    the records is usable, since unauthenticated TLS is not enough); both where an MTA-STS policy
    enforces (RFC 8461 s5), for neither rescues the other (RFC 8461 s2).
    """
    route, host = path.route, path.host
    usable = dane.usable(host.tlsa)
    enforced = _enforced(route) is not None
    base = host.tlsa_base or host.name
    names = [base]
    if route.mx is not None and route.mx.status == "secure":
        names += [route.domain, route.mx.canonical]
    elif route.mx is not None and route.mx.outcome == "nodata":
        names.append(route.domain)
    sni = base if usable else host.name
    return Need(usable, enforced or not usable, sni, tuple(dict.fromkeys(filter(None, names))))


def rungs(path: PathFacts, wish: Wish) -> tuple[str, ...]:
    """Return what a connection may be held to, best first; each failure goes one rung down.

    With ``require_tls`` nothing but ``verified``; with ``TLS-Required: No`` verified first, then
    anything (RFC 8689 s4.2.2); otherwise what the domain's own policies leave.

    Args:
        path: the host; its own ``rung`` is not read.
        wish: what the message asks.
    """
    if wish.require_tls:
        return ("verified",)
    if wish.tls_optional:
        return "verified", "encrypted", "clear"
    if dane.usable(path.host.tlsa) or _enforced(path.route):
        return ("verified",)
    if path.host.tlsa:  # RFC 7672 s2.2: none is usable, so TLS without authentication
        return ("encrypted",)
    stored = path.route.policy.stored
    if stored and stored.policy.mode == "testing" and mtasts.permits(stored.policy, path.host.name):
        return "verified", "encrypted", "clear"  # RFC 8461 s5: tried, but delivered anyway
    return "encrypted", "clear"


def mx_level(route: RouteFacts, host: HostFacts | None = None) -> str | None:
    """Return ``none``, ``mta_sts`` or ``dnssec``; None where no MX look-up is involved."""
    if route.mx is None:
        return None
    if route.mx.status == "secure":
        return "dnssec"
    stored = _counting(route)
    if host is not None and stored and mtasts.permits(stored.policy, host.name):
        return "mta_sts"
    return "none"


# -- the domain ----------------------------------------------------------------------------------


def judge_domain(route: RouteFacts) -> Finding:
    """Decide whether there is a host to go to at all (RFC 5321 s5.1, RFC 7505, RFC 7672 s2.1.2)."""
    mx, domain = route.mx, route.domain
    if mx is None or route.hosts:
        text = f"{len(route.hosts)} mail host(s) of {domain} found"
        return Finding("domain", True, text, "RFC 5321 s5.1")
    if mx.outcome in FAILED:
        text = f"the MX records of {domain} could not be had: {mx.problem}"
        return Finding("dns", False, text, "RFC 7672 s2.1.2", _LATER, status="4.4.3")
    if mx.outcome == "nxdomain":
        text = mx.problem or f"the domain {domain} does not exist"
        fix = "correct the address"
        return Finding("domain", False, text, "RFC 5321 s5.1", fix, status="5.1.2")
    if is_null_mx(mx):
        text = f"{domain} says that it takes no mail (null MX)"
        fix = "correct the address"
        return Finding("domain", False, text, "RFC 7505 s3", fix, status="5.1.10")
    text = f"{domain} has MX records, but none that names a host"
    fix = "have the domain repair them"
    return Finding("domain", False, text, "RFC 5321 s5.1", fix, status="5.4.4")


# -- one host, before it is connected to ---------------------------------------------------------


def judge_host(path: PathFacts, *, require_tls: bool, lenient: bool = False) -> Iterator[Finding]:
    """Yield the findings about one host, in the order of RFC 8689; the first failed one bars it.

    Args:
        path: the host.
        require_tls: hold it to RFC 8689 s4.2.1 step 2.
        lenient: ``TLS-Required: No``: what policies say is noted, not obeyed (RFC 8689 s4.2.2).
    """
    name = _name(path)
    yield name if require_tls or name.ok else replace(name, ok=True, fix="", status=None)
    mismatch = _policy_mismatch(path)
    if mismatch is not None:
        yield replace(mismatch, ok=True, fix="", status=None) if lenient else mismatch
    yield _address(path.host)
    tlsa = _tlsa(path)
    yield replace(tlsa, ok=True, fix="", status=None) if lenient else tlsa


def _name(path: PathFacts) -> Finding:
    """Is the host's name authenticated (table A; ids RT-03, A1 to A12)?"""
    route, host = path.route, path.host
    mx, domain, name = route.mx, route.domain, path.host.name
    if syntax.is_address(name):
        text = f"{name} is an address, and no name that a certificate could be held against"
        fix = "write the address with a domain, or send without require_tls"
        return Finding("mx", False, text, _STEP2, fix, name, "5.7.10")
    if mx is None:
        text = f"{name} was named by the caller, so no MX record has to be proved"
        return Finding("server_name", True, text, _STEP2, host=name)
    if mx.outcome == "nodata":
        text = f"{domain} has no MX record, so mail goes to the domain itself"
        return Finding("mx", True, text, _STEP2, host=name)
    if mx.status == "secure":
        text = f"DNSSEC vouches for {name} as a mail host of {domain} ({route.trust_reason})"
        return Finding("mx", True, text, _STEP2, host=name)
    stored = _counting(route)
    if stored and mtasts.permits(stored.policy, name):
        text = f"the MTA-STS policy of {domain} {_about(stored)} lists {name}"
        return Finding("mx", True, text, "RFC 8461 s4.1", host=name)
    return _unproved(route, host, stored)


def _unproved(route: RouteFacts, host: HostFacts, stored: StoredPolicy | None) -> Finding:
    """Say why nothing vouches for the name, and whether later may be better."""
    domain, policy = route.domain, route.policy
    signed = f"the MX record that names {host.name} for {domain} is not protected by DNSSEC"
    if not route.trusted:
        signed = f"DNSSEC was not evaluated for {domain} ({route.trust_reason})"
    fix = _HAVE_SIGNED
    if not route.trusted:
        fix = "use a validating resolver on this machine, or Resolver(trust_ad=True); or " + fix
    if stored:
        text = f"{signed}, and the domain's MTA-STS policy {_about(stored)} does not list the host"
        if stored.policy.mode == "enforce":  # that alone bars the host, until the two agree
            return Finding("mta_sts", False, text, _STEP2, _MEND_POLICY, host.name, "5.7.10")
        return Finding("mx", False, text, _STEP2, _MEND_POLICY, host.name, "5.7.10")
    if policy.failed:
        text = f"{signed}, and whether an MTA-STS policy lists it is unknown: {policy.problem}"
        status = "4.4.3" if policy.failed == "dns" else "4.7.5"
        return Finding("sts", False, text, _STEP2, _LATER, host.name, status)
    why = f" ({policy.problem})" if policy.problem else ""
    none = 'has the mode "none"' if policy.stored else f"does not exist{why}"
    text = f"{signed}, and an MTA-STS policy of the domain {none}"
    return Finding("mx", False, text, _STEP2, fix, host.name, "5.7.10")


def _policy_mismatch(path: PathFacts) -> Finding | None:
    """Does a policy in force bar the host, whatever DNSSEC says (RFC 8461 s5; A1, A4, A8)?"""
    stored, name = _counting(path.route), path.host.name
    if stored is None or mtasts.permits(stored.policy, name):
        return None
    text = f"the MTA-STS policy of {path.route.domain} {_about(stored)} does not list {name}"
    if stored.policy.mode == "testing":
        return Finding("mta_sts", True, text, "RFC 8461 s5", host=name)
    return Finding("mta_sts", False, text, "RFC 8461 s5", _MEND_POLICY, name, "5.7.10")


def _address(host: HostFacts) -> Finding:
    if not host.address_problem:
        text = f"{host.name} has {len(host.addresses)} address(es), DNSSEC: {host.address_status}"
        return Finding("address", True, text, "RFC 5321 s5.1", host=host.name)
    text = f"no address to connect to: {host.address_problem}"
    if host.address_failed:
        return Finding("dns", False, text, "RFC 7672 s2.1.2", _LATER, host.name, "4.4.3")
    fix = "have the domain repair its records"
    if host.private:
        fix = "say Lookups(allow_private=True) if the domain is one of your own network"
    return Finding("address", False, text, "RFC 5321 s5.1", fix, host.name, "5.4.4")


def _tlsa(path: PathFacts) -> Finding:
    """Could the TLSA records be had (table B; RFC 7672 s2.1.2)?"""
    route, host = path.route, path.host
    rfc = "RFC 7672 s2.2"
    if host.tlsa_problem:
        text = f"the TLSA records of {host.tlsa_base} could not be had: {host.tlsa_problem}"
        return Finding("tlsa", False, text, "RFC 7672 s2.1.2", _LATER, host.name, "4.4.3")
    usable = len(dane.usable(host.tlsa))
    if host.tlsa:
        text = f"{host.tlsa_base} has {len(host.tlsa)} TLSA record(s), {usable} of them usable"
    elif syntax.is_address(host.name):
        text = "DANE does not apply to an address"
    elif not route.trusted:
        text = f"DANE: not evaluated (resolver not trusted: {route.trust_reason})"
    elif host.address_status != "secure":
        text = f"DANE does not apply: the addresses of {host.name} are not protected by DNSSEC"
    else:
        text = f"{host.name} has no TLSA record"
    return Finding("tlsa", True, text, rfc, host=host.name)


def _enforced(route: RouteFacts) -> StoredPolicy | None:
    stored = route.policy.stored
    return stored if stored and stored.policy.mode == "enforce" and route.mx is not None else None


def _counting(route: RouteFacts) -> StoredPolicy | None:
    """Return the policy if it vouches for names: RFC 8689 s2 asks for the match, not the mode."""
    stored = route.policy.stored
    return stored if stored and stored.policy.mode in ("enforce", "testing") else None


def _about(stored: StoredPolicy) -> str:
    return f"(id {stored.policy_id}, mode {stored.policy.mode})"


# -- all hosts together --------------------------------------------------------------------------


def refuse(
    path: PathFacts | None, findings: Sequence[Finding], *, require_tls: bool, domain: str | None
) -> Verdict:
    """Make the verdict of a refusal that was decided without a session; the last finding failed."""
    failed = findings[-1]
    later = bool(failed.status and failed.status.startswith("4."))
    return Verdict(
        allowed=False,
        require_tls=require_tls,
        requiretls=False,
        findings=tuple(findings),
        host=failed.host,
        tls_level="none",
        domain=domain or None,
        mx_level=mx_level(path.route, path.host) if path else None,
        code=basic_code(failed.status),
        status=failed.status,
        # RFC 8461 s5: not before the policy has been looked at anew; a sender should treat it as
        # transient.
        temporary=later or failed.step == "mta_sts",
    )


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the one verdict of all hosts of a domain, in the order in which they were tried.

    The first that allows wins. Else it is temporary if any failure was; 5.7.30 only if every host
    was authenticated and lacked the keyword; otherwise what the first of the others says.

    Args:
        verdicts: at least one.
    """
    for verdict in verdicts:
        if verdict.allowed:
            return verdict
    later = [each for each in verdicts if each.status and each.status.startswith("4.")]
    others = [each for each in verdicts if each.status != "5.7.30"]
    decisive = (later or others or list(verdicts))[0]
    return replace(
        decisive,
        temporary=any(each.temporary for each in verdicts),
        hosts=tuple(verdicts) if len(verdicts) > 1 else (),
    )


def basic_code(status: str | None) -> int | None:
    """Return the basic status code that goes with an enhanced one (RFC 8689 s7, RFC 7505 s4)."""
    if status is None:
        return None
    return 451 if status.startswith("4.") else 556 if status == "5.1.10" else 550
