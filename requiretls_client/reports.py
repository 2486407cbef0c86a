"""What is returned: records that explain themselves and turn into JSON.

Records only. ``deliver()``, ``check()`` and ``send_messages()`` make them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from requiretls_client.evidence import CertificateFacts, CheckFacts
from requiretls_client.facts import HostFacts, RouteFacts
from requiretls_client.syntax import printable
from requiretls_client.verdict import Finding, Verdict

if TYPE_CHECKING:
    from requiretls_client.dane import Match

DELIVERY_SCHEMA = "requiretls-delivery/1"
MESSAGE_SCHEMA = "requiretls-message/1"
CHECK_SCHEMA = "requiretls-check/1"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One address of one host: what was tried there, or why nothing was.

    Attributes:
        mx_host: name of the host; "" where the domain has none.
        preference: of its MX record.
        address: IP address that was dialled, or None.
        verdict: what was found. An allowed one led to a session.
        reply: code and text of the reply that ended the message there, or None.
    """

    mx_host: str
    preference: int
    address: str | None
    verdict: Verdict
    reply: tuple[int, str] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**_plain(self, "verdict"), "verdict": self.verdict.as_dict()}


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """What became of one recipient.

    Attributes:
        address: as the caller wrote it.
        state: ``delivered`` (a server took it), ``refused`` (it will not, or a condition does not
            hold), ``deferred`` (not now) or ``unknown`` (the connection was lost after the message
            had left).
        code: basic status code, such as 250 or 550; None where the state is ``unknown``.
        status: enhanced status code, such as ``5.7.30``, or None.
        temporary: whether trying again later makes sense. It may also of a refusal: what fails a
            published policy is to be tried again (RFC 8461 s5, RFC 7672 s2.2).
        text: the server's reply, or what stood in the way; for people.
        mx_host: the host that took or refused it; None where none was reached.
        mx_level: ``none``, ``mta_sts`` or ``dnssec``; None for an address literal.
        tls_level: ``none``, ``encrypted`` or ``authenticated``, of the session that decided.
        attempts: everything that was tried for its domain, in order.
        findings: those of the verdict that decided.
        remote: whether ``text`` is a server's reply, with ``code`` its code.
    """

    address: str
    state: str
    code: int | None
    status: str | None
    temporary: bool
    text: str
    mx_host: str | None
    mx_level: str | None
    tls_level: str
    attempts: tuple[Attempt, ...]
    findings: tuple[Finding, ...]
    remote: bool = False

    def explain(self) -> str:
        """Say it for people in one line."""
        where = f" by {self.mx_host}" if self.mx_host else ""
        codes = " ".join(str(each) for each in (self.code, self.status) if each)
        return f"{self.address}: {self.state}{where} ({codes or 'no answer'}): {self.text}"

    @property
    def fixes(self) -> tuple[str, ...]:
        """What to change, where a condition decided and not a server's reply."""
        if self.remote or self.state == "delivered":
            return ()
        return tuple(each.fix for each in self.findings if not each.ok and each.fix)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            **_plain(self, "attempts", "findings"),
            "attempts": [each.as_dict() for each in self.attempts],
            "findings": [asdict(each) for each in self.findings],
        }


class MessageOutcome(NamedTuple):
    """What became of one message of ``send_messages()``.

    Attributes:
        number: its place among the messages, from 0.
        state: ``delivered`` (the server took it, for some recipient at least), ``refused``,
            ``deferred`` (not sent, or not now) or ``unknown`` (the connection was lost after the
            message had left).
        refused: recipients that the server did not take it for, with its code and text.
        error: what ``sendmail()`` would have raised; None where it was delivered.
        verdict: the receipt: what it left under; None where it was not delivered.
    """

    number: int
    state: str
    refused: dict[str, tuple[int, bytes]]
    error: Exception | None
    verdict: Verdict | None

    @property
    def temporary(self) -> bool:
        """Whether trying again later makes sense."""
        return self.state == "deferred"

    def explain(self) -> str:
        """Say it for people: a line, and one for each recipient that was refused."""
        lines = [f"message {self.number}: {self.state}" + (f": {self.error}" * bool(self.error))]
        lines += [
            f"  {who}: {code} {printable(text)}" for who, (code, text) in self.refused.items()
        ]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; the key ``schema`` names the version of the form."""
        return {
            "schema": MESSAGE_SCHEMA,
            "number": self.number,
            "state": self.state,
            "refused": {
                who: {"code": code, "text": printable(text)}
                for who, (code, text) in self.refused.items()
            },
            "error": None if self.error is None else type(self.error).__name__,
            "message": None if self.error is None else printable(str(self.error)),
            "verdict": self.verdict.as_dict() if self.verdict else None,
        }


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """The outcome of one message, recipient by recipient.

    Attributes:
        from_addr: the reverse path; "" for a bounce.
        require_tls: whether the message asked for RFC 8689.
        recipients: in the order in which the caller gave them.
    """

    from_addr: str
    require_tls: bool
    recipients: tuple[RecipientResult, ...]

    @property
    def delivered(self) -> tuple[str, ...]:
        """The addresses whose server took the message."""
        return tuple(each.address for each in self.recipients if each.state == "delivered")

    @property
    def failed(self) -> tuple[RecipientResult, ...]:
        """The results of the others."""
        return tuple(each for each in self.recipients if each.state != "delivered")

    def explain(self) -> str:
        """Say it for people: a line for each recipient, with what failed below it."""
        lines = []
        for result in self.recipients:
            lines.append(result.explain())
            lines += [f"  fix: {fix}" for fix in result.fixes]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; the key ``schema`` names the version of the form."""
        return {
            "schema": DELIVERY_SCHEMA,
            "from_addr": self.from_addr,
            "require_tls": self.require_tls,
            "recipients": [each.as_dict() for each in self.recipients],
        }


