"""Deliveries to a domain whose name server, TLSA records and policy are anything at all.

One case of ``tests/fuzz.py domains``: :func:`try_domain`. The resolver, the name server, the policy
server and the mail hosts are real. What must hold is worked out here from what the servers really
sent and from what the policy store really holds, not from what the client says of it.
"""

from __future__ import annotations

import functools
import os
import random
import re
import threading
import time
from contextlib import ExitStack

import dns.name
import fuzz
import pytest
from nameserver import NameServer, Reply, reply
from policy_server import SILENCE, PolicyServer, answer, certificate_for
from small_internet import key_digest
from support import CA_AT_HAND

import requiretls_client as rt
from requiretls_client import fetch, policy_fetch
from requiretls_client.cache import MemoryStore
from requiretls_client.facts import StoredPolicy, STSPolicy
from requiretls_client.lookups import Lookups
from requiretls_client.resolver import Resolver
from requiretls_client.testing import CA

DOMAIN = "example.net"
GOOD, SPOOF, MALLORY = "mx.example.net", "mx.attacker.example", "mallory.example.net"
ALIAS = "alias.example.net"  # a CNAME of one of them
POLICY_HOST = f"mta-sts.{DOMAIN}"
HOSTS = (GOOD, SPOOF, MALLORY, DOMAIN)
PORT = 2525
PATIENCE = 0.15  # seconds for one question, and for a policy
LIMIT = 5.0  # seconds; a look-up has at most nine rounds of questions, and may be made twice
RAW = b"From: a@b.c\r\nSubject: canary\r\n\r\ncanary\r\n"
AD = 0x20  # in the fourth octet of a message
NOTHING = "00" * 32


@functools.cache
def certificates():
    """Return host -> TLS context and digest of its key; Mallory's is of no CA that counts."""
    stranger = CA()
    made = {host: (stranger if host == MALLORY else CA_AT_HAND).issue(host) for host in HOSTS}
    return {host: (each.context(), key_digest(each)) for host, each in made.items()}


@functools.cache
def trust():
    """Return the context of the client."""
    return CA_AT_HAND.context()


class HostileNameServer(NameServer):
    """A name server that damages some of what it sends.

    Attributes:
        damaged: (name, type) of all answers that were not what the zone says.
        vouched: an answer about MX records left with the AD bit.
    """

    def __init__(self, zone, salt, rate):
        """Damage this share of the answers; the same ones for the same salt."""
        super().__init__(zone)
        self._salt, self._rate, self._count = salt, rate, {}
        self._counting = threading.Lock()
        self.damaged, self.vouched = set(), False

    def _wire(self, query, said, *, cut):
        wire = super()._wire(query, said, cut=cut)
        asked = query.question[0]
        name = asked.name.to_text().removesuffix(".").lower()
        key = name, asked.rdtype.name
        with self._counting:
            turn = self._count[key] = self._count.get(key, 0) + 1
        rng = random.Random(f"{self._salt} {key} {turn}")
        if rng.random() < self._rate:
            self.damaged.add(key)
            wire = damage(rng, wire)
        if key[1] == "MX" and len(wire) > 3 and wire[3] & AD:
            self.vouched = True
        return wire


def damage(rng, wire):
    """Return an answer with other octets behind its ID."""
    octets = bytearray(wire)
    kind = rng.randrange(6)
    if kind == 0:
        return bytes(octets[:2]) + rng.randbytes(rng.randrange(120))
    if kind == 1:
        octets[3] ^= AD
    elif kind == 2:
        octets[3] = octets[3] & 0xF0 | rng.randrange(16)  # another RCODE
    elif kind == 3:
        del octets[rng.randrange(2, len(octets)) :]
    elif kind == 4:
        at = rng.randrange(2, len(octets))
        octets[at:at] = rng.randbytes(rng.randrange(1, 8))
    else:
        for _ in range(rng.randrange(1, 5)):
            octets[rng.randrange(2, len(octets))] = rng.randrange(256)
    return bytes(octets)


