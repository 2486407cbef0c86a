"""``Lookups``: driving the plans, the one fetch, the store, and whom to trust."""

from __future__ import annotations

import functools
import json
import logging
import os
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from policy_server import PolicyServer, answer, certificate_for, policy
from support import CA_AT_HAND, lax_context

from requiretls_client import fetch, lookups, policy_fetch
from requiretls_client.cache import MemoryStore, SQLiteStore
from requiretls_client.facts import Answer, StoredPolicy, STSPolicy
from requiretls_client.lookups import Lookups
from requiretls_client.route import Ask
from requiretls_client.testing import trust
from requiretls_client.testing.resolver import FakeResolver

DOMAIN = "example.net"
WORKER = Path(__file__).with_name("lookup_worker.py")
RECORDS = {
    f"{DOMAIN} MX": [f"10 mx.{DOMAIN}"],
    f"mx.{DOMAIN} A": ["127.0.0.1"],
    f"_mta-sts.{DOMAIN} TXT": ["v=STSv1; id=new;"],
    f"mta-sts.{DOMAIN} A": ["127.0.0.1"],
}


@pytest.fixture
def web(monkeypatch):
    """Run a policy server; our only change is the port, which is 443 otherwise."""
    with PolicyServer() as server:
        there = functools.partial(fetch.fetch_policy, port=server.port)
        monkeypatch.setattr(policy_fetch, "fetch_policy", there)
        yield server


def publish(web, *mx, mode="enforce", domain=DOMAIN, **options):
    """Let the policy server publish a policy."""
    host = f"mta-sts.{domain}"
    web.add(host, answer(policy(*mx, mode=mode), **options), certificate_for(CA_AT_HAND, host))


def looking(records=None, store=None, **options):
    """Return look-ups over those records."""
    resolver = FakeResolver({**RECORDS, **(records or {})}, **options)
    return Lookups(resolver, store or MemoryStore(), trust=CA_AT_HAND.context(), allow_private=True)


def held(store, mode="enforce", policy_id="old", age=60.0):
    """Put a policy into a store."""
    made = StoredPolicy(STSPolicy(mode, ("old.example.net",), 604800), policy_id, time.time() - age)
    store.save(DOMAIN, made)
    return made


# -- policies ------------------------------------------------------------------------------------


def test_policy_is_fetched_once_and_kept(web):
    """STS-01, STS-05, STS-28: fetched over HTTPS once, then known by its id."""
    publish(web, f"mx.{DOMAIN}")
    looked = looking()
    facts = [looked.route(DOMAIN).policy for _ in range(3)]
    assert [each.source for each in facts] == ["fetched", "cached", "cached"]
    assert facts[0].stored.policy == STSPolicy("enforce", (f"mx.{DOMAIN}",), 86400)
    assert facts[0].stored.policy_id == "new"
    assert len(web.requests) == 1


@pytest.mark.parametrize("spoil", ["status", "grammar", "certificate"])
def test_fetch_that_fails(web, spoil, caplog):
    """STS-11, STS-24, K20: no policy, one request, and for five minutes no other."""
    host = f"mta-sts.{DOMAIN}"
    good = certificate_for(CA_AT_HAND, host)
    web.add(*{
        "status": (host, answer(b"", "404 Not Found"), good),
        "grammar": (host, answer(b"version: STSv2\n"), good),
        "certificate": (host, answer(policy("x")), certificate_for(CA_AT_HAND, "other.example")),
    }[spoil])  # fmt: skip
    looked = looking()
    first, second = (looked.route(DOMAIN).policy for _ in range(2))
    assert (first.stored, first.failed) == (None, "fetch")
    assert (second.stored, second.failed) == (None, "fetch")
    assert "ago" in second.problem
    assert len(web.requests) == (0 if spoil == "certificate" else 1)
    assert not caplog.records  # nothing was lost


def test_refresh_that_fails_keeps_the_policy(web, caplog):
    """STS-25, STS-27, K07: the old policy stays in force, and one warning says so."""
    web.add(
        f"mta-sts.{DOMAIN}", answer(b"", "500 no"), certificate_for(CA_AT_HAND, f"mta-sts.{DOMAIN}")
    )
    store = MemoryStore()
    old = held(store)
    looked = looking(store=store)
    facts = [looked.route(DOMAIN).policy for _ in range(2)]
    assert [each.stored for each in facts] == [old, old]
    assert [each.source for each in facts] == ["cached", "cached"]
    assert len([each for each in caplog.records if "could not be refreshed" in each.message]) == 1
    assert store.load(DOMAIN) == old


