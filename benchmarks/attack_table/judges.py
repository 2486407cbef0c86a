"""One judge for each demand: what was seen -> mark. Pure.

P is "refused, or bounded, as the row demands". An outcome "sent" is false success wherever the
server took nothing, so it is F there.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from attack_table.evidence import (
    CANARY,
    MEMORY_LIMIT_KIB,
    TIME_LIMIT,
    TIMEOUT,
    WORST_FIRST,
    Evidence,
    Verdict,
)

Judge = Callable[[Evidence], Verdict]
PASSWORD = "canary-password"  # noqa: S105 - what a test looks for
INJECTED = "INJECTED"  # in every command that an argument smuggles

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but not tab and line feed


def nothing_sent(seen: Evidence) -> Verdict:
    """Demand a refusal before MAIL."""
    if seen.outcome.kind == "sent":
        return Verdict("F", "reported as sent" if seen.leaked else "reported as sent, was not")
    if seen.leaked:
        return Verdict("F", "the message was on the wire")
    if seen.count("MAIL"):
        return Verdict("F", "MAIL was sent")
    return Verdict("P", "refused")


def no_plaintext_after_refusal(seen: Evidence) -> Verdict:
    """Demand a refusal that the next message in the same session cannot undo."""
    if seen.outcome.kind == "sent":
        return Verdict("F", "reported as sent")
    if CANARY in seen.said("plain"):
        return Verdict("(p)", "raised, but the session's next message went in clear")
    return nothing_sent(seen)


def no_false_success(seen: Evidence) -> Verdict:
    """Demand that a message which the server rejected is not reported as sent."""
    if seen.outcome.kind == "sent" and not seen.ledger:
        return Verdict("F", "reported as sent; the server took nothing")
    if seen.outcome.kind == "sent":
        return Verdict("F", "reported as sent")
    return Verdict("P", "not reported as sent")


def unknown_and_once(seen: Evidence) -> Verdict:
    """Demand no report of success, and no second try by itself."""
    if seen.count("MAIL") > 1:
        return Verdict("F", "sent again by itself")
    return no_false_success(seen)


def body_kept(seen: Evidence) -> Verdict:
    """Demand that the body stays at home and no success is reported."""
    if seen.leaked:
        end = " and reported as sent" if seen.outcome.kind == "sent" else ""
        return Verdict("F", f"the body was streamed{end}")
    return no_false_success(seen)


def one_mail_with_requiretls(seen: Evidence) -> Verdict:
    """Demand a refusal after exactly one MAIL, which carried REQUIRETLS."""
    mails = [each for each in seen.commands if each.upper().startswith("MAIL")]
    if any("REQUIRETLS" not in each.upper().split() for each in mails):
        return Verdict("F", "tried again without REQUIRETLS")
    if len(mails) > 1:
        return Verdict("F", f"MAIL was sent {len(mails)} times")
    return body_kept(seen)


def escaped(seen: Evidence) -> Verdict:
    """Demand an error whose text, and a log that, holds no control character."""
    verdict = no_false_success(seen)
    shown = (seen.outcome.error or {}).get("text", "") + seen.outcome.stderr
    if verdict.mark == "P" and _CONTROL.search(shown):
        return Verdict("F", "the error's text holds raw control characters")
    return verdict


def name_refused(seen: Evidence) -> Verdict:
    """Demand a refusal of the EHLO name; a changed name that was sent is partial."""
    hellos = ("EHLO", "HELO")
    if any(INJECTED in each and not each.startswith(hellos) for each in seen.commands):
        return Verdict("F", "the injected command was sent")
    if any(INJECTED in each for each in seen.commands):
        return Verdict("(p)", "no injection, but a name that the caller never gave was sent")
    if seen.outcome.kind == "sent":
        return Verdict("(p)", "no injection, but sent under another name")
    connected = "after connecting" if seen.transcript else "before connecting"
    return Verdict("P", f"refused {connected}")


def address_refused(seen: Evidence) -> Verdict:
    """Demand that no address is used but the one that the caller wrote."""
    mails = [each for each in seen.commands if each.upper().startswith("MAIL")]
    if mails:
        end = ", reported as sent" if seen.outcome.kind == "sent" else ""
        return Verdict("F", f"sent {mails[0]!r}{end}")
    return nothing_sent(seen)


def clean_line_ends(seen: Evidence) -> Verdict:
    """Demand a refusal, or one message without bare CR and LF."""
    if seen.count("MAIL") > 1:
        return Verdict("F", "a second message was smuggled")
    if seen.bare_line_ends:
        return Verdict("F", f"{seen.bare_line_ends} bare CR or LF on the wire")
    if seen.outcome.kind == "sent":
        if len(seen.ledger) != 1:
            return Verdict("F", f"reported as sent; the server took {len(seen.ledger)}")
        return Verdict("P", "sent as one message with CR LF throughout")
    return Verdict("P", "refused")


def password_kept(seen: Evidence) -> Verdict:
    """Demand that no AUTH and no password is on the wire."""
    said = seen.said()
    encoded = base64.b64encode(PASSWORD.encode())
    if seen.count("AUTH") or PASSWORD.encode() in said or encoded in said:
        return Verdict("F", "the password was sent in clear")
    return nothing_sent(seen)


def bounded(seen: Evidence) -> Verdict:
    """Demand an end within the time-out and 8 MiB; later, but by itself, is partial."""
    outcome = seen.outcome
    ended = "had not ended at the deadline" if outcome.kind == "hung" else "ended"
    if outcome.growth_kib is not None and outcome.growth_kib > MEMORY_LIMIT_KIB:
        return Verdict("F", f"grew by {outcome.growth_kib / 1024:.0f} MiB, {ended}")
    if outcome.kind == "hung":
        return Verdict("F", ended)
    verdict = nothing_sent(seen)
    if verdict.mark == "P" and outcome.seconds > TIME_LIMIT:
        return Verdict("(p)", f"bounded, but {outcome.seconds:.1f} s for a {TIMEOUT:.0f} s setting")
    return verdict


def decide(judge: Judge, seen: Evidence, *, must_connect: bool) -> Verdict:
    """Return what ``judge`` says, unless there is nothing to judge.

    Args:
        judge: the row's demand.
        seen: what happened.
        must_connect: a client that never came met no attack.
    """
    if seen.outcome.kind == "error":
        return Verdict("?", f"no verdict: {seen.outcome.text}")
    if must_connect and not seen.transcript:
        return Verdict("?", f"no verdict: it never reached the server ({seen.outcome.text})")
    if seen.outcome.kind == "hung" and judge is not bounded:
        return Verdict("F", "had not ended at the deadline")
    return judge(seen)


def worst(verdicts: list[Verdict]) -> Verdict:
    """Return the worst of the verdicts on a row's variants."""
    return min(verdicts, key=lambda each: WORST_FIRST.index(each.mark))
