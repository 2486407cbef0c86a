"""Within one run over the spool: where no server could be reached, the next message waits untried.

A relay that is silent costs one time-out, not one for each message, and a password that was refused
is not sent again for each, which a server may take for an attack. Postfix calls such a destination
suspended. The next run tries it anew; what a server only said, such as 421, suspends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from requiretls_client.cli.attempt import domain_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from requiretls_client.cli.attempt import Transmit
    from requiretls_client.cli.job import Job
    from requiretls_client.cli.record import Head
    from requiretls_client.reports import DeliveryReport, RecipientResult

# An account; or a domain, and what the message asks of the way to its hosts.
Destination: TypeAlias = tuple[object, ...]

_NO_ANSWER, _PASSWORD_REFUSED = "4.4.1", "4.7.8"


class Destinations:
    """Makes the attempts of one run, and knows where there was no way."""

    def __init__(self, transmit: Transmit) -> None:
        """Begin with none suspended."""
        self._transmit = transmit
        self._suspended: dict[Destination, str] = {}

    def __call__(self, job: Job) -> DeliveryReport:
        """Try to send a job, as ``transmit`` does, in several threads too; note what that shows."""
        report = self._transmit(job)
        if report.recipients and all(map(_no_way, report.recipients)):
            self._suspended[_destination(job, job.recipients[0])] = report.recipients[0].text
        return report

    def why_not(self, head: Head | Job, recipients: Sequence[str]) -> str:
        """Return why there is no use in trying it for some recipients; "" where there may be."""
        found = [self._suspended.get(_destination(head, each), "") for each in recipients]
        return found[0] if all(found) else ""


def _destination(head: Head | Job, recipient: str) -> Destination:
    """Return where a message goes for one of its recipients."""
    if head.account:
        return (head.account,)
    domain = domain_of(recipient)
    return "", domain, head.require_tls, head.tls_optional, not head.sender


def _no_way(result: RecipientResult) -> bool:
    """Tell whether every attempt ended before a server said anything about a message."""
    failed = [attempt.verdict.failed for attempt in result.attempts]
    return bool(failed) and all(
        each is not None
        and (each.step, each.status)
        in {("connect", _NO_ANSWER), ("server", _NO_ANSWER), ("login", _PASSWORD_REFUSED)}
        for each in failed
    )
