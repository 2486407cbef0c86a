"""``deliver()``: one message to the mail hosts of its recipients' domains.

Each domain is a run of its own, side by side with the others: look-up, walk, transaction, and a
result for each recipient. There is no queue: what is ``deferred`` is for the caller to try again
(RFC 5321 section 4.5.4.1). RFC 8689 section 4.2.1; section 4.2.2 for ``tls_optional``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import Message

from requiretls_client import errors, syntax
from requiretls_client.lookups import Lookups, default_lookups
from requiretls_client.mxwalk import walks
from requiretls_client.outgoing import prepare
from requiretls_client.reports import DeliveryReport
from requiretls_client.session import DEFAULT_TIMEOUT, SMTP
from requiretls_client.transaction import Results, Run, report_of

AT_ONCE = 16  # domains of one message that are served side by side


def deliver(
    msg: Message | bytes | str,
    from_addr: str | None = None,
    to_addrs: str | Sequence[str] | None = None,
    *,
    require_tls: bool = False,
    tls_optional: bool = False,
    lookups: Lookups | None = None,
    port: int = 25,
    local_hostname: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> DeliveryReport:
    """Deliver one message to the mail hosts of its recipients' domains.

    For each domain MX, addresses, TLSA records and the MTA-STS policy are looked up, and host
    after host is tried until one takes the message. With ``require_tls`` only over a way that
    meets RFC 8689 s4.2.1; without it DANE and MTA-STS are obeyed all the same. The message is the
    same for all, as it is at the call.

    Args:
        msg: message object, or a raw message (then both addresses are needed).
        from_addr: reverse path; "" or ``<>`` for a bounce; None takes it from the header.
        to_addrs: recipients, each with a domain; None takes them from To, Cc and Bcc.
        require_tls: RFC 8689 s4.2.1 or not at all.
        tls_optional: add ``TLS-Required: No`` and deliver even without TLS (RFC 8689 s3). A
            message that has the field means the same.
        lookups: None means the process's own, with all defaults.
        port: TCP port of the mail hosts.
        local_hostname: name for EHLO; None means this machine's.
        timeout: seconds for each wait on a socket; by default RFC 5321 s4.5.3.2's, and 30 to
            connect to an address. After 15 minutes no further address of a domain is tried.

    Returns:
        The report; every recipient is ``delivered``.

    Raises:
        ValueError, TypeError: a bad or contradictory argument; nothing was looked up or sent.
        DeliveryFailed: some recipient did not get it; ``report`` has each of them.
    """
    syntax.check_connecting(port, timeout, local_hostname)
    outgoing = prepare(msg, from_addr, to_addrs, require_tls=require_tls, tls_optional=tls_optional)
    lookups = lookups or default_lookups()

    def make() -> SMTP:
        return SMTP(local_hostname=local_hostname, timeout=timeout)

    def run(domain: str, mailboxes: list[str]) -> Results:
        running = Run(outgoing, mailboxes)
        try:
            return running.results(walks(lookups, domain, port, make, outgoing.wish))
        except Exception:  # a bug of ours must not hide what became of the other domains
            logging.getLogger("requiretls_client").exception("delivery to %s broke off", domain)
            return running.broken_off()

    report = report_of(outgoing, _side_by_side(run, outgoing.domains))
    if report.failed:
        raise _failure(report)
    return report


def _side_by_side(
    run: Callable[[str, list[str]], Results], domains: dict[str, list[str]]
) -> list[Results]:
    """Run each domain, several at once. ^C does not wait for those that are under way."""
    if len(domains) == 1:
        return [run(*item) for item in domains.items()]
    pool = ThreadPoolExecutor(min(AT_ONCE, len(domains)), "requiretls-deliver")
    try:
        return list(pool.map(lambda item: run(*item), domains.items()))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


# -- the failure of some -------------------------------------------------------------------------

_WORST = ("refused", "unknown", "deferred")


def _failure(report: DeliveryReport) -> errors.DeliveryFailed:
    """Make the exception: one sentence about the worst of the failures, and the report."""
    worst = min(report.failed, key=lambda each: _WORST.index(each.state))
    count = f"{len(report.failed)} of {len(report.recipients)} recipients"
    fix = "".join(f"; {each}" for each in worst.fixes[-1:])
    error = errors.DeliveryFailed(f"the message did not reach {count}: {worst.explain()}{fix}")
    error.report = report
    error.code, error.status = worst.code or 451, worst.status or "4.4.2"
    error.temporary = all(each.temporary for each in report.failed)
    error.host, error.findings = worst.mx_host, worst.findings
    error.domain = syntax.domain_of(syntax.mailbox(worst.address, "recipient"), "recipient")
    return error
