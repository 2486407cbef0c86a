#!/usr/bin/env python3
"""Generated replies, sessions and domains against the client, in any number.

usage: tests/fuzz.py KIND [N] [--seed SEED] [--first FIRST] [--jobs JOBS]

KIND is one of

  replies   byte streams through replies.Parser, against a reference; 1,000,000 by default
  sessions  jobs of a client against servers that misbehave at random; 50,000
  domains   deliveries to a domain whose DNS, TLSA records and policy are anything; 20,000
  diff      well-behaved sessions, spoken by smtplib and by us (test_diff.py); 5,000
  leaks     failed and good sends, N of each (test_leaks.py); 10,000
  faults    each call of five deliveries fails, in each way (test_lookup_faults.py); all

A case depends on the seed and its number alone, and the tests of CI run some of them. What fails
is printed with the arguments that repeat it. Exit status 0 only if nothing failed.
"""

from __future__ import annotations

import argparse
import functools
import gc
import itertools
import logging
import os
import random
import re
import secrets
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from email.message import EmailMessage

import requiretls_client as rt
from requiretls_client.replies import MAX_LINE, MAX_LINES, MAX_REPLY, Malformed, Parser, texts
from requiretls_client.testing import CA, Server, close, delay, normal, reset, stall
from requiretls_client.testing.script import reply_code

CHUNK = 4096  # octets that the client reads at once
GROWTH = 8 * 1024 * 1024  # octets that a run may add to the process (O6)
WARM = 500  # cases behind which everything has been used for the first time

# -- replies ---------------------------------------------------------------------------------------


def reference(stream):
    """Read a stream by RFC 5321 s4.2, slowly: the replies, and the rest or None if malformed.

    ``Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF``,
    where a lone LF ends a line too, any octet may be text, and the second digit is any.
    """
    replies, raw = [], []
    while True:
        line, newline, rest = stream.partition(b"\n")
        # RFC 4954 s4 lets a challenge be 12,288 octets long.
        if len(line + newline) > (12_294 if line[:3] == b"334" else MAX_LINE):
            return replies, None
        if not newline:
            return replies, b"".join(raw) + stream
        text = line[:-1] if line[-1:] == b"\r" else line
        code, separator = text[:3], text[3:4]
        digits = len(code) == 3 and all(48 <= digit <= 57 for digit in code)
        if not digits or code[:1] not in (b"2", b"3", b"4", b"5"):
            return replies, None
        if separator not in (b"", b" ", b"-") or (raw and raw[0][:3] != code):
            return replies, None
        raw.append(line + newline)
        if len(raw) > MAX_LINES or sum(map(len, raw)) > MAX_REPLY:
            return replies, None
        if separator != b"-":
            replies.append((int(code), raw))
            raw = []
        stream = rest


def parse(chunks):
    """Read the same with the parser, as the client does; check what it holds on the way."""
    parser, replies = Parser(), []
    for chunk in chunks:
        parser.feed(chunk)
        while True:
            try:
                found = parser.take()
            except Malformed as error:
                return replies, None, (str(error), error.raw)
            assert len(parser.waiting) <= MAX_REPLY + CHUNK
            if not found:
                break
            [(code, text)] = found
            raw = [line + b"\n" for line in parser.taken.split(b"\n")[:-1]]
            assert [line.strip(b" \t\r\n") for line in texts(parser.taken)] == text.split(b"\n")
            replies.append((code, raw))
    return replies, parser.waiting, None


def cut(rng, stream):
    """Cut a stream into segments of random lengths, as TCP may."""
    if len(stream) < 200 and rng.random() < 0.1:
        return [stream[at : at + 1] for at in range(len(stream))]
    places = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randrange(6)))
    bounds = itertools.pairwise([0, *places, len(stream)])
    return [
        stream[at : min(at + CHUNK, end)]
        for begin, end in bounds
        for at in range(begin, end, CHUNK)
    ]  # fmt: skip


NOISE = random.Random(8689).randbytes(4096)
WORDS = b"2.1.0 ok, go ahead; queued as 4bXyZ: STARTTLS REQUIRETLS SIZE 1000 \tmailbox - 550 250-x"
CODES = [b"220", b"221", b"235", b"250", b"251", b"334", b"354", b"421", b"450", b"550", b"554"]
ENDS = [b"\n", b"\r", b"", b"\r\r\n", b"\n\r", b"\0\r\n", b"\x0b", b"\x85", b"\xe2\x80\xa8"]
ODD = [
    b"\0", b"\n", b"\r\n", b"\r", b" ", b"-", b"+", b"\xff", b"\xc3\xa9", b"\x1b[2J", b"250 ok\r\n",
    b"250-", b"\xd9\xa2\xd9\xa5\xd9\xa0 ", b"2_5", b"0x1", b"199 ", b"600 ", b"2500 ", b"\t",
]  # fmt: skip


