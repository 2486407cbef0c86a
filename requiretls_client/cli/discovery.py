"""Find the submission server of a mail domain by its SRV records.

Pure: answers and chance are arguments. RFC 6186 section 3.1 and 6, RFC 8314 section 5.1 (TLS at
once, ``_submissions``, comes first), RFC 2782 for the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from requiretls_client.facts import FAILED, SRV, Answer

AT_ONCE, STARTTLS = "_submissions._tcp", "_submission._tcp"  # with TLS at once, with STARTTLS


@dataclass(frozen=True, slots=True)
class Offer:
    """One submission server of a domain.

    Attributes:
        host: its name.
        port: TCP port.
        implicit_tls: TLS at once, not STARTTLS.
        trusted: the domain itself vouches for the name: it is the domain or below it, or the
            record is secure. Otherwise whoever can forge DNS could name his own server, and would
            be given the password (RFC 6186 s6).
    """

    host: str
    port: int
    implicit_tls: bool
    trusted: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a domain says about submission.

    Attributes:
        offers: the servers, the one to use first.
        refused: the domain says that there is none (RFC 6186 s3.4).
        problem: of a look-up that failed; else "".
    """

    offers: tuple[Offer, ...] = ()
    refused: bool = False
    problem: str = ""


def submission_servers(
    domain: str, at_once: Answer, starttls: Answer, rand: Callable[[int], int]
) -> Found:
    """Return what two answers add up to.

    Args:
        domain: A-labels, lower case.
        at_once: to ``_submissions._tcp``.
        starttls: to ``_submission._tcp``.
        rand: returns a number from 0 to below its argument.
    """
    offers: list[Offer] = []
    refused = False
    for answer, implicit_tls in ((at_once, True), (starttls, False)):
        records = [each for each in answer.records if isinstance(each, SRV)]
        refused = refused or any(not each.target for each in records)
        offers += [
            Offer(
                each.target,
                each.port,
                implicit_tls,
                answer.status == "secure" or f".{each.target}".endswith(f".{domain}"),
            )
            for each in in_order([each for each in records if each.target and each.port], rand)
        ]
    failed = next((each for each in (at_once, starttls) if each.outcome in FAILED), None)
    return Found(tuple(offers), refused and not offers, failed.problem if failed else "")


def in_order(records: Sequence[SRV], rand: Callable[[int], int]) -> Iterable[SRV]:
    """Yield records by priority, and those of one priority by chance, as RFC 2782 weighs it."""
    left = sorted(records, key=lambda each: (each.priority, each.weight))
    while left:
        same = [each for each in left if each.priority == left[0].priority]
        mark = rand(sum(each.weight for each in same) + 1)
        for each in same:
            mark -= each.weight
            if mark <= 0:
                break
        left.remove(each)
        yield each
