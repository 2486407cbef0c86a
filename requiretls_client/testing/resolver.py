"""A resolver that answers from a dictionary, with a DNSSEC status for each record.

For tests of programs that send to domains: a whole scenario in a few lines, no network::

    resolver = FakeResolver(
        {
            "example.net MX": ["10 mx.example.net"],
            "mx.example.net A": ["127.0.0.1"],
            "_25._tcp.mx.example.net TLSA": ["3 1 1 " + digest],
        },
        fail={"_mta-sts.example.net TXT": "servfail"},
    )
    deliver(message, lookups=Lookups(resolver, MemoryStore(), allow_private=True))

What is not there does not exist: NODATA where the name has other records or names below it, else
NXDOMAIN. Everything is ``secure`` but what ``insecure`` names.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence

from requiretls_client.facts import MX, SRV, TLSA, Answer, Link


class FakeResolver:
    """What :class:`~requiretls_client.lookups.Lookups` asks of a resolver, from a dictionary.

    Attributes:
        queries: every question so far, as ``name TYPE``, in the order in which they came.
    """

    def __init__(
        self,
        records: Mapping[str, Sequence[str]],
        *,
        fail: Mapping[str, str] | None = None,
        insecure: Collection[str] | bool = (),
        trusted: bool = True,
        trust_reason: str = "the test says so",
    ) -> None:
        """Take the scenario.

        Args:
            records: ``name TYPE`` -> records in presentation form; CNAME is followed.
            fail: ``name TYPE`` -> ``servfail``, ``timeout``, ``broken`` or ``bogus``.
            insecure: the ``name TYPE`` of records (or of absent ones) without DNSSEC; a bare name
                stands for all its types; True for everything.
            trusted: False makes everything insecure, as an untrusted resolver does.
            trust_reason: for people.
        """
        self.trusted = trusted
        self.trust_reason = trust_reason
        self._records = {key.lower(): list(values) for key, values in records.items()}
        self._fail = {key.lower(): kind for key, kind in (fail or {}).items()}
        self._insecure = insecure
        self._lock = threading.Lock()
        self.queries: list[str] = []

    def query(self, name: str, rdtype: str) -> Answer:
        """Answer one question."""
        name = name.lower()
        with self._lock:
            self.queries.append(f"{name} {rdtype}")
        links: list[Link] = []
        at, secure = name, True
        while f"{at} cname" in self._records and len(links) < 16:
            secure = secure and self._is_secure(at, "CNAME")
            target = self._records[f"{at} cname"][0].lower()
            links.append(Link(at, target, "secure" if secure else "insecure"))
            at = target
        kind = self._fail.get(f"{at} {rdtype.lower()}") or self._fail.get(
            f"{name} {rdtype.lower()}"
        )
        if kind:
            status = "bogus" if kind == "bogus" else "indeterminate"
            outcome = "servfail" if kind == "bogus" else kind
            text = f"{kind} from the test, asked for {name} {rdtype}"
            return Answer(name, rdtype, outcome, status, canonical=at, problem=text)
        secure = secure and self._is_secure(at, rdtype)
        found = self._records.get(f"{at} {rdtype.lower()}", [])
        outcome = "records" if found else "nodata" if self._exists(at) else "nxdomain"
        status = "secure" if secure else "insecure"
        parsed = tuple(_parse(rdtype, text) for text in found)
        return Answer(name, rdtype, outcome, status, parsed, at, tuple(links))

    def _is_secure(self, name: str, rdtype: str) -> bool:
        if not self.trusted or isinstance(self._insecure, bool):
            return self.trusted and not self._insecure
        return not {name, f"{name} {rdtype}"} & set(self._insecure)

    def _exists(self, name: str) -> bool:
        names = (key.partition(" ")[0] for key in self._records)
        return any(each == name or each.endswith(f".{name}") for each in names)


def _parse(rdtype: str, text: str) -> MX | TLSA | SRV | str:
    if rdtype == "MX":
        preference, host = text.split()
        return MX(int(preference), "" if host == "." else host.lower())
    if rdtype == "SRV":
        priority, weight, port, target = text.split()
        return SRV(int(priority), int(weight), int(port), "" if target == "." else target.lower())
    if rdtype == "TLSA":
        usage, selector, matching, data = text.split(maxsplit=3)
        return TLSA(int(usage), int(selector), int(matching), bytes.fromhex(data))
    return text