class World:
    """The records, hosts and policy of one case."""

    def __init__(self, rng, stack):
        """Choose them and start the servers."""
        self.rng = rng
        self.trusted = rng.random() < 0.7
        self.mostly_secure = rng.choice([0.0, 0.9, 1.0, 1.0])
        self.zone: dict[tuple[str, str], Reply] = {}
        self.surely_wrong: set[str] = set()  # hosts whose TLSA records fit no key, and are usable
        # One process after another, and several at once: each has addresses of its own.
        place = f"127.{1 + os.getpid() // 256 % 250}.{os.getpid() % 256}"
        self.servers = {
            host: stack.enter_context(
                fuzz.QuickServer(certificates()[host][0], address=f"{place}.{n}", port=PORT)
            )
            for n, host in enumerate(HOSTS, 1)
        }
        self.exchangers()
        for number, host in enumerate(HOSTS, 1):
            self.say(host, "A", f"{place}.{number}", missing=0.03)
            self.tlsa(host, host)
        target = rng.choice([GOOD, SPOOF, MALLORY])
        self.zone[ALIAS, "CNAME"] = reply(f"{target}.", secure=rng.random() < 0.7)
        self.tlsa(ALIAS, target)
        self.store = MemoryStore()
        self.policies = self.policy(stack)
        rate = rng.choice([0.0, 0.0, 0.0, 0.1, 0.1, 0.3, 1.0])
        self.names = stack.enter_context(HostileNameServer(self.zone, rng.random(), rate))

    def say(self, name, rdtype, *records, missing=0.0, trouble=0.02):
        """Publish records, or trouble in their place."""
        rng = self.rng
        secure = rng.random() < self.mostly_secure
        kind = rng.random()
        if kind < missing:
            return
        if kind > 0.997:
            said = Reply(silent=True)
        elif kind > 1 - trouble:
            ede = rng.choice([None, (6, "DNSSEC Bogus"), (9, "no DNSKEY"), (22, "nobody")])
            said = Reply(rcode=rng.choice(["SERVFAIL", "REFUSED", "FORMERR"]), ede=ede)
        elif rdtype == "TLSA":
            said = Reply(raw=octets_of(name, records, secure=secure), secure=secure)
        else:
            said = reply(*records, secure=secure, truncated=rng.random() < 0.05)
        self.zone[name, rdtype] = said

    def exchangers(self):
        """Publish MX records: some hosts, none, or what is no host."""
        rng = self.rng
        hosts = rng.sample([*HOSTS, ALIAS], rng.choice([1, 1, 2, 3, 5]))
        odd = ["0 .", "0 10.0.0.1.", "5 a\\.b.example.net.", "5 x\\032y.", "5 *.example.net."]
        records = [f"{rng.choice([0, 10, 10, 65535])} {host}." for host in hosts]
        if rng.random() < 0.15:
            records = rng.choice([[], [rng.choice(odd)], [*records, rng.choice(odd)]])
        if records:
            self.say(DOMAIN, "MX", *records)

    def tlsa(self, host, holder):
        """Publish TLSA records of a host whose certificate is the holder's, right or wrong."""
        rng = self.rng
        if rng.random() < 0.4:
            return
        right = f"3 1 1 {certificates()[holder][1]}"
        wrong = [f"3 1 1 {NOTHING}", f"3 0 1 {NOTHING}", f"2 0 1 {NOTHING}", f"3 1 2 {NOTHING * 2}"]
        junk = [f"0 0 1 {NOTHING}", f"1 1 1 {NOTHING}", "3 1 1 0011", f"3 9 1 {NOTHING}"]
        blob = rng.randbytes(rng.choice([1, 20, 32, 64, 300])).hex()
        junk += [f"255 255 255 {blob}", f"{rng.randrange(4, 256)} 1 1 {blob}"]
        pool = rng.choice([[right], wrong, junk, [right, *wrong], [right, *junk], [*wrong, *junk]])
        if holder == MALLORY:
            pool = [each for each in pool if each != right] or wrong
        records = rng.sample(pool, rng.randrange(1, len(pool) + 1))
        if set(records) & set(wrong) and right not in records:
            self.surely_wrong.add(host)
        self.say(f"_{PORT}._tcp.{host}", "TLSA", *records, trouble=0.2)

    def policy(self, stack):
        """Publish a policy, damaged or not, and keep another from before."""
        rng = self.rng
        if rng.random() < 0.2:
            age, mode = rng.choice([0, 100, 10_000]), rng.choice(["enforce", "testing", "none"])
            old = StoredPolicy(STSPolicy(mode, (rng.choice(_PATTERNS),), 5000), "old",
                               time.time() - age)  # fmt: skip
            self.store.save(DOMAIN, old)
        server = stack.enter_context(PolicyServer())
        if rng.random() < 0.3:
            return server
        texts = ['"v=STSv1; id=new;"', '"v=STSv1; id=old;"', '"v=STSv1;"', '"v=STSv1; id=a-b;"']
        records = rng.choices(texts, [8, 1, 1, 1], k=rng.choice([1, 1, 1, 1, 2]))
        self.say(f"_mta-sts.{DOMAIN}", "TXT", *records)
        self.say(POLICY_HOST, "A", "127.0.0.1", missing=0.03)
        server.add(POLICY_HOST, an_answer(rng), certificate_for(CA_AT_HAND, POLICY_HOST))
        return server

    def lookups(self):
        """Return look-ups in this world."""
        resolver = Resolver(
            ["127.0.0.1"], port=self.names.port, timeout=PATIENCE, trust_ad=self.trusted
        )
        return Lookups(resolver, self.store, trust=trust(), allow_private=True)

    # -- what must hold ----------------------------------------------------------------------------

    def vouched(self, host, since):
        """Tell whether anything vouches for a host: DNSSEC, a policy, or that it is the domain."""
        if (self.trusted and self.names.vouched) or host == DOMAIN:
            return True
        held = self.store.load(DOMAIN)
        return (
            held is not None
            and held.policy.mode in ("enforce", "testing")
            and listed(held.policy, host)
            and (held.fetched >= since or time.time() < held.fetched + held.policy.max_age)
        )

    def barred(self, host, since):
        """Tell whether a policy, or TLSA records, forbid a host for certain."""
        held = self.store.load(DOMAIN)
        if held and held.policy.mode == "enforce" and not listed(held.policy, host):
            mx = self.zone.get((DOMAIN, "MX"))
            if held.fetched >= since or (mx and time.time() < held.fetched + held.policy.max_age):
                return True
        if host == ALIAS or not self.trusted:  # whose TLSA records may stand in two places
            return False
        tlsa = f"_{PORT}._tcp.{host}", "TLSA"
        questions = {(host, "A"), (host, "AAAA"), tlsa}
        said = self.zone.get(tlsa, Reply())
        failed = said.silent or said.rcode != "NOERROR"
        secure = self.zone.get((host, "A"), Reply()).secure
        wrong = host in self.surely_wrong and said.secure
        return bool(secure and (failed or wrong) and not questions & self.names.damaged)


