"""The look-up plans: which questions, in which order, and what their answers add up to.

Pure. A plan is a generator: it yields a tuple of questions that may be asked at once, is sent the
tuple of their answers, and returns facts. Who answers (threads, a dictionary in a test) is no
concern of it; :mod:`requiretls_client.lookups` drives plans against the real world.

RFC 5321 section 5.1 (MX, implicit MX), RFC 7505 (null MX), RFC 7672 section 2.2 (addresses before
TLSA, base domains), RFC 8461 section 3 (TXT, then HTTPS; the cache). Nothing is judged here: an
answer that fails is a fact like any other.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TypeAlias, TypeVar

from requiretls_client import mtasts, syntax
from requiretls_client.facts import (
    FAILED,
    MX,
    TLSA,
    Answer,
    HostFacts,
    PolicyFacts,
    StoredPolicy,
)

MAX_HOSTS = 20  # a domain with more has its least preferred ones ignored
MAX_ADDRESSES = 8  # of one host; RFC 5321 s5.1 asks for two at least
MAX_NAME = 253  # characters of a DNS name, as text (RFC 1035 s2.3.4)
BACK_OFF = 300.0  # seconds without a new fetch after a failed one (RFC 8461 s3.3)
REFRESH = 86400.0  # seconds after which a policy is fetched anew, whatever its id (RFC 8461 s3.3)

# RFC 6761, 6762, 7686: never in the public DNS, so nobody is asked about them.
_SPECIAL = frozenset({"invalid", "onion", "local", "localhost"})

Shuffle: TypeAlias = Callable[[list[MX]], None]


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the DNS, answered with an :class:`~requiretls_client.facts.Answer`."""

    name: str
    rdtype: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """A request to fetch and keep a policy, answered with :class:`Fetched`.

    ``addresses`` are those of the policy host, and nothing else may be dialled.
    """

    domain: str
    policy_id: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The policy that was fetched, or why there is none."""

    stored: StoredPolicy | None
    problem: str = ""


Question: TypeAlias = Ask | Fetch
Facts = TypeVar("Facts", covariant=True)
Plan: TypeAlias = Generator[tuple[Question, ...], tuple[Answer | Fetched, ...], Facts]


# -- hosts ---------------------------------------------------------------------------------------


def find_hosts(
    domain: str, *, port: int, shuffle: Shuffle, allow_private: bool = False
) -> Plan[tuple[Answer, tuple[HostFacts, ...]]]:
    """Plan the look-up of the hosts that take mail for a domain.

    Args:
        domain: A-label.
        port: of the hosts; part of the TLSA name (RFC 6698 s3).
        shuffle: puts MX records of one preference into random order, in place (RFC 5321 s5.1).
        allow_private: keep addresses that are not global.

    Returns:
        The answer to the MX question, and the hosts in the order to try. No hosts where the
        answer failed, the domain does not exist, or it takes no mail.
    """
    if domain.rpartition(".")[2] in _SPECIAL:
        why = f"{domain} is a special-use name, which the public DNS does not have (RFC 6761)"
        return Answer(domain, "MX", "nxdomain", "insecure", canonical=domain, problem=why), ()
    (mx,) = yield from _ask(Ask(domain, "MX"))
    targets = exchangers(mx, shuffle)
    ahead = [
        mx.status == "secure" and (name == mx.canonical or name.endswith(f".{mx.canonical}"))
        for _, name in targets
    ]
    hosts = yield from _find_each(targets, ahead, port=port, allow_private=allow_private)
    return mx, hosts


def find_server(host: str, *, port: int) -> Plan[HostFacts]:
    """Plan the look-up of a server that the caller named: its addresses, then TLSA (RFC 7673).

    Private addresses are kept: the caller meant this server.
    """
    (found,) = yield from _find_each([(0, host)], [False], port=port, allow_private=True)
    return found


def literal_host(address: str, *, allow_private: bool) -> HostFacts:
    """Return the facts of an address literal, for which nothing is looked up (RFC 7672 s2.2)."""
    kept, private = _split_private([address], allow_private=allow_private)
    problem = "" if kept else f"{address} is not public, {_ALLOW}"
    return HostFacts(
        address, addresses=kept, private=private, canonical=address, address_problem=problem
    )


def exchangers(mx: Answer, shuffle: Shuffle) -> list[tuple[int, str]]:
    """Return (preference, host) in the order to try: RFC 5321 s5.1, RFC 7505.

    An empty answer means the domain itself (implicit MX). A null MX leaves nothing; a ``.`` beside
    other records is the publisher's mistake and is passed over.
    """
    if mx.outcome == "nodata":
        return [(0, mx.name)]
    records = [each for each in mx.records if isinstance(each, MX) and each.host]
    shuffle(records)
    records.sort(key=lambda each: each.preference)
    best: dict[str, int] = {}
    for each in records:
        best.setdefault(each.host.lower(), each.preference)
    return [(preference, host) for host, preference in best.items()][:MAX_HOSTS]


def is_null_mx(mx: Answer) -> bool:
    """Tell whether the domain says that it takes no mail (RFC 7505 s3)."""
    return len(mx.records) == 1 and isinstance(mx.records[0], MX) and not mx.records[0].host


def _find_each(
    targets: list[tuple[int, str]], ahead: list[bool], *, port: int, allow_private: bool
) -> Plan[tuple[HostFacts, ...]]:
    """Look up addresses, then TLSA, of all hosts side by side.

    ``ahead`` says for each host whether its TLSA question may follow its address questions at
    once: where the host lies in a zone that is known to be signed, the reason for waiting (RFC
    7672 s2.2.2: name servers of unsigned zones that choke on TLSA) is gone. The answer counts only
    if the addresses turn out to be secure.
    """
    good = [is_host_name(name) for _, name in targets]
    addresses: list[tuple[Question, ...]] = []
    for (_, name), usable, early in zip(targets, good, ahead, strict=True):
        asked = [Ask(name, "AAAA"), Ask(name, "A")] if usable else []
        if usable and early and len(name) <= MAX_NAME - 16:
            asked.append(Ask(tlsa_name(name, port), "TLSA"))
        addresses.append(tuple(asked))
    answers = yield from _ask_groups(addresses)
    found = [
        _addresses(preference, name, group[:2], allow_private=allow_private)
        if group
        else HostFacts(name, preference, canonical=name, address_problem=_NO_HOST_NAME)
        for (preference, name), group in zip(targets, answers, strict=True)
    ]
    bases = [
        [] if host.address_problem else tlsa_bases(host, group[:2])
        for host, group in zip(found, answers, strict=True)
    ]
    early_answers = [group[2] if len(group) > 2 else None for group in answers]
    late = [
        tuple(Ask(tlsa_name(base, port), "TLSA") for base in names[: -1 if early else None])
        for names, early in zip(bases, early_answers, strict=True)
    ]
    later = yield from _ask_groups(late)
    return tuple(
        _with_tlsa(host, names, (*rest, early) if early and names else rest)
        for host, names, rest, early in zip(found, bases, later, early_answers, strict=True)
    )


_ALLOW = "which only Lookups(allow_private=True) lets us use"
_NO_HOST_NAME = "its MX record does not hold a host name (RFC 5321 s5.1)"


def is_host_name(name: str) -> bool:
    """Tell whether an MX record may hold this: a DNS name, no address and nothing else."""
    try:
        made = syntax.reference_name(name)
    except ValueError:
        return False
    return made == name.lower() and not syntax.is_address(made)


def tlsa_name(base: str, port: int) -> str:
    """Return the name of the TLSA records (RFC 6698 s3)."""
    return f"_{port}._tcp.{base}"


def tlsa_bases(host: HostFacts, answers: Iterable[Answer | Fetched]) -> list[str]:
    """Return the TLSA base domains to ask for, in order (RFC 7672 s2.2.2 and s2.2.3).

    The full CNAME expansion if all of it is secure, then the original name; only the original
    where a later link is insecure; none where the first one is.
    """
    first = [each.links[0].status for each in answers if isinstance(each, Answer) and each.links]
    bases: list[str] = []
    if host.address_status == "secure":
        bases = list(dict.fromkeys([host.canonical, host.name]))
    elif first and first[0] == "secure":
        bases = [host.name]
    # What is no host name, or leaves no room for the prefix, can have no TLSA record.
    return [base for base in bases if is_host_name(base) and len(base) <= MAX_NAME - 16]


def _addresses(
    preference: int, name: str, answers: Iterable[Answer | Fetched], *, allow_private: bool
) -> HostFacts:
    """Put the answers for one host together; one family that fails leaves the other usable."""
    both = [each for each in answers if isinstance(each, Answer)]
    full = [each for each in both if each.outcome == "records"]
    failed = [each for each in both if each.outcome in FAILED]
    order = [
        str(address)
        for pair in zip_longest(*(each.records for each in full))
        for address in pair
        if address is not None
    ]
    kept, private = _split_private(order, allow_private=allow_private)
    problem = ""
    if not order:
        problem = failed[0].problem if failed else f"{name} has no address"
    elif not kept:
        shown = ", ".join(private)
        problem = f"{name} has only addresses that are not public ({shown}), {_ALLOW}"
    status = full or [each for each in both if each not in failed]
    return HostFacts(
        name,
        preference,
        kept[:MAX_ADDRESSES],
        private,
        canonical=(full or both)[0].canonical or name,
        address_status="secure" if {each.status for each in status} == {"secure"} else "insecure",
        address_problem=problem,
        address_failed=not order and bool(failed),
    )


def _split_private(
    addresses: Iterable[str], *, allow_private: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the addresses that may be dialled, and those that are not global."""
    kept: list[str] = []
    private: list[str] = []
    for address in dict.fromkeys(addresses):
        (kept if allow_private or is_global(address) else private).append(address)
    return tuple(kept), tuple(private)


