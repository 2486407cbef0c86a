"""What a report shows of one host: a row for each condition, in the order of RFC 8689 s4.2.1.

Pure. Behind the condition that failed the others stay open: nobody has looked at them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from requiretls_client import dane
from requiretls_client.cli.words import section, shown
from requiretls_client.evidence import CertificateFacts
from requiretls_client.facts import HostFacts
from requiretls_client.reports import Attempt, CheckReport, HostReport
from requiretls_client.verdict import Finding, Verdict

GOOD, FAIL, NOTE, OPEN = "good", "fail", "note", "open"  # note: no failure, but look at it


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a state, what it is about, what was found; of a failure why it matters and a fix.

    ``why`` names the section of the RFC.
    """

    state: str
    label: str
    text: str
    why: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A group of rows under a title, such as one host.

    Attributes:
        title: its name.
        state: ``good``, ``note`` or ``fail``.
        word: Postfix's word for the outcome, or "".
        lead: what stands before the title: the preference of an MX record, or "".
        rows: in reading order.
    """

    title: str
    state: str
    word: str
    lead: str
    rows: tuple[Row, ...]


_WHY = {
    "mx": "a forged MX record could lead the message to anybody",
    "mta_sts": "a host that the domain's policy does not list gets no mail for it",
    "sts": "without the policy nobody knows whether the host is the domain's own",
    "dns": "without an answer nobody knows where the message may go",
    "domain": "without a mail host there is nowhere to go",
    "address": "without an address there is nowhere to go",
    "tlsa": "whoever hides TLSA records could hide an impostor",
    "connect": "a host that cannot be reached takes no mail",
    "server": "a host that turns us away takes no mail",
    "ehlo": "REQUIRETLS and STARTTLS are extensions, which only EHLO brings",
    "tls": "without TLS everybody on the way can read the message",
    "certificate": "without a verified certificate nobody knows who takes the message",
    "requiretls": "only a host that offers REQUIRETLS promises to ask for TLS further on",
    "login": "who saw the password can send in its owner's name",
}
_ON_ROW = {
    "server_name": "MX name", "mx": "MX name", "mta_sts": "MTA-STS", "sts": "MX name",
    "dns": "address", "address": "address", "connect": "address", "server": "address",
    "tlsa": "DANE", "ehlo": "STARTTLS", "tls": "STARTTLS", "certificate": "certificate",
    "requiretls": "REQUIRETLS",
}  # fmt: skip
_UNSEEN = "not reached"
_NAMES = 3  # of a certificate, before "and 97 more"
_ORDER = ("MX name", "address", "STARTTLS", "certificate", "DANE", "MTA-STS", "REQUIRETLS")


def plural(count: int, noun: str) -> str:
    """Return ``1 host`` or ``2 hosts``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def broken(label: str, finding: Finding) -> Row:
    """Return the row of a condition that failed."""
    why = f"{_WHY.get(finding.step, 'RFC 8689 asks for it')} ({section(finding.rfc)})"
    return Row(FAIL, label, shown(finding.text), why, shown(finding.fix))


def host_part(report: CheckReport, host: HostReport) -> Part:
    """Return what is shown of one host."""
    rows = _rows(report, host)
    decided = [each for each in host.attempts if each.verdict.findings == host.verdict.findings]
    for attempt in host.attempts:
        if attempt.verdict is not (decided or host.attempts)[0].verdict:
            row = _other_address(report, attempt)
            if host.verdict.allowed and row.state == FAIL:
                row = replace(row, state=NOTE)  # another address does
            rows.insert(_place(rows), row)
    state = GOOD if host.verdict.allowed else FAIL
    if not host.verdict.allowed and (host.verdict.status or "").startswith("4."):
        state = NOTE
    lead = "" if report.facts.named else str(host.preference)
    return Part(shown(host.name), state, host.verdict.word or "", lead, tuple(rows))


def _place(rows: list[Row]) -> int:
    """Return where another address goes: behind the last one."""
    return 1 + max(number for number, row in enumerate(rows) if row.label == "address")


def _other_address(report: CheckReport, attempt: Attempt) -> Row:
    failed = attempt.verdict.failed
    if failed is not None:
        return broken("address", failed)
    return Row(GOOD, "address", f"{_dialled(report, attempt)}, the same")


def _rows(report: CheckReport, host: HostReport) -> list[Row]:
    """Return a row for each condition, with what the verdict on the host says of it."""
    verdict = host.verdict
    found = {_ON_ROW.get(each.step, each.step): each for each in verdict.findings}
    failed = verdict.failed
    at = _ON_ROW.get(failed.step, "address") if failed else ""
    if at == "certificate" and host.dane is not None and not host.dane.ok:
        at = "DANE"
    rows = []
    for label in _ORDER:
        if failed is not None and label == at:
            rows.append(_with_certificate(broken(label, failed), host, report.facts.started))
        elif (row := _row(label, report, host, found)) is not None:
            rows.append(row)
    return _gathered(rows)


def _with_certificate(row: Row, host: HostReport, now: float) -> Row:
    """Add to a certificate that was not verified what it says."""
    if row.label != "certificate" or host.certificate is None:
        return row
    return replace(
        row, text=f"{row.text.rstrip('.')}. It is: {describe_certificate(host.certificate, now)}"
    )