def octets_of(name, records, *, secure):
    """Return an answer of TLSA records behind its ID: dnspython makes none that are malformed."""
    question = dns.name.from_text(name).to_wire() + b"\0\x34\0\1"
    made = []
    for record in records:
        *numbers, data = record.split()
        octets = bytes(map(int, numbers)) + bytes.fromhex(data)
        made.append(b"\xc0\x0c\0\x34\0\1\0\0\0\x3c" + len(octets).to_bytes(2, "big") + octets)
    head = b"\x81" + (b"\xa0" if secure else b"\x80") + b"\0\1\0" + bytes([len(made)]) + bytes(4)
    return head + question + b"".join(made)


_PATTERNS = [GOOD, f"*.{DOMAIN}", SPOOF, "*.attacker.example", "attacker.example", DOMAIN,
             "*.example", f"*.{GOOD}", "nobody.example"]  # fmt: skip


def listed(policy, host):
    """Tell whether a policy lists a host: the same name, or one label in place of the ``*``."""
    return any(
        re.fullmatch(re.escape(each).replace(r"\*", "[^.]+"), host) is not None
        for each in policy.mx
    )


def an_answer(rng):
    """Return what the policy host sends."""
    mode = rng.choice(["enforce", "enforce", "testing", "none"])
    patterns = rng.sample(_PATTERNS, rng.choice([0, 1, 1, 2, 4]))
    age = rng.choice(["86400", "0", "31557601", "-1", "1" * 30])
    age = age if rng.random() < 0.2 else "86400"
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {each}" for each in patterns),
             f"max_age: {age}"]  # fmt: skip
    body = "".join(f"{line}\r\n" for line in lines).encode()
    kind = rng.random()
    if kind < 0.15:
        body = fuzz.mutate(rng, body)
    elif kind < 0.2:
        return fuzz.mutate(rng, answer(body))
    elif kind < 0.23:
        return answer(body, rng.choice(["404 Not Found", "301 Moved", "204 No Content"]))
    elif kind < 0.25:
        return rng.choice([SILENCE, b"", rng.randbytes(200), answer(body)[:-10]])
    return answer(body)


