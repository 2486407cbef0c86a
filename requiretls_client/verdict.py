"""What a judgement says: findings, and the verdict that they add up to.

Records only; :mod:`requiretls_client.policy` makes them, the session and the command line
show them, the exceptions carry them. Everything here pickles and turns into JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = "requiretls-verdict/1"

# The four words that Postfix logs for REQUIRETLS (its REQUIRETLS_README): one vocabulary for
# everybody's logs. It has none for what was decided without a connection.
WORDS = {
    "requiretls": "requiretls:none",
    "certificate": "requiretls:nocertmatch",
    "mx": "requiretls:nocertmatch",
    "mta_sts": "requiretls:nocertmatch",
    **dict.fromkeys(("domain", "dns", "sts", "address", "tlsa", "connect", "server"), None),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition that was looked at.

    Attributes:
        step: stable word for the condition: ``server_name``, ``login``, ``ehlo``, ``tls``,
            ``certificate`` or ``requiretls``; of a domain also ``domain`` (exists, takes mail),
            ``mx`` (the host's name is authenticated), ``mta_sts`` (its policy lists the host),
            ``sts`` and ``dns`` (a look-up failed), ``address``, ``tlsa``, ``connect``.
        ok: whether it holds.
        text: what was found, as a clause that names the host.
        rfc: the section that asks for it, such as ``RFC 8689 s4.2.1``.
        fix: what to change, as a clause; empty when ``ok``.
        host: the reference name of the server, or "" when there is none.
        status: enhanced status code of a failure (RFC 3463), else None.
    """

    step: str
    ok: bool
    text: str
    rfc: str
    fix: str = ""
    host: str = ""
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a message may leave on this session, and every reason.

    Attributes:
        allowed: True only if every condition that the message needs holds.
        require_tls: whether the message asked for RFC 8689.
        requiretls: whether the MAIL command carries (or would carry) ``REQUIRETLS``.
        findings: in the order of RFC 8689 section 4.2.1; a refusal ends with the failed one.
        host: reference name that the certificate is held against.
        domain: recipient domain, or None for a server that the caller named.
        mx_level: ``none``, ``mta_sts`` or ``dnssec``; None where no MX look-up is involved.
        tls_level: ``none``, ``encrypted`` or ``authenticated``.
        tls_version: such as ``TLSv1.3``, or None without TLS.
        tls_cipher: name of the negotiated cipher suite, or None without TLS.
        code: basic status code of a refusal (550 or 451), else None.
        status: enhanced status code of a refusal, such as ``5.7.30``, else None.
        temporary: whether trying again later can succeed.
        hosts: the verdicts of all hosts of a domain, where several were tried and none allowed.
    """

    allowed: bool
    require_tls: bool
    requiretls: bool
    findings: tuple[Finding, ...]
    host: str
    tls_level: str
    tls_version: str | None = None
    tls_cipher: str | None = None
    domain: str | None = None
    mx_level: str | None = None
    code: int | None = None
    status: str | None = None
    temporary: bool = False
    hosts: tuple[Verdict, ...] = ()

    @property
    def failed(self) -> Finding | None:
        """The finding that decided a refusal, or None."""
        if self.allowed:
            return None
        return next((finding for finding in self.findings if not finding.ok), None)

    @property
    def word(self) -> str | None:
        """Postfix's log word for this outcome; None for a message that asked for nothing."""
        if not self.require_tls:
            return None
        if self.allowed:
            return "requiretls" if self.requiretls else "requiretls:none"
        return WORDS.get(self.failed.step if self.failed else "", "requiretls:nostarttls")

    def explain(self) -> str:
        """Say the verdict for people: a headline, then one line per finding."""
        asked = "REQUIRETLS" if self.require_tls else "ordinary mail"
        outcome = "allowed" if self.allowed else f"refused ({self.code} {self.status})"
        where = self.host or self.domain or "an unnamed server"
        headline = f"{asked} to {where}: {outcome}"
        lines = [headline, *explain_findings(self.findings)]
        for other in self.hosts:
            lines += ["", *other.explain().splitlines()]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; the key ``schema`` names the version of the form."""
        data = asdict(self)
        data["findings"] = [asdict(finding) for finding in self.findings]
        data["hosts"] = [verdict.as_dict() for verdict in self.hosts]
        return {"schema": SCHEMA, **data, "word": self.word}


def explain_findings(findings: Iterable[Finding]) -> list[str]:
    """Return one line per finding, and a second with the fix where one failed."""
    lines = []
    for finding in findings:
        mark = "ok  " if finding.ok else "FAIL"
        lines.append(f"  {mark} {finding.step}: {finding.text} ({finding.rfc})")
        if finding.fix:
            lines.append(f"       fix: {finding.fix}")
    return lines