def is_global(address: str) -> bool:
    """Tell whether an address is one of the public Internet, whatever it is wrapped in."""
    ip = ipaddress.ip_address(address)
    inner = None
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if any(ip in network for network in _NOT_GLOBAL):
            return False
    return ip.is_global and not ip.is_multicast and (inner is None or inner.is_global)


_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
# What ipaddress calls global, or does from some version of Python on: IPv4-compatible and
# IPv4-translated addresses (RFC 4291 s2.5.5.1, RFC 2765), site-local (RFC 3879), local NAT64 (RFC
# 8215), documentation (RFC 9637), segment routing (RFC 9602).
_NOT_GLOBAL = [
    ipaddress.ip_network(each)
    for each in (
        "::/96", "::ffff:0:0:0/96", "fec0::/10", "64:ff9b:1::/48", "3fff::/20", "5f00::/16"
    )
]  # fmt: skip


def _with_tlsa(host: HostFacts, bases: list[str], answers: Iterable[Answer | Fetched]) -> HostFacts:
    """Add the first secure TLSA records, or the failure before them (RFC 7672 s2.1.2)."""
    for base, answer in zip(bases, answers, strict=False):
        if not isinstance(answer, Answer):
            continue
        if answer.outcome in FAILED:
            return replace(host, tlsa_base=base, tlsa_problem=answer.problem)
        records = tuple(each for each in answer.records if isinstance(each, TLSA))
        if records and answer.status == "secure":
            return replace(host, tlsa_base=base, tlsa=records)
    return host


