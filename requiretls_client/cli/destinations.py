"""Within one run over the spool: where there was no way to a server, nothing is tried there again.

A relay that is silent costs one time-out, not one for each message, and a password that was refused
is not sent again for the next one, which a server may take for an attack. Postfix calls such a
destination suspended. The next run tries it anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from requiretls_client.reports import DeliveryReport, RecipientResult

if TYPE_CHECKING:
    from requiretls_client.cli.attempt import Transmit
    from requiretls_client.cli.job import Job

# Account, or else the domains; and what the message asks of the way there.
Destination: TypeAlias = tuple[object, ...]


class Destinations:
    """Makes the attempts of one run. Called as ``transmit`` is, in several threads too."""

    def __init__(self, transmit: Transmit) -> None:
        """Begin with none suspended."""
        self._transmit = transmit
        self._suspended: dict[Destination, RecipientResult] = {}

    def __call__(self, job: Job) -> DeliveryReport:
        """Try to send a job, unless it would go where this run has found no way."""
        there = _destination(job)
        result = self._suspended.get(there)
        if result is not None:
            text = f"not tried, since an earlier message of this run met this: {result.text}"
            same = replace(result, text=text)
            results = tuple(replace(same, address=each) for each in job.recipients)
            return DeliveryReport(job.sender, job.require_tls, results)
        report = self._transmit(job)
        if report.recipients and all(map(_no_way, report.recipients)):
            self._suspended[there] = report.recipients[0]
        return report


def _destination(job: Job) -> Destination:
    domains = () if job.account else {each.rpartition("@")[2].lower() for each in job.recipients}
    return job.account, frozenset(domains), job.require_tls, job.tls_optional, not job.sender


def _no_way(result: RecipientResult) -> bool:
    """Tell whether servers were tried, and none led to a session that may carry the message."""
    tried = bool(result.attempts) and not any(each.verdict.allowed for each in result.attempts)
    return tried and result.state == "deferred" and not result.remote
