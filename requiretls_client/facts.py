"""Records of what look-ups, handshakes and dialogues showed. No functions, no judgement.

The session and the look-ups fill them in, the rules read them. Those of the session are in
:mod:`requiretls_client.session_facts`. A record is frozen. Domain names are A-labels, lower case,
without the final dot.
"""

from __future__ import annotations

from dataclasses import dataclass

from requiretls_client.session_facts import Obstacle, SessionFacts, TLSFacts

__all__ = [
    "FAILED", "MX", "SRV", "TLSA", "Answer", "HostFacts", "Link", "Obstacle", "PathFacts",
    "PolicyFacts", "RouteFacts", "STSPolicy", "SessionFacts", "StoredPolicy", "TLSFacts",
]  # fmt: skip

FAILED = frozenset({"servfail", "timeout", "broken"})  # outcomes of a look-up that failed


# -- what the DNS says ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MX:
    """One MX record. ``host`` is "" where the record says ``.`` (RFC 7505)."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class SRV:
    """One SRV record (RFC 2782). ``target`` is "" where the record says ``.``: not offered."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class TLSA:
    """One TLSA record (RFC 6698 s2.1), as published: its numbers may mean nothing to us."""

    usage: int
    selector: int
    matching: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """One CNAME on the way to an answer, with the DNSSEC status of that record alone."""

    name: str
    target: str
    status: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the DNS says to one question, CNAMEs followed.

    Attributes:
        name: the name that was asked for.
        rdtype: ``MX``, ``A``, ``AAAA``, ``TXT``, ``TLSA`` or ``SRV``.
        outcome: ``records``, ``nodata``, ``nxdomain``; or, of a look-up that failed,
            ``servfail``, ``timeout`` or ``broken`` (refused, malformed, a CNAME loop).
        status: DNSSEC status of the whole chain (RFC 4035 s4.3): ``secure``, ``insecure``,
            ``bogus`` or ``indeterminate``. The last two only of a look-up that failed. Where the
            resolver is not trusted to validate, everything that it answers is ``insecure``.
        records: :class:`MX`, :class:`TLSA`, :class:`SRV`; of A, AAAA and TXT: str, the strings of
            one TXT record joined. In the order of the answer.
        canonical: the name at the end of the CNAMEs, ``name`` when there are none.
        links: the CNAMEs, in order. In an insecure answer the first insecure link makes
            everything behind it insecure too (RFC 7672 s2.1.3).
        problem: for people, of a look-up that failed, such as ``SERVFAIL from 127.0.0.1 (DNSSEC
            Bogus)``; else "".
    """

    name: str
    rdtype: str
    outcome: str
    status: str
    records: tuple[MX | TLSA | SRV | str, ...] = ()
    canonical: str = ""
    links: tuple[Link, ...] = ()
    problem: str = ""


# -- what the domain publishes over HTTPS --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class STSPolicy:
    """An MTA-STS policy as published (RFC 8461 s3.2).

    Attributes:
        mode: ``enforce``, ``testing`` or ``none``.
        mx: patterns, lower case: a host name, or ``*.`` and a domain.
        max_age: seconds that it holds from the last fetch; at most 31,557,600.
    """

    mode: str
    mx: tuple[str, ...]
    max_age: int


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy with the id that the DNS gave it, and when it was fetched last (Unix time)."""

    policy: STSPolicy
    policy_id: str
    fetched: float


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What is known about a domain's MTA-STS policy now.

    Attributes:
        stored: the policy in force, or None.
        source: ``none``, ``fetched`` (now) or ``cached``.
        problem: why there is no policy, or no newer one, although there might be; for people.
        failed: ``dns`` or ``fetch`` where the problem is a look-up that failed, so that later may
            be better; else "".
    """

    stored: StoredPolicy | None = None
    source: str = "none"
    problem: str = ""
    failed: str = ""


# -- the way to a domain -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostFacts:
    """One host that takes mail for a domain, as looked up before any connection.

    Attributes:
        name: of the MX record, never its CNAME target; an IP address where there is no name.
        preference: of the MX record; 0 where there is none.
        addresses: IP addresses, in the order to try.
        private: addresses that were left out because they are not global (loopback, private...).
        canonical: the name at the end of the host's own CNAMEs; ``name`` when there are none.
        address_status: DNSSEC status of the addresses.
        address_problem: why there are none, for people; else "".
        address_failed: the look-up failed, so that later may be better; not: there are none.
        tlsa_base: the TLSA base domain (RFC 7672 s2.2.3): ``canonical`` or ``name``; "" when no
            TLSA record was found or asked for.
        tlsa: the secure TLSA records found there; empty when there are none.
        tlsa_problem: of a TLSA look-up that failed (bogus, SERVFAIL, time-out); else "".
    """

    name: str
    preference: int = 0
    addresses: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    canonical: str = ""
    address_status: str = "insecure"
    address_problem: str = ""
    address_failed: bool = False
    tlsa_base: str = ""
    tlsa: tuple[TLSA, ...] = ()
    tlsa_problem: str = ""


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """Everything that was looked up about a domain before connecting.

    Attributes:
        domain: the recipient domain.
        mx: the answer to the MX question; None where none was asked (an address literal, or a
            server that the caller named).
        hosts: in preference order, equal ones shuffled.
        policy: of MTA-STS, for the domain itself.
        trusted: whether the resolver is trusted to validate DNSSEC (RFC 4035 s4.9.3).
        trust_reason: why, or why not, for people.
        port: TCP port of the hosts.
    """

    domain: str
    mx: Answer | None
    hosts: tuple[HostFacts, ...] = ()
    policy: PolicyFacts = PolicyFacts()
    trusted: bool = False
    trust_reason: str = ""
    port: int = 25


@dataclass(frozen=True, slots=True)
class PathFacts:
    """What was looked up about the host of a connection, and what the connection is held to.

    Attributes:
        route: of the domain, or of the server that the caller named.
        host: the one that this connection is to.
        rung: ``verified`` (DANE or PKIX), ``encrypted`` or ``clear``, for a domain's host; or
            ``named``: a server that the caller named, whose TLS, if there is any, its TLSA
            records bind (RFC 7672 s3.1.3, RFC 7673).
    """

    route: RouteFacts
    host: HostFacts
    rung: str = "verified"

    @property
    def named(self) -> bool:
        """Whether the caller named the server, rather than a domain's DNS leading to it."""
        return self.rung == "named"