def test_policy_kept_while_the_clock_was_wrong(web):
    """STS-26: a policy that was "fetched" years from now gives way to a newer one."""
    publish(web, f"mx.{DOMAIN}")
    store = MemoryStore()
    held(store, age=-9e7)
    looked = looking(store=store)
    assert looked.route(DOMAIN).policy.source == "fetched"
    assert store.load(DOMAIN).fetched <= time.time()


@pytest.mark.parametrize("mode", ["none", "testing"])
def test_policy_that_gets_weaker(web, caplog, mode):
    """K14, B22: a weaker policy replaces the old one at once, and that is logged."""
    publish(web, f"mx.{DOMAIN}", mode=mode)
    store = MemoryStore()
    held(store)
    assert looking(store=store).route(DOMAIN).policy.stored.policy.mode == mode
    assert f"is now in mode {mode}" in caplog.text


def test_refresh(web):
    """STS-27: refresh() extends every stored policy, also one whose TXT record has gone."""
    publish(web, f"mx.{DOMAIN}")
    store = MemoryStore()
    old = held(store, age=7200)
    looked = looking({f"_mta-sts.{DOMAIN} TXT": []}, store)
    facts = looked.refresh()
    assert list(facts) == [DOMAIN]
    assert facts[DOMAIN].source == "fetched"
    assert store.load(DOMAIN).fetched > old.fetched
    assert looking(store=MemoryStore()).refresh() == {}


def test_newer_policy():
    """STS-23: whether the DNS has another id by now; only an enforced policy needs to ask."""
    for mode, txt, newer in [
        ("enforce", ["v=STSv1; id=other;"], True),
        ("enforce", ["v=STSv1; id=old;"], False),
        ("enforce", [], False),
        ("enforce", ["v=STSv1; id=a", "v=STSv1; id=b"], False),
        ("testing", ["v=STSv1; id=other;"], False),
    ]:
        store = MemoryStore()
        held(store, mode)
        # Made while the record still said the old id.
        made = looking({f"_mta-sts.{DOMAIN} TXT": ["v=STSv1; id=old;"]}, store).route(DOMAIN)
        assert looking({f"_mta-sts.{DOMAIN} TXT": txt}, store).has_newer_policy(made) is newer


