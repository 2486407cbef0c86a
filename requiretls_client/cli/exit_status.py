"""Exit statuses as in sysexits.h, and which of them a delivery comes to.

Pure.
"""

from __future__ import annotations

from requiretls_client.reports import DeliveryReport, RecipientResult

OK, USAGE, BAD_MESSAGE, NO_USER, NO_HOST = 0, 64, 65, 67, 68
NOT_AVAILABLE, SOFTWARE, NO_SPOOL, IO_ERROR, LATER, PROTOCOL = 69, 70, 73, 74, 75, 76
NOT_PERMITTED, CONFIG = 77, 78

_UNKNOWN_DOMAIN = frozenset({"5.1.2", "5.1.10", "5.4.4"})  # none, null MX (RFC 7505), no route


def of_report(report: DeliveryReport) -> int:
    """Return the status of one attempt after which nothing is kept: that of the worst result."""
    by_state: dict[str, RecipientResult] = {}
    for each in report.recipients:
        by_state.setdefault(each.state, each)
    for state in ("refused", "unknown", "deferred"):
        if state in by_state:
            return of_result(by_state[state])
    return OK


def of_result(result: RecipientResult) -> int:
    """Return the status for one recipient."""
    if result.state == "delivered":
        return OK
    if result.state == "unknown" or result.status == "4.5.0":
        return PROTOCOL
    failed = {each.step for each in result.findings if not each.ok}
    ours = not result.remote
    if ours and failed & {"login", "certificate"}:
        return NOT_PERMITTED
    if result.state == "deferred":
        return LATER
    if result.status in _UNKNOWN_DOMAIN:
        return NO_HOST
    if result.remote:
        return NO_USER
    if (result.status or "").startswith("5.6."):
        return BAD_MESSAGE
    return NOT_AVAILABLE