def text(rng):
    """Return what may stand behind a code: words, or octets of any kind."""
    pool = NOISE if rng.random() < 0.05 else WORDS
    begin = rng.randrange(len(pool))
    return pool[begin : begin + rng.randrange(40)].replace(b"\n", b"").rstrip(b"\r")


def good_reply(rng, code=None):
    """Return one reply by the grammar."""
    code = code or rng.choice(CODES)
    lines = [code + b"-" + text(rng) for _ in range(max(0, rng.randrange(8) - 4))]
    last = code if rng.random() < 0.1 else code + b" " + text(rng)
    return b"\r\n".join([*lines, last, b""])


def big_reply(rng):
    """Return one at the limits of line, lines or octets, a little on either side of them."""
    code, kind, off = rng.choice(CODES), rng.randrange(3), rng.randrange(-2, 3)
    if kind == 0:  # a long line
        return code + b" " + bytes(MAX_LINE + off - 6) + b"\r\n"
    if kind == 1:  # many lines
        return (code + b"-x\r\n") * (MAX_LINES + off - 1) + code + b" end\r\n"
    lines = [code + b"-" + b"x" * 1018 + b"\r\n"] * 63
    return b"".join(lines) + code + b" " + b"x" * (1018 + off) + b"\r\n"


def endless(rng):
    """Return far too much of a reply."""
    line = rng.choice([b"250-" + text(rng) + b"\r\n", b"250-\n", b"x", b"250 ", b"\r\n", b"\0"])
    return line * (rng.randrange(20_000, 80_000) // len(line))


def mutate(rng, stream):
    """Return a stream that is damaged in one place."""
    at = rng.randrange(len(stream) + 1)
    kind = rng.randrange(8)
    if kind == 0:
        return stream[:at] + bytes([rng.randrange(256)]) + stream[at + 1 :]
    if kind == 1:
        return stream[:at] + rng.choice(ODD) + stream[at:]
    if kind == 2:
        return stream[:at] + stream[at + rng.randrange(1, 5) :]
    if kind == 3:
        return stream.replace(b"\r\n", rng.choice(ENDS), rng.randrange(1, 3))
    if kind == 4:  # another code in one of the lines
        return stream.replace(stream[:3], rng.choice(CODES + ODD), 1)
    if kind == 5:
        return stream[at:] + good_reply(rng) + stream[:at]
    if kind == 6:
        return stream[:at] + b"x" * rng.choice([500, 2030, 9000]) + stream[at:]
    return rng.choice(ODD) + stream


def bad_reply(rng, code=None):
    """Return a reply that is damaged in a few places."""
    stream = good_reply(rng, code)
    for _ in range(rng.choice([1, 1, 2, 3])):
        stream = mutate(rng, stream)
    return stream


def stream_of(rng):
    """Return some replies, good and bad, one behind the other."""
    makers = rng.choices([good_reply, bad_reply, big_reply, endless], [60, 36, 3, 0.3], k=3)
    return b"".join(maker(rng) for maker in makers[: rng.randrange(1, 4)])


def replies(rng):
    """Try one stream: by the reference, and the same however it is cut."""
    stream = stream_of(rng)
    found, rest = reference(stream)
    results = [parse(cut(rng, stream)) for _ in range(2)]
    assert results[0] == results[1], stream
    *agreed, fault = results[0]
    assert agreed == [found, rest], stream
    assert fault is None or len(fault[1]) <= MAX_LINE, stream
    return f"{min(len(found), 3)} and {'malformed' if rest is None else 'more' if rest else 'end'}"


# -- sessions --------------------------------------------------------------------------------------

TIMEOUT = 0.3  # seconds
SLACK = 3.0  # seconds that a machine at work may add
PAUSE = 0.02  # seconds
ENVELOPE = {"MAIL", "RCPT", "DATA", "AUTH", "BDAT"}
SECRET = "canary-secret"
SAYS_CLOSED = (rt.RequireTLSError, rt.ReplyError, rt.DeliveryUnknown, rt.SMTPServerDisconnected)
MAY_RAISE = (rt.SMTPException, OSError, ValueError)

EXTENSIONS = [
    "PIPELINING", "CHUNKING", "SIZE 10485760", "SIZE", "SIZE 0", "SIZE 10", "8BITMIME", "SMTPUTF8",
    "DSN",
    "ENHANCEDSTATUSCODES", "X-REQUIRETLS", "REQUIRETLS-OLD", "REQUIRETLS=1", "\tREQUIRETLS",
    " REQUIRETLS", "REQUIRETLS\0", "AUTH PLAIN LOGIN", "AUTH=PLAIN", "STARTTLS", "HELP", "",
]  # fmt: skip
_OFFERED = re.compile(rb"250[- ]requiretls[ \r\n]", re.IGNORECASE)
_RIGHT = {
    "GREETING": b"220", "STARTTLS": b"220", "AUTH": b"235", "DATA": b"354", "QUIT": b"221",
}  # fmt: skip
_REFUSALS = ["421 4.3.2 going", "450 4.2.1 later", "454 4.7.0 no", "503 5.5.1 what", "550 5.1.1 no"]
_WRONG = [200, 211, 220, 221, 235, 250, 251, 252, 299, 334, 354]


@functools.cache
def certificates():
    """Return server contexts, the trusted one and another's, and the client's; made once."""
    ca, other = CA(), CA()
    trusted, untrusted = ca.issue("localhost"), other.issue("localhost")
    return trusted.context(), untrusted.context(), ca.context()


class QuickServer(Server):
    """A server whose TLS context was made before."""

    context = None

    def __init__(self, context, **options):
        """Take the context, and what Server takes."""
        self.context = context
        super().__init__(**options)


class Truth:
    """What the server of one session has told the client that its ledger does not bear out."""

    server = None

    def __init__(self):
        """Begin with an honest server."""
        self.liar = False  # its replies stand for nothing any more
        self.odd = 0  # how often it said more, or less, than one reply
        self.lied_to: set[str] = set()  # recipients that were accepted in words only
        self.vague: set[str] = set()  # recipients that were answered 2yz, but not yes

    def envelope(self):
        """Return the recipients that the client has named since its last MAIL."""
        found = []
        for command in self.server.commands():
            if command[:4].upper() == "MAIL":
                found = []
            found += re.findall(r"(?i)^RCPT TO:<([^>]*)>", command)
        return found

    def noting(self, stage, step, said, *, lmtp):
        """Return the step, with a note of what it makes of the truth: ``said`` is its reply."""

        def noted(connection):
            code = reply_code(said)
            if stage == "RCPT" and 200 <= code <= 299 and code not in (250, 251):
                self.vague.update(self.envelope()[-1:])
            # With LMTP a reply too many, or half of one, is the next recipient's. In a group of
            # commands two of them may make up for each other, and nobody can tell.
            found, rest = reference(said) if said else ([], None)
            if (len(found), rest) not in ((1, b""), (0, None)):
                self.odd += 1
                self.liar |= self.odd > 1 or (lmtp and stage in (".", "BDAT"))
            return step

        return noted

    def lie(self, stage, reply):
        """Return a step that says this and does nothing."""

        def say(connection):
            self.lied_to.update(self.envelope()[-1:] if stage == "RCPT" else self.envelope())
            connection.send(reply)

        return say

    def chatter(self, replies):
        """Return a step that says the first, and the others when nobody can have expected them."""

        def say(connection):
            self.liar = True
            for reply in replies:
                connection.send(reply)
                connection.wait(PAUSE / 10)

        return say


def a_step(rng, stage, truth, lmtp):
    """Return what a server does at a stage for once: right, wrong, late, twice, never."""
    right = _RIGHT.get(stage, b"250")
    said = good_reply(rng, right)
    kind = rng.choices(range(11), [30, 20, 8, 14, 8, 4, 6, 3, 4, 2, 3])[0]
    if kind in (0, 10):
        step = normal if kind == 0 else delay(rng.choice([PAUSE, PAUSE, TIMEOUT * 1.3]))
    elif kind == 1:
        step = rng.choice(_REFUSALS).encode() + b"\r\n"
    elif kind == 2:
        step = b"%d now\r\n" % rng.choice(_WRONG)
    elif kind == 3:
        step = bad_reply(rng, right)
    elif kind == 4:
        step = said + b"".join(good_reply(rng) for _ in range(rng.randrange(1, 4)))
    elif kind == 5:
        return truth.lie(stage, said)
    elif kind == 6:
        step = rng.choice([close, reset])
    elif kind == 7:
        step = stall
    elif kind == 8:
        part = said[: rng.randrange(len(said))]

        def step(connection):
            connection.send(part)
            connection.close()
    elif kind == 9 and rng.random() < 0.5:
        return truth.chatter([said, good_reply(rng), good_reply(rng)])
    else:

        def step(connection):
            truth.liar = True
            connection.drip(said * 100, PAUSE)

    reply = step if isinstance(step, bytes) else b""
    if reply and rng.random() < 0.2:
        step = in_two(reply, rng.randrange(len(reply) + 1))
    return truth.noting(stage, step, reply, lmtp=lmtp)


def in_two(said, at):
    """Return a step that says it in two segments, where the server still sees what it says."""
    if reply_code(said[at:]) != reply_code(said) or reference(said[:at])[0]:
        return said

    def say(connection):
        connection.send(said[:at])
        connection.wait(PAUSE / 10)
        return said[at:]

    return say


def a_server(rng, truth, *, lmtp, implicit_tls):
    """Return a server that misbehaves, and whether its certificate is to be trusted."""
    hello = ["LHLO"] if lmtp else ["EHLO", "EHLO", "HELO"]
    stages = [
        "GREETING", "STARTTLS", "HANDSHAKE", "AUTH", "MAIL", "MAIL", "RCPT", "RCPT", "RCPT", "DATA",
        "DATA", ".", ".", ".", ".", "BDAT", "BDAT", "RSET", "QUIT", *hello,
        *(f"{verb} tls" for verb in hello),
    ]  # fmt: skip
    script = {}
    for stage in rng.sample(stages, rng.choice([0, 1, 1, 1, 2, 3])):
        name = stage.partition(" ")[0]
        script[stage] = [a_step(rng, name, truth, lmtp) for _ in range(rng.randrange(1, 5))]
    plain = rng.sample(EXTENSIONS, rng.randrange(8))
    inside = rng.sample(EXTENSIONS, rng.randrange(8))
    for keyword in ("PIPELINING", "CHUNKING"):
        for offers in (plain, inside):
            offers += [keyword] * (keyword not in offers and rng.random() < 0.5)
    if rng.random() < 0.8:
        name = rng.choice(["REQUIRETLS", "REQUIRETLS", "requiretls", "REQUIRETLS foo"])
        inside.insert(rng.randrange(len(inside) + 1), name)
    trusted = rng.random() < 0.95
    truth.server = QuickServer(
        certificates()[0 if trusted else 1],
        extensions=plain,
        tls_extensions=inside,
        starttls=rng.random() < 0.95,
        implicit_tls=implicit_tls,
        lmtp=lmtp,
        users={"alice": SECRET},
        script=script,
    )
    return truth.server, trusted


class Job:
    """What one client wants, and what came of it."""

    def __init__(self, rng):
        """Choose."""
        self.cls = rng.choice([rt.SMTP, rt.SMTP, rt.SMTP_SSL, rt.LMTP])
        self.wish = rng.choice(["ordinary", "require_tls", "require_tls", "tls_optional"])
        self.requires = self.wish == "require_tls"
        self.session = self.requires and rng.random() < 0.4  # asked for in the constructor
        self.starttls = self.cls is not rt.SMTP_SSL and rng.random() < 0.3
        self.login = rng.random() < 0.15
        self.by_message = rng.random() < 0.5
        self.sender = rng.choice(["a@b.c", "a@b.c", "a@b.c", ""])
        self.ends = rng.choice(["quit", "close", "with", "nothing"])
        self.in_flight = rng.choice([0, 0, 1, 3, 64])  # 0: one call for each message
        self.envelopes = [
            [f"m{message}r{number}@e.f" for number in range(rng.randrange(1, 5))]
            for message in range(rng.choice([2, 4, 8]) if self.in_flight else rng.choice([1, 1, 2]))
        ]
        self.outcomes: list[dict | BaseException] = []
        self.client = None

    def run(self, server):
        """Do it; returns the error that ended it before a message was tried, or None."""
        try:
            self.client = self.cls(
                server.host,
                server.port,
                local_hostname="client.example",
                timeout=TIMEOUT,
                context=certificates()[2],
                require_tls=self.session,
            )
            if self.starttls:
                self.client.starttls()
            if self.login:
                self.client.login("alice", SECRET)
        except MAY_RAISE as error:
            if isinstance(error, rt.SMTPServerDisconnected) and self.client:
                assert self.client.sock is None
            return error
        if self.in_flight:
            self.send_all()
        else:
            for number in range(len(self.envelopes)):
                self.send(number)
        return None

    def send_all(self):
        """Send all messages by one call, and keep the outcomes."""
        wish = {} if self.wish == "ordinary" or self.session else {self.wish: True}
        mails = [
            (self.sender, recipients, self.message(number))
            for number, recipients in enumerate(self.envelopes)
        ]
        for outcome in self.client.send_messages(mails, in_flight=self.in_flight, **wish):
            assert (outcome.state == "unknown") is isinstance(outcome.error, rt.DeliveryUnknown)
            assert (outcome.state == "delivered") is (outcome.error is None)
            self.outcomes.append(outcome.error or outcome.refused)

    def send(self, number):
        """Send one message and keep the outcome."""
        try:
            self.outcomes.append(self.ask(number))
        except MAY_RAISE as error:
            self.outcomes.append(error)
            if isinstance(error, SAYS_CLOSED):
                assert self.client.sock is None, "the error says that the session is closed"

    def ask(self, number):
        """Send one message."""
        wish = {} if self.wish == "ordinary" or self.session else {self.wish: True}
        send = self.client.send_message if self.by_message else self.client.sendmail
        message, envelope = self.message(number), (self.sender, self.envelopes[number])
        if self.by_message:
            return send(message, *envelope, **wish)
        return send(*envelope, message, **wish)

    def message(self, number):
        """Return one message, raw or as an object."""
        if not self.by_message:
            return f"Subject: canary {number}\r\n\r\ncanary\r\n.\r\n".encode()
        message = EmailMessage()
        message["From"], message["Subject"] = "a@b.c", f"canary {number}"
        message.set_content("canary\n.\n")
        return message

    def end(self):
        """Part with the server in one of the usual ways."""
        if self.client is None:
            return
        try:
            if self.ends == "quit":
                self.client.quit()
            elif self.ends == "with":
                with self.client:
                    pass
        except MAY_RAISE:
            pass
        finally:
            self.client.close()


def sessions(rng):
    """Try one session and hold it against the oracles."""
    job, truth = Job(rng), Truth()
    lmtp = job.cls is rt.LMTP
    server, trusted = a_server(rng, truth, lmtp=lmtp, implicit_tls=job.cls is rt.SMTP_SSL)
    with server:
        started = time.monotonic()
        error = job.run(server)
        job.end()
        took = time.monotonic() - started
    # A wait that ends by its deadline closes the session; a refusal may then wait for QUIT.
    try:
        waits = 1 + len(job.envelopes)
        assert took < waits * TIMEOUT + 20 * PAUSE + SLACK, f"{took:.1f} s"
        check_secrecy(job, server, trusted)
        for number, outcome in enumerate(job.outcomes):
            check_outcome(job.envelopes[number], outcome, truth, f"canary {number}".encode())
        tried = sum(command[:4].upper() == "MAIL" for command in server.commands())
        assert tried <= len(job.envelopes), "a message was sent again"
    except AssertionError as failure:
        for line in server.transcript:
            failure.add_note(f"{line.channel:5} {line.side} {line.data[:100]!r}")
        failure.add_note(f"{job.cls.__name__}: {[error, *job.outcomes]}")
        raise
    last = error or job.outcomes[-1]
    return type(last).__name__ if isinstance(last, BaseException) else "sent"


def check_secrecy(job, server, trusted):
    """O1, O2: what a message with require_tls may not show, and to whom."""
    if job.wish == "tls_optional":
        for message in server.ledger:  # an empty one for nobody ends a group (RFC 2920 s3.1)
            assert message.content.count(b"TLS-Required: No\r\n") == 1 or not message.recipients
    if not job.requires:
        return
    # On this machine login() may go out in clear for an ordinary session, whose messages with
    # require_tls are then refused.
    forbidden = ENVELOPE if job.session else ENVELOPE - {"AUTH"}
    spoken = [line for line in server.transcript if line.side == "C"]
    for line in spoken:
        if line.channel == "plain":
            verb = re.split(rb"[ :\r\n]", line.data.upper())[0].decode("ascii", "replace")
            assert verb not in forbidden, line
            assert b"canary" not in line.data, line
    offered = any(_OFFERED.match(line.data) for line in server.transcript if line.channel == "tls")
    mails = [line.data.upper().split() for line in spoken if line.data[:5].upper() == b"MAIL "]
    for words in mails:
        assert trusted, words
        if job.sender:
            assert offered, words
            assert b"REQUIRETLS" in words, words


def check_outcome(recipients, outcome, truth, canary):
    """O4: what the client says of each recipient is what the server's ledger says."""
    ledger = [each for each in truth.server.ledger if canary in each.content]
    held = {recipient for message in ledger for recipient in message.recipients}
    assert len(held) == sum(len(message.recipients) for message in ledger), "sent twice"
    accepted, refused = set(), set(recipients)  # as the client says
    if isinstance(outcome, dict):
        accepted, refused = refused - set(outcome), set(outcome)
    elif isinstance(outcome, rt.DeliveryUnknown):
        accepted, refused = set(outcome.accepted), set(outcome.refused)
        assert accepted | refused | set(outcome.recipients) == set(recipients)
    if not truth.liar:
        assert accepted <= held | truth.lied_to, "reported as sent"
        assert not (refused & held) - truth.vague, "reported as refused"


# -- running ---------------------------------------------------------------------------------------


def diff(rng):
    """Try one well-behaved session of smtplib's and ours."""
    import test_diff

    return test_diff.compare(rng)


def domains(rng):
    """Try one delivery to a domain in a world that is anything."""
    import fuzz_domains

    return fuzz_domains.try_domain(rng)


CASES = {
    "replies": (replies, 1_000_000),
    "sessions": (sessions, 50_000),
    "domains": (domains, 20_000),
    "diff": (diff, 5_000),
}


def held():
    """Return the process's resident octets, open files and threads."""
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return (
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
    )


def try_case(kind, seed, number):
    """Run one case; returns what it was like. An exception names the case."""
    try:
        return CASES[kind][0](random.Random(f"{kind} {seed} {number}"))
    except BaseException as error:
        error.add_note(f"to repeat: tests/fuzz.py {kind} 1 --seed {seed} --first {number}")
        raise


def work(kind, seed, numbers):
    """Run cases in one process; returns what they were like, and the failures."""
    seen, failures, before = Counter(), [], None
    for done, number in enumerate(numbers):
        if done == WARM:
            before = held()
        try:
            seen[try_case(kind, seed, number)] += 1
        except Exception:
            failures.append(traceback.format_exc())
    after = held()
    if before and (after[0] - before[0] > GROWTH or after[1:] != before[1:]):
        failures.append(f"octets, files and threads before {before}, after {after}")
    if before:
        seen["(octets grown, most of a process)"] = after[0] - before[0]
    return seen, failures


def main(arguments):
    """Run what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].removeprefix("usage: "))
    parser.add_argument("kind", choices=[*CASES, "leaks", "faults"])
    parser.add_argument("count", nargs="?", type=int)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    asked = parser.parse_args(arguments)
    started = time.monotonic()
    logging.getLogger("requiretls_client").addHandler(logging.NullHandler())  # it warns a lot
    if asked.kind == "leaks":
        import test_leaks

        seen, failures = test_leaks.report(asked.count or 10_000)
    elif asked.kind == "faults":
        import test_lookup_faults

        seen, failures = test_lookup_faults.report(asked.count)
    else:
        seen, failures = spread(asked, asked.count or CASES[asked.kind][1])
    for name, number in seen.most_common():
        print(f"{number:>12,}  {name}")
    for text in failures[:10]:
        print(text)
    for text in failures[10:]:
        print(*text.splitlines()[-1:])
    took = time.monotonic() - started
    print(f"{asked.kind}: seed {asked.seed}, {took:.0f} s, {len(failures)} failed")
    return 1 if failures else 0


def spread(asked, count):
    """Run the cases in several processes and add up."""
    seen, failures, most = Counter(), [], 0
    name = "(octets grown, most of a process)"
    with ProcessPoolExecutor(asked.jobs) as pool:
        numbers = range(asked.first, asked.first + count)
        parts = [numbers[job :: asked.jobs] for job in range(asked.jobs)]
        task = functools.partial(work, asked.kind, asked.seed)
        for part, failed in pool.map(task, parts):
            most = max(most, part.pop(name, 0))
            seen += part
            failures += failed
    return seen + Counter({name: most}), failures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
