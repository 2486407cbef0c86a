"""Goal 9: many failed and good sends leave no file, thread, warning or memory behind."""

from __future__ import annotations

import contextlib
import gc
import os
import smtplib
import socket
import sys
import threading
import tracemalloc
import warnings
from collections import Counter
from contextlib import ExitStack

import fuzz
import pytest
from nameserver import NameServer, Reply, reply
from small_internet import DOMAIN, WITHOUT, SmallInternet

import requiretls_client as rt
from requiretls_client.cache import MemoryStore
from requiretls_client.testing import close, reset

RAW = b"Subject: x\r\n\r\ncanary\r\n"
BATCH = 50  # sends to each server; what a server remembers goes with it
GROWTH = 1024 * 1024  # octets
# What befalls a message: the server's options, or its script.
FAILURES = [
    {"tls_extensions": ["X-REQUIRETLS"]},
    {"starttls": False},
    {"trusted": False},
    {"script": {"GREETING": "554 5.3.2 no"}},
    {"script": {"GREETING": b"hello\r\n"}},
    {"script": {"EHLO tls": b"550-no\r\n250 ok\r\n"}},
    {"script": {"STARTTLS": "454 4.7.0 later"}},
    {"script": {"STARTTLS": b"220 go\r\n250 evil\r\n"}},
    {"script": {"HANDSHAKE": close}},
    {"script": {"HANDSHAKE": reset}},
    {"script": {"MAIL": b"250 ok\r\n250 ok\r\n"}},
    {"script": {"MAIL": "550 5.7.1 no"}},
    {"script": {"RCPT": "550 5.1.1 no"}},
    {"script": {"RCPT": reset}},
    {"script": {"DATA": "451 4.3.0 later"}},
    {"script": {".": "554 5.6.0 no"}},
    {"script": {".": close}},
    {"script": {".": "251 5.6.0 perhaps"}},
]

MX, HOST = (DOMAIN, "MX"), f"mx.{DOMAIN}"
TLSA = "TLSA"  # of the host, at its port
UNSIGNED = reply(f"10 {HOST}.")
# What befalls a message to a domain: the host's options, or other answers of the DNS.
DOMAIN_FAILURES = [
    ({}, {MX: Reply()}),
    ({}, {MX: UNSIGNED}),
    ({}, {MX: reply(rcode="SERVFAIL")}),
    ({}, {MX: reply(raw=b"\x81\x80" + b"\xff" * 30)}),
    ({}, {MX: reply(truncated=True, tcp="close")}),
    ({}, {TLSA: reply("3 1 1 " + "00" * 32, secure=True)}),
    ({}, {TLSA: reply(rcode="SERVFAIL", ede=(6, "DNSSEC Bogus"))}),
    ({}, {MX: UNSIGNED, (f"_mta-sts.{DOMAIN}", "TXT"): reply('"v=STSv1; id=1;"'),
          (f"mta-sts.{DOMAIN}", "A"): reply("127.0.1.99")}),
    ({"tls_extensions": WITHOUT}, {}),
    ({"starttls": False}, {}),
    ({"script": {"HANDSHAKE": reset}}, {}),
    ({"script": {"MAIL": b"250 ok\r\n250 ok\r\n"}}, {}),
    ({"script": {"RCPT": "550 5.1.1 no"}}, {}),
    ({"script": {".": close}}, {}),
]  # fmt: skip


def a_server(*, trusted=True, **options):
    """Return a server whose TLS context was made before."""
    return fuzz.QuickServer(fuzz.certificates()[0 if trusted else 1], **options)


def send(server, in_constructor):
    """Send as a program would; one that is told of a closed session does not close it again."""
    context = fuzz.certificates()[2]
    smtp = rt.SMTP(
        server.host,
        server.port,
        local_hostname="client.example",
        timeout=5,
        context=context,
        require_tls=in_constructor,
    )
    try:
        smtp.sendmail("a@b.c", ["d@e.f"], RAW, require_tls=True)
        smtp.quit()
    except (smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError):
        smtp.quit()  # these leave the session open
        raise


def batch(options, count):
    """Send so many messages to one server; returns the names of what was raised."""
    seen = Counter()
    with a_server(**options) as server:
        for number in range(count):
            try:
                send(server, in_constructor=number % 2 == 0)
            except smtplib.SMTPException as error:
                seen[type(error).__name__] += 1
            else:
                seen["sent"] += 1
    return seen