def try_domain(rng):
    """Deliver once and hold what came of it against the servers; returns what it was like."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        world = World(rng, stack)
        patch.setattr(policy_fetch, "FETCH_SECONDS", PATIENCE)
        there = functools.partial(fetch.fetch_policy, port=world.policies.port)
        patch.setattr(policy_fetch, "fetch_policy", there)
        looking = world.lookups()
        stack.callback(looking.close)
        since = time.time()
        if rng.random() < 0.1:
            report = rt.check(DOMAIN, lookups=looking, port=PORT, timeout=1)
            check_hosts(world, report, since)
        started = time.monotonic()
        try:
            result = rt.deliver(
                RAW, "a@b.c", f"bob@{DOMAIN}", require_tls=True, lookups=looking, port=PORT,
                local_hostname="client.example", timeout=1,
            ).recipients[0]  # fmt: skip
        except rt.DeliveryFailed as error:
            result = error.report.recipients[0]
        took = time.monotonic() - started
        for server in world.servers.values():
            server.wait_idle()
        try:
            assert took < LIMIT, f"{took:.1f} s"
            check_result(world, result, since)
        except AssertionError as failure:
            for key, said in world.zone.items():
                failure.add_note(f"{key}: {said}")
            failure.add_note(f"damaged: {world.names.damaged}, store: {world.store.load(DOMAIN)}")
            failure.add_note(f"{world.policies.sites}")
            failure.add_note(result.explain())
            raise
    return f"{result.state} {result.status} {result.mx_level if result.state[0] == 'd' else ''}"


def check_result(world, result, since):
    """Hold a result against the ledgers, and against what was said and fetched."""
    held = [(host, each) for host, server in world.servers.items() for each in server.ledger]
    assert "broke off" not in result.text
    assert len(held) == (result.state == "delivered"), "verdict and ledger differ"
    assert result.state in ("delivered", "refused", "deferred")
    for holder, message in held:
        assert holder != MALLORY, "nothing proves who this is"
        assert message.tls
        assert "REQUIRETLS" in message.parameters
        assert world.vouched(result.mx_host, since), "nothing vouches for the host"
        assert not world.barred(result.mx_host, since), "a policy or TLSA record forbids it"
    spoken = [line for line in world.servers[MALLORY].transcript if line.side == "C"]
    assert not any(line.data[:4].upper() == b"MAIL" for line in spoken)


def check_hosts(world, report, since):
    """Hold what check() allows against what was said and fetched."""
    for host in report.hosts:
        if host.verdict.allowed:
            assert world.vouched(host.name, since)
            assert not world.barred(host.name, since)
