"""The measurements: our look-ups, the same questions one after another, and peers.

The only change to the package is that policies are fetched from another port than 443:
``requiretls_client.policy_fetch.fetch_policy`` gets ``port=``. The rounds of what is compared
alternate, so that a machine that slows down slows both.
"""

from __future__ import annotations

import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import certifi
import dns.flags
import dns.rdatatype
import dns.resolver
import requests

from lookup_times.internet import HOST, POLICY, POLICY_ID
from lookup_times.report import Row
from requiretls_client import lookups, mtasts, policy_fetch, tls
from requiretls_client.cache import MemoryStore, PolicyStore, SQLiteStore
from requiretls_client.facts import Answer, RouteFacts, StoredPolicy
from requiretls_client.fetch import fetch_policy
from requiretls_client.resolver import Resolver
from requiretls_client.testing import CA

ROUND_TRIP = 0.020  # seconds
AT_ONCE = 32
SHARE = 25  # domains that are asked for one after another; all of them would take minutes
FETCHES, QUERIES = 20, 200  # in one measurement of CPU time

Asked = tuple[str, str]
NewStore = Callable[[], PolicyStore]


class Recorder:
    """A resolver that remembers what it was asked."""

    def __init__(self, resolver: Resolver) -> None:
        """Wrap a resolver."""
        self._resolver = resolver
        self.trusted, self.trust_reason = resolver.trusted, resolver.trust_reason
        self.asked: list[Asked] = []

    def query(self, name: str, rdtype: str) -> Answer:
        """Pass the question on."""
        self.asked.append((name, rdtype))
        return self._resolver.query(name, rdtype)