def run_worker(store, web, tmp_path, domains, threads, *down):
    """Start a process that looks the domains up."""
    cafile = tmp_path / "ca.pem"
    cafile.write_bytes(CA_AT_HAND.pem)
    command = [sys.executable, WORKER, store, cafile, str(web.port), ",".join(domains), threads]
    return subprocess.Popen(
        [str(word) for word in (*command, *down)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def said(process):
    """Return what a worker printed; its complaints fail the test."""
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b""), err.decode()
    return json.loads(out)


def test_policy_protects_the_next_process(web, tmp_path):
    """STS-25: fetched by one process, in force in the next with DNS TXT and HTTPS both down."""
    publish(web, f"mx.{DOMAIN}")
    store = tmp_path / "store.sqlite3"
    assert said(run_worker(store, web, tmp_path, [DOMAIN], 1))["found"] == ["2026"]
    assert said(run_worker(store, web, tmp_path, [DOMAIN], 1, "down"))["found"] == ["2026"]
    assert len(web.requests) == 1


def test_one_fetch_for_all_processes_and_threads(web, tmp_path):
    """M07, STS-11: two processes with 50 threads each: no error, one fetch for each domain."""
    domains = [f"d{number}.example" for number in range(4)]
    for domain in domains:
        publish(web, f"mx.{domain}", domain=domain)
    store = tmp_path / "store.sqlite3"
    workers = [run_worker(store, web, tmp_path, domains, 50) for _ in range(2)]
    results = [said(worker) for worker in workers]
    for result in results:
        assert result["errors"] == []
        assert result["found"] == ["2026"] * 200
    asked = sorted(request.sni for request in web.requests)
    assert asked == sorted(f"mta-sts.{domain}" for domain in domains)
    kept = SQLiteStore(store)
    assert sorted(kept.domains()) == domains
    kept.close()


def test_claim_of_a_process_that_was_killed(web):
    """M02: a claim that nobody releases ends by itself, and the fetch happens."""
    publish(web, f"mx.{DOMAIN}")
    store = MemoryStore()
    assert store.claim(DOMAIN, time.time(), 0.3)
    assert looking(store=store).route(DOMAIN).policy.source == "fetched"


# -- driving -------------------------------------------------------------------------------------


class Meeting:
    """A resolver whose answers wait until enough questions are under way at once."""

    trusted, trust_reason = True, "the test says so"

    def __init__(self, questions):
        """Take the numbers of questions that must meet, round by round."""
        self.barriers = {name: threading.Barrier(number) for name, number in questions.items()}

    def query(self, name, rdtype):
        """Answer once the others have asked too."""
        self.barriers[rdtype].wait(5)
        records = FakeResolver(RECORDS).query(name, rdtype)
        return Answer(name, rdtype, records.outcome, "secure", records.records, records.canonical)


def test_questions_of_one_round_are_asked_at_once():
    """Independent questions are under way together: both addresses and TLSA of the host."""
    resolver = Meeting({"MX": 1, "TXT": 1, "A": 2, "AAAA": 2, "TLSA": 1})
    # Two of each address: the mail host's and the policy host's.
    made = Lookups(resolver, MemoryStore(), allow_private=False).route(DOMAIN)
    assert [host.name for host in made.hosts] == [f"mx.{DOMAIN}"]


def test_slow_policy_hosts_do_not_hold_up_the_others(monkeypatch):
    """K04: however many policy hosts do not answer, questions about other domains are answered."""
    stuck = threading.Event()

    def never(*_arguments, **_options):
        stuck.wait(20)
        raise fetch.FetchError("the test says so", "timeout")

    monkeypatch.setattr(policy_fetch, "fetch_policy", never)
    count = lookups.FETCHERS + 4
    records = {}
    for number in range(count):
        domain = f"d{number}.example"
        records[f"_mta-sts.{domain} TXT"] = ["v=STSv1; id=1;"]
        records[f"mta-sts.{domain} A"] = ["127.0.0.1"]
    looked = looking({**records, f"_mta-sts.{DOMAIN} TXT": []})
    others = [
        threading.Thread(target=looked.route, args=[f"d{number}.example"])
        for number in range(count)
    ]
    for thread in others:
        thread.start()
    try:
        assert looked.route(DOMAIN).hosts
        assert all(thread.is_alive() for thread in others)
    finally:
        stuck.set()
        for thread in others:
            thread.join(10)
        looked.close()


def test_one_fetch_holds_one_thread(monkeypatch):
    """K04, H12: however many want one policy, they wait for one fetch, and others get theirs."""
    stuck, fetched, ended = threading.Event(), [], []

    def fetch_policy(domain, *_arguments, **_options):
        fetched.append(domain)
        if domain == "slow.example":
            stuck.wait(10)
            ended.append(domain)
        raise fetch.FetchError("the test says so", "timeout")

    monkeypatch.setattr(policy_fetch, "fetch_policy", fetch_policy)
    records = {"_mta-sts.slow.example TXT": ["v=STSv1; id=1;"]}
    looked = looking(records | {"mta-sts.slow.example A": ["127.0.0.1"]})
    asked, ask = threading.Semaphore(0), looked._ask

    def noticed(question):
        future = ask(question)
        if not isinstance(question, Ask):
            asked.release()
        return future

    monkeypatch.setattr(looked, "_ask", noticed)
    count = lookups.FETCHERS + 4
    waiting = [threading.Thread(target=looked.route, args=["slow.example"]) for _ in range(count)]
    for thread in waiting:
        thread.start()
    try:
        assert all(asked.acquire(timeout=20) for _ in waiting)
        looked.route(DOMAIN)
        assert ended == []
    finally:
        stuck.set()
        for thread in waiting:
            thread.join(10)
        looked.close()
    assert sorted(fetched) == [DOMAIN, "slow.example"]


def test_close_in_the_middle_of_a_look_up(monkeypatch):
    """Look-ups that are under way when close() is called go on with threads of their own."""
    begun, ending = threading.Event(), threading.Event()
    shutdown = lookups.ThreadPoolExecutor.shutdown

    def end(pool, wait=True):
        shutdown(pool, wait=False)  # from here on it takes no more questions
        ending.set()
        shutdown(pool, wait=wait)

    class Slow(FakeResolver):
        def query(self, name, rdtype):
            if rdtype == "MX":
                begun.set()
                ending.wait(20)
            return super().query(name, rdtype)

    monkeypatch.setattr(lookups.ThreadPoolExecutor, "shutdown", end)
    slow = Slow({**RECORDS, f"_mta-sts.{DOMAIN} TXT": []})
    looked = Lookups(slow, MemoryStore(), allow_private=True)
    found = []
    thread = threading.Thread(target=lambda: found.append(looked.route(DOMAIN)))
    thread.start()
    assert begun.wait(20)
    looked.close()
    thread.join(20)
    looked.close()
    assert [host.name for made in found for host in made.hosts] == [f"mx.{DOMAIN}"]


def test_error_in_a_resolver():
    """An unexpected exception comes out where the caller can see it."""

    class Broken(FakeResolver):
        def query(self, name, rdtype):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        Lookups(Broken({}), MemoryStore()).route(DOMAIN)


def workers():
    """Return the threads that answer questions."""
    return {each for each in threading.enumerate() if each.name.startswith("requiretls-lookup")}


def test_look_ups_after_close_and_after_fork():
    """close() ends the threads; a later look-up, or a forked child, starts its own."""
    looked = looking({f"_mta-sts.{DOMAIN} TXT": []})
    before = workers()
    assert looked.route(DOMAIN).hosts
    assert workers() - before
    looked.close()
    assert not workers() - before
    assert looked.route(DOMAIN).hosts
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            os._exit(0 if looked.route(DOMAIN).hosts else 1)
        assert os.waitpid(child, 0)[1] == 0
    looked.close()


@pytest.mark.parametrize("domain", ["", "a b", "x\0.example", "192.0.2.1", "[192.0.2.300]", "[x]"])
def test_bad_domain(domain):
    """UTF-03, K18: what is no domain is a ValueError, before anything is asked."""
    looked = looking()
    with pytest.raises(ValueError, match="domain"):
        looked.route(domain)
    assert looked.resolver.queries == []


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_bad_port(port):
    """SUB-10: a port that nobody connects to is a ValueError: its TLSA records bind nothing."""
    looked = looking()
    for ask in (looked.route, looked.server):
        with pytest.raises(ValueError, match="port"):
            ask(DOMAIN, port=port)
    assert looked.resolver.queries == []


def test_domain_in_any_form():
    """K18, SID-03: case, final dot and U-labels lead to one key in the store."""
    store = MemoryStore()
    looked = looking({}, store)
    for form in ("BÜCHER.example", "bücher.example.", "xn--bcher-kva.EXAMPLE"):
        assert looked.route(form).domain == "xn--bcher-kva.example"
    assert {name.split()[0] for name in looked.resolver.queries} == {
        "xn--bcher-kva.example", "_mta-sts.xn--bcher-kva.example", "mta-sts.xn--bcher-kva.example"
    }  # fmt: skip


# -- trust ---------------------------------------------------------------------------------------


def test_trust(tmp_path):
    """Whose certificates count: certifi's, the system's, a file's, or a context's that verifies."""
    cafile = tmp_path / "ca.pem"
    cafile.write_bytes(CA_AT_HAND.pem)
    own = CA_AT_HAND.context()
    resolver = FakeResolver({})
    assert Lookups(resolver, MemoryStore(), trust=own).context is own
    assert len(Lookups(resolver, MemoryStore(), trust=cafile).context.get_ca_certs()) == 1
    system = Lookups(resolver, MemoryStore(), trust="system").context
    for context in (system, Lookups(resolver, MemoryStore()).context):
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
    with trust(CA_AT_HAND):
        assert Lookups(resolver, MemoryStore()).context is not own
    with pytest.raises(ValueError, match="verifies"):
        Lookups(resolver, MemoryStore(), trust=lax_context())
    with pytest.raises(OSError, match="No such file"):
        Lookups(resolver, MemoryStore(), trust=str(tmp_path / "none.pem"))


def test_nothing_is_asked_or_written_before_the_first_look_up(tmp_path, monkeypatch, caplog):
    """Making the object touches neither the network nor the disk."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.DEBUG):
        Lookups(FakeResolver({}))
    assert list(tmp_path.iterdir()) == []