def to_nobody(count):
    """Dial a port where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        for _ in range(count):
            with contextlib.suppress(ConnectionRefusedError):
                rt.SMTP("127.0.0.1", bound.getsockname()[1], timeout=5)
    return Counter({"ConnectionRefusedError": count})


def some(good, count):
    """Send so many messages, of which all or none arrive."""
    seen = Counter()
    kinds = [{}] if good else [*FAILURES, None]
    size = max(1, min(BATCH, count // len(kinds)))
    for number in range(0, count, size):
        kind = kinds[number // size % len(kinds)]
        part = min(size, count - number)
        seen += to_nobody(part) if kind is None else batch(kind, part)
    return seen


def domain_batch(options, answers, count):
    """Deliver so many messages to a domain, and check it now and then; returns what came of it."""
    seen = Counter()
    with ExitStack() as stack:
        net = SmallInternet(stack)
        net.host(HOST, **options)
        net.mx(HOST)
        tlsa = tuple(net.tlsa(HOST).split())
        zone = {tlsa if key == TLSA else key: said for key, said in answers.items()}
        names = stack.enter_context(NameServer({**net.zone(), **zone}))
        looking = net.real_lookups(names, MemoryStore())
        for number in range(count):
            if number % 4 == 3:
                rt.check(DOMAIN, lookups=looking, port=net.port, timeout=5)
            state = deliver(net, looking)
            seen[state if state == "delivered" else f"domain: {state}"] += 1
        if count % 2:
            looking.close()  # else its threads end with it
    return seen


def deliver(net, looking):
    """Deliver one message; returns what came of it."""
    try:
        report = rt.deliver(
            RAW, "a@b.c", f"d@{DOMAIN}", require_tls=True, lookups=looking, port=net.port,
            local_hostname="client.example", timeout=5,
        )  # fmt: skip
    except rt.DeliveryFailed as error:
        report = error.report
    return report.recipients[0].state


def to_domains(good, count):
    """Deliver so many messages to domains, of which all or none arrive."""
    seen = Counter()
    kinds = [({}, {})] if good else DOMAIN_FAILURES
    size = max(1, min(BATCH, count // len(kinds)))
    for number in range(0, count, size):
        options, answers = kinds[number // size % len(kinds)]
        seen += domain_batch(options, answers, min(size, count - number))
    gc.collect()  # and with it the threads of look-ups that nobody closed
    for thread in threading.enumerate():
        if thread.name.startswith("requiretls-"):
            thread.join(5)
    return seen


def held():
    """Return open files, threads and the octets that Python holds, after a collection."""
    gc.collect()
    files = len(os.listdir("/proc/self/fd"))
    return files, threading.active_count(), tracemalloc.get_traced_memory()[0]


def report(count):
    """Send ``count`` failing and ``count`` good messages to a server, and as many to domains.

    Returns:
        What came of them, and faults.
    """
    faults, seen = [], Counter()
    hook, sys.unraisablehook = sys.unraisablehook, lambda found: faults.append(str(found.exc_value))
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            some(False, len(FAILURES) + 1)  # the first use of everything
            some(True, 1)
            to_domains(False, len(DOMAIN_FAILURES))
            to_domains(True, 4)
            start = tracemalloc.take_snapshot()
            before = held()
            failed, sent = some(False, count), some(True, count)
            failed += to_domains(False, count)
            sent += to_domains(True, count)
            after = held()
            grown = tracemalloc.take_snapshot().compare_to(start, "lineno")[:5]
    finally:
        tracemalloc.stop()
        sys.unraisablehook = hook
    wrong = failed["sent"] + failed["delivered"]
    if wrong or sent != Counter(sent=count, delivered=count):
        faults.append(f"what should fail: {failed}; what should be sent: {sent}")
    if after[:2] != before[:2] or after[2] - before[2] > GROWTH:
        where = "".join(f"\n  {each}" for each in grown)
        faults.append(f"files, threads and octets before {before}, after {after}{where}")
    seen.update({"(octets grown)": max(0, after[2] - before[2]), **failed, **sent})
    return seen, faults


@pytest.fixture(autouse=True)
def watch():
    """Stand for the fixture that remembers what every server saw, which would count as a leak."""


def test_leaks():
    """M13: 120 failed and 120 good sends to a server, and to domains, leave nothing behind."""
    seen, faults = report(120)
    assert faults == []
    assert len(seen) > 12, "of many kinds"