class Bench:
    """The client's side; ``ports`` are those of the internet."""

    def __init__(self, ports: dict[str, int], folder: Path, bundle: Path) -> None:
        """Make what both sides of a comparison share."""
        self._ports, self._folder, self._bundle = ports, folder, bundle
        self._resolver = Resolver([HOST], port=ports["dns"])
        self._near = Resolver([HOST], port=ports["near_dns"])
        self._context = tls.client_context(str(bundle))
        fetch = functools.partial(fetch_policy, port=ports["https"])
        setattr(policy_fetch, "fetch_policy", fetch)  # noqa: B010 - the type checker objects
        self._fetch = fetch
        self._stores = 0

    def one_domain(
        self, title: str, domain: str, new: NewStore, *, rounds: int, goal: float | None = None
    ) -> Row:
        """Compare ``Lookups.route()`` for one domain with the same questions one by one.

        Args:
            title: of the row.
            domain: whose names the internet knows.
            new: makes the store for each round; the policy is fetched when it is not there.
            rounds: how often.
            goal: for the ratio.
        """
        asked, source = self._asked(domain, new())
        ours = self._lookups()

        def serially() -> None:
            self._ask(asked)
            if source == "fetched":
                mtasts.parse_policy(self._fetch(domain, [HOST], self._context))

        def side_by_side() -> None:
            _check(ours.route(domain), source)

        note = f"{len(asked)} questions{' and a fetch' if source == 'fetched' else ''}"
        row = Row(title, "ms", note, goal)
        for _ in range(rounds):
            ours.cache = new()
            row.add(_wall(serially), _wall(side_by_side), 1e3)
        ours.close()
        return row

    def many_domains(self, count: int, rounds: int, goal: float) -> Row:
        """Compare many domains, ``AT_ONCE`` at a time, with one question after another."""
        names = [f"d{number}.test" for number in range(count)]
        share = names[:SHARE]
        ours = self._lookups()
        ours.cache = self.file(*names)
        asked, _ = self._asked("d0.test", ours.cache)

        def serially() -> None:
            for domain in share:
                self._ask([(name.replace("d0.test", domain), rdtype) for name, rdtype in asked])

        def side_by_side() -> None:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for made in pool.map(ours.route, names):
                    _check(made, "cached")

        note = f"serial: {len(share)} domains, in proportion; {len(asked)} questions each"
        row = Row(f"{count} domains, {AT_ONCE} at a time, policies cached", "s", note, goal)
        spent: list[float] = []
        for _ in range(rounds):
            serial = _wall(serially) * count / len(share)
            before = time.process_time()
            row.add(serial, _wall(side_by_side), 1)
            spent.append((time.process_time() - before) / count * 1e3)
        row.note += f"; our CPU {statistics.median(spent):.1f} ms a domain"
        ours.close()
        return row

    def fetch_cpu(self, rounds: int, at_most: float) -> Row:
        """Compare the CPU time of a policy fetch with ``requests.get``."""
        port = self._ports["near_https"]
        url = f"https://{HOST}:{port}/.well-known/mta-sts.txt"

        def peer() -> None:
            if requests.get(url, verify=str(self._bundle), timeout=60).text != POLICY:
                raise RuntimeError("not the policy")

        def ours() -> None:
            if fetch_policy("d0.test", [HOST], self._context, port=port) != POLICY.encode():
                raise RuntimeError("not the policy")

        row = Row("policy fetch, CPU", "ms", "requests.get / fetch_policy", None, at_most)
        peer()
        ours()  # the first imports and warms up
        for _ in range(rounds):
            row.add(_cpu(peer, FETCHES // 4), _cpu(ours, FETCHES), 1e3)
        return row

    def query_cpu(self, rdtype: str, name: str, rounds: int) -> Row:
        """Compare the CPU time of a DNS question with dnspython's own resolver."""
        peer = dns.resolver.Resolver(configure=False)
        peer.nameservers, peer.port = [HOST], self._ports["near_dns"]
        peer.use_edns(0, 0, 1232)
        peer.flags = dns.flags.RD | dns.flags.AD
        row = Row(f"DNS question, {rdtype}, CPU", "us", "Resolver.resolve / Resolver.query")
        for _ in range(rounds):
            row.add(
                _cpu(lambda: peer.resolve(name, rdtype, search=False), QUERIES),
                _cpu(lambda: self._near.query(name, rdtype), QUERIES),
                1e6,
            )
        return row

    def file(self, *domains: str) -> SQLiteStore:
        """Return a new file with a fresh policy for each domain, and for one that nobody asks."""
        self._stores += 1
        store = SQLiteStore(self._folder / f"{self._stores}.sqlite3")
        policy = mtasts.parse_policy(POLICY.encode())
        for domain in ["other.test", *domains]:
            store.save(domain, StoredPolicy(policy, POLICY_ID, time.time()))
        return store

    def _asked(self, domain: str, store: PolicyStore) -> tuple[list[Asked], str]:
        """Return what ``route()`` asks for a domain, and the source of its policy."""
        recorder = Recorder(self._resolver)
        made = lookups.Lookups(recorder, store, trust=self._context, allow_private=True)
        source = made.route(domain).policy.source
        made.close()
        return recorder.asked, source

    def _ask(self, asked: list[Asked]) -> None:
        for name, rdtype in asked:
            if self._resolver.query(name, rdtype).status != "secure":
                raise RuntimeError(f"no secure answer for {name} {rdtype}")

    def _lookups(self) -> lookups.Lookups:
        """Return look-ups that are warm: their threads run."""
        made = lookups.Lookups(
            self._resolver, MemoryStore(), trust=self._context, allow_private=True
        )
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(made.route, ["warm.test"] * AT_ONCE))
        return made


def run(domains: int, rounds: int, folder: Path) -> list[Row]:
    """Measure everything; ``folder`` is for files that may go afterwards."""
    with _internet(folder) as (ports, bundle):
        bench = Bench(ports, folder, bundle)
        one = functools.partial(bench.one_domain, rounds=rounds)
        known, hosted = (functools.partial(bench.file, name) for name in ("d0.test", "hosted.test"))
        return [
            one("one domain, policy fetched", "d0.test", MemoryStore, goal=2.7),
            one("the same, and kept in a file", "d0.test", bench.file),
            one("one domain, policy cached", "d0.test", known, goal=3.3),
            one("the same, MX hosts in another zone", "hosted.test", hosted),
            bench.many_domains(domains, max(1, rounds // 5), 19),
            bench.fetch_cpu(rounds, 5.0),
            bench.query_cpu("MX", "d0.test", rounds),
            bench.query_cpu("TLSA", "_25._tcp.mx1.d0.test", rounds),
        ]


@contextmanager
def _internet(folder: Path) -> Iterator[tuple[dict[str, int], Path]]:
    """Start the other side; yields its ports and a file with certifi's roots and our CA's."""
    ca = CA()
    names = ["d0.test", "hosted.test", "warm.test"]
    site = ca.issue(HOST, *(f"mta-sts.{name}" for name in names))
    (folder / "site.pem").write_bytes(site.key + site.pem)
    bundle = folder / "roots.pem"
    bundle.write_bytes(Path(certifi.where()).read_bytes() + ca.pem)
    command = [sys.executable, "-m", "lookup_times.internet"]
    command += [str(ROUND_TRIP), str(folder / "site.pem")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - a program of ours
        yield json.loads(process.stdout.readline() if process.stdout else b""), bundle


def _check(made: RouteFacts, source: str) -> None:
    """Stop where a look-up did not find all there is: what is quick then proves nothing."""
    found = [bool(host.addresses and host.tlsa) for host in made.hosts]
    if found != [True, True] or made.policy.source != source:
        raise RuntimeError(f"not everything was found: {made}")


def _wall(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _cpu(work: Callable[[], object], times: int = 1) -> float:
    """Return the seconds of CPU time that ``work`` takes in this process."""
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times