@dataclass(frozen=True, slots=True)
class HostReport:
    """One host as ``check()`` saw it.

    Attributes:
        name: of the MX record.
        preference: of the MX record.
        host: what was looked up.
        verdict: for a message with ``require_tls``.
        attempts: the addresses that were tried for it.
        certificate: what the server presented, verified or not; None where nobody saw one.
        dane: whether a TLSA record matches it; None where no usable record asks for that, or
            there was no handshake.
        policy_lists: whether the domain's MTA-STS policy lists the host; None where none is in
            force.
    """

    name: str
    preference: int
    host: HostFacts
    verdict: Verdict
    attempts: tuple[Attempt, ...]
    certificate: CertificateFacts | None = None
    dane: Match | None = None
    policy_lists: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; TLSA data in hexadecimal."""
        host = asdict(self.host)
        for record in host["tlsa"]:
            record["data"] = record["data"].hex()
        return {
            "name": self.name,
            "preference": self.preference,
            "host": host,
            "verdict": self.verdict.as_dict(),
            "attempts": [each.as_dict() for each in self.attempts],
            "certificate": _certificate(self.certificate),
            "dane": _match(self.dane),
            "policy_lists": self.policy_lists,
        }


def _certificate(facts: CertificateFacts | None) -> dict[str, Any] | None:
    if facts is None:
        return None
    times = {"not_before": _time(facts.not_before), "not_after": _time(facts.not_after)}
    return {**asdict(facts), **times}


def _match(match: Match | None) -> dict[str, Any] | None:
    if match is None:
        return None
    record = match.record
    numbers = f"{record.usage} {record.selector} {record.matching}" if record else None
    return {"ok": match.ok, "by": match.by or None, "record": numbers, "text": match.text}


def _time(seconds: float) -> str:
    """Return a Unix time as RFC 3339 has it, in UTC and whole seconds."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Whether mail to a target can go with REQUIRETLS, and everything that was found.

    Attributes:
        target: as the caller wrote it.
        verdict: for a message with ``require_tls``.
        verdicts: the same under ``require_tls``, and those of ``ordinary`` mail and of
            ``tls_optional``.
        hosts: one for each MX host, in the order in which they would be tried.
        route: what was looked up; None for a submission server without look-ups.
        facts: what all of this was concluded from.
    """

    target: str
    verdict: Verdict
    verdicts: dict[str, Verdict]
    hosts: tuple[HostReport, ...]
    route: RouteFacts | None
    facts: CheckFacts

    @property
    def outcome(self) -> str:
        """Which hosts qualify: ``all``, ``some`` or ``none``; ``unknown`` where later may tell."""
        if self.verdict.allowed:
            return "all" if all(host.verdict.allowed for host in self.hosts) else "some"
        return "unknown" if (self.verdict.status or "").startswith("4.") else "none"

    def explain(self) -> str:
        """Say it for people: the verdict, the other hosts, then what becomes of other mail."""
        lines = [self.verdict.explain()]
        if not self.verdict.hosts:  # else they stand in it already
            others = [each.verdict for each in self.hosts if each.verdict is not self.verdict]
            lines += [text for other in others for text in ("", other.explain())]
            lines += [""] * bool(others)
        for name, verdict in self.verdicts.items():
            if name != "require_tls":
                word = "can be sent" if verdict.allowed else f"is refused ({verdict.status})"
                lines.append(f"{name}: {word}, TLS {verdict.tls_level}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; the key ``schema`` names the version of the form."""
        return {
            "schema": CHECK_SCHEMA,
            "target": self.target,
            "outcome": self.outcome,
            "started": _time(self.facts.started),
            "seconds": round(self.facts.seconds, 3),
            "verdict": self.verdict.as_dict(),
            "verdicts": {name: each.as_dict() for name, each in self.verdicts.items()},
            "hosts": [each.as_dict() for each in self.hosts],
            "mx": self._mx(),
            "policy": asdict(self.route.policy) if self.route else None,
            "resolver": {
                "trusted": self.route.trusted, "reason": self.route.trust_reason,
            } if self.route else None,
        }  # fmt: skip

    def _mx(self) -> dict[str, Any] | None:
        """Return what the DNS said to the MX question; None where none was asked."""
        mx = self.route.mx if self.route else None
        if mx is None:
            return None
        return {"outcome": mx.outcome, "dnssec": mx.status, "problem": mx.problem}


def _plain(record: Any, *without: str) -> dict[str, Any]:
    """Return the fields of a record but those that turn into data by themselves."""
    return {name: getattr(record, name) for name in record.__slots__ if name not in without}