def _gathered(rows: list[Row]) -> list[Row]:
    """Put the conditions that nobody got to look at into one row, the last."""
    unseen = [row.label for row in rows if row == Row(OPEN, row.label, _UNSEEN)]
    rest = [row for row in rows if row.label not in unseen]
    return [*rest, Row(OPEN, _UNSEEN, ", ".join(unseen))] if unseen else rest


def _row(
    label: str, report: CheckReport, host: HostReport, found: dict[str, Finding]
) -> Row | None:
    """Return the row of a condition that did not fail; None where it does not apply."""
    finding = found.get(label)
    match label:
        case "MX name":
            return _name(report, host, finding)
        case "address":
            return _address(report, host)
        case "STARTTLS":
            return _tls(host.verdict, finding, at_once=report.facts.implicit_tls)
        case "certificate":
            return _certificate(host, finding, report.facts.started)
        case "DANE":
            return _dane(host, finding) if report.route is not None else None
        case "MTA-STS":
            return _policy(host) if not report.facts.named else None
        case _:
            return _requiretls(finding, host.verdict)


def _name(report: CheckReport, host: HostReport, finding: Finding | None) -> Row | None:
    if report.facts.named or finding is None:
        return None
    by = {"dnssec": "DNSSEC", "mta_sts": "the MTA-STS policy"}.get(host.verdict.mx_level or "")
    text = f"{by} vouches for it" if by else shown(finding.text)
    return Row(GOOD, "MX name", text)


def _address(report: CheckReport, host: HostReport) -> Row:
    decided = [each for each in host.attempts if each.verdict.findings == host.verdict.findings]
    if not decided or (decided[0].address is None and not report.facts.named):
        return Row(OPEN, "address", _addresses(host.host))
    return Row(GOOD, "address", f"{_dialled(report, decided[0])}, connected")


def _addresses(host: HostFacts) -> str:
    if not host.addresses:
        return "none"
    return f"{', '.join(map(shown, host.addresses))}: not connected to"


def _dialled(report: CheckReport, attempt: Attempt) -> str:
    """Return the address and port of an attempt; of a named server what the caller said."""
    if attempt.address is None or report.route is None:
        return shown(report.target)
    address = shown(attempt.address)
    return (
        f"[{address}]:{report.route.port}" if ":" in address else f"{address}:{report.route.port}"
    )


def _tls(verdict: Verdict, finding: Finding | None, *, at_once: bool) -> Row:
    if finding is None:
        return Row(OPEN, "STARTTLS", _UNSEEN)
    how = "not needed, TLS at once" if at_once else "offered"
    if verdict.tls_version is not None:
        with_what = f"{verdict.tls_version} {verdict.tls_cipher or ''}".strip()
        how = f"{how}: {with_what}" if at_once else with_what
    return Row(GOOD, "STARTTLS", shown(how))


def _certificate(host: HostReport, finding: Finding | None, now: float) -> Row:
    certificate = host.certificate
    if certificate is None:
        return Row(OPEN, "certificate", _UNSEEN)
    text = describe_certificate(certificate, now)
    ok = finding is not None and finding.ok
    return Row(GOOD if ok else OPEN, "certificate", text)


def describe_certificate(certificate: CertificateFacts, now: float) -> str:
    """Return names (else the subject), issuer and the days that are left, as one line."""
    days = (certificate.not_after - now) / 86400
    left = f"{plural(int(days), 'day')} left" if days >= 0 else f"expired {-days:.0f} days ago"
    if certificate.not_before > now:
        left = "not valid yet"
    names, more = ", ".join(certificate.names[:_NAMES]), len(certificate.names) - _NAMES
    if more > 0:
        names += f" and {more} more"
    name, issuer = names or certificate.subject or "no name", certificate.issuer or "nobody"
    return f"{shown(name)}; issued by {shown(issuer)}; {left}"


def _dane(host: HostReport, finding: Finding | None) -> Row:
    records = host.host.tlsa
    if host.dane is not None and host.dane.ok:
        usable = len(dane.usable(records))
        of = f", {plural(usable, 'usable record')}" if usable > 1 else ""
        return Row(GOOD, "DANE", f"{shown(host.dane.text)} ({host.dane.by}){of}")
    if finding is None or finding.step != "tlsa":
        return Row(OPEN, "DANE", _UNSEEN)
    return Row(GOOD if records else OPEN, "DANE", shown(finding.text.removeprefix("DANE: ")))


def _policy(host: HostReport) -> Row:
    name = shown(host.name)
    if host.policy_lists is None:
        return Row(OPEN, "MTA-STS", "no policy in force")
    if host.policy_lists:
        return Row(GOOD, "MTA-STS", f"the policy lists {name}")
    return Row(NOTE, "MTA-STS", f"the policy does not list {name}")


def _requiretls(finding: Finding | None, verdict: Verdict) -> Row:
    if finding is None or not verdict.allowed:
        return Row(OPEN, "REQUIRETLS", _UNSEEN)
    return Row(GOOD, "REQUIRETLS", "offered inside TLS")