# -- the policy ----------------------------------------------------------------------------------


def find_policy(
    domain: str,
    *,
    stored: StoredPolicy | None,
    failure: tuple[str, float] | None,
    now: float,
    allow_private: bool = False,
    refresh: bool = False,
) -> Plan[PolicyFacts]:
    """Plan the look-up of a domain's MTA-STS policy (RFC 8461 s3).

    Args:
        domain: of the address, never a CNAME target of it.
        stored: what the store has, expired or not.
        failure: id and Unix time of the last fetch that failed.
        now: Unix time.
        allow_private: let the policy host have an address that is not global.
        refresh: fetch a policy that is held anew, however young it is.
    """
    held = stored if stored is not None and in_force(stored, now) else None
    if len(domain) > MAX_NAME - len("_mta-sts."):
        return PolicyFacts()  # no room for a name that could publish one
    host = f"mta-sts.{domain}"
    questions: tuple[Question, ...] = (Ask(host, "AAAA"), Ask(host, "A"))
    txt, *ahead = yield from _ask(Ask(f"_mta-sts.{domain}", "TXT"), *(() if held else questions))
    published, problem = _published_id(txt)
    due = held is not None and (
        refresh or now - held.fetched >= min(REFRESH, held.policy.max_age / 2)
    )
    wanted = published or (held.policy_id if held and due else None)
    lost = "dns" if txt.outcome in FAILED else ""
    kept = PolicyFacts(held, "cached" if held else "none", problem, lost)
    if wanted is None or (held and wanted == held.policy_id and not due):
        return kept
    if failure and failure[0] == wanted and 0 <= now - failure[1] < BACK_OFF:
        waited = f"a fetch failed {now - failure[1]:.0f} s ago, and is not repeated at once"
        return PolicyFacts(held, kept.source, waited, "fetch")
    answers = ahead or (yield from _ask(*questions))
    target = _addresses(0, host, answers, allow_private=allow_private)
    why = target.address_problem
    if not why:
        (result,) = yield (Fetch(domain, wanted, target.addresses),)
        assert isinstance(result, Fetched)  # noqa: S101 - for the type checker
        if result.stored is not None:
            return PolicyFacts(result.stored, "fetched")
        why = result.problem
    return PolicyFacts(held, kept.source, f"the policy could not be fetched: {why}", "fetch")


def in_force(stored: StoredPolicy, now: float) -> bool:
    """Tell whether a policy has not expired; a fetch "in the future" (a clock set back) counts."""
    return now < stored.fetched + stored.policy.max_age


def _published_id(txt: Answer) -> tuple[str | None, str]:
    """Return the policy id in the DNS, and what is wrong where there is none."""
    if txt.outcome in FAILED:
        return None, txt.problem
    try:
        return mtasts.policy_id(str(record) for record in txt.records), ""
    except mtasts.PolicyError as error:
        return None, str(error)


# -- asking --------------------------------------------------------------------------------------


def _ask(
    *questions: Question,
) -> Generator[tuple[Question, ...], tuple[Answer | Fetched, ...], tuple[Answer, ...]]:
    """Ask the DNS, and return its answers."""
    answers = yield questions
    return tuple(answer for answer in answers if isinstance(answer, Answer))


def _ask_groups(
    groups: Sequence[tuple[Question, ...]],
) -> Generator[
    tuple[Question, ...], tuple[Answer | Fetched, ...], list[tuple[Answer | Fetched, ...]]
]:
    """Ask several groups of questions at once, and return the answers in the same groups."""
    flat = tuple(question for group in groups for question in group)
    answers = iter((yield flat) if flat else ())
    return [tuple(next(answers) for _ in group) for group in groups]
