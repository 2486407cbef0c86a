"""Sign the DNS tree of the small internet: a private root, ``test.`` and the zones below it.

One ECDSA P-256 key per zone signs everything in it. Denial is by NSEC, or by NSEC3 where a zone
asks for it; dnspython signs with the former only, so the latter is done here.
"""

from __future__ import annotations

import base64
import datetime
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from dns.rdtypes.ANY import NSEC3
from dns.rdtypes.ANY.DNSKEY import DNSKEY
from dns.transaction import Transaction

from . import places, zones
from .zones import Zone

TTL = 60
_NAME_SERVER = "ns.test."  # unbound holds all zones itself and asks nobody
_HEAD = f"""\
$TTL {TTL}
@ SOA {_NAME_SERVER} hostmaster.test. 1 60 60 3600 {TTL}
@ NS {_NAME_SERVER}
"""
_DAY = datetime.timedelta(days=1)
_SPOILED = {"MX": "10 evil.test.", "TLSA": f"3 1 1 {'ff' * 32}", "A": places.PEERS["dead"]}
_SHA1, _SALT, _ITERATIONS = 1, b"", 0  # of NSEC3, as RFC 9276 s3.1 wants them

_Sign = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Tree:
    """The zones as a name server reads them.

    Attributes:
        files: name of the zone, absolute -> its master file.
        trust_anchor: the root's DNSKEY record.
    """

    files: dict[str, str]
    trust_anchor: str


@dataclass(frozen=True, slots=True)
class _Signed:
    """One zone: its master file, what its parent says of it, its key if it has one."""

    file: str
    delegation: list[str]
    key: DNSKEY | None


def grow(table: Iterable[Zone], fill: Callable[[str], str]) -> Tree:
    """Sign the tree; `fill` replaces the placeholders in the records of a zone."""
    files, delegations = {}, [f"{_NAME_SERVER} A {places.PEERS['dead']}"]
    for zone in table:
        if zone.signing != zones.WITHIN:
            name = f"{zone.domain}."
            made = _make(name, fill(published(zone)), zone.signing, zone)
            files[name] = made.file
            delegations += made.delegation
    top = _make("test.", "\n".join([zones.TOP, *delegations]), zones.SIGNED)
    root = _make(".", "\n".join(top.delegation), zones.SIGNED)
    files |= {"test.": top.file, ".": root.file}
    return Tree(files, f". {TTL} IN DNSKEY {root.key}\n")


def published(zone: Zone) -> str:
    """Return the records of a zone and those of its MTA-STS policy, placeholders and all."""
    if zone.policy is None:
        return zone.records
    return f"{zone.records}\n{zone.policy.announced}"


def _make(name: str, records: str, signing: str, spoiled: Zone | None = None) -> _Signed:
    """Sign one zone in the way that `signing` says and spoil what is to be spoiled."""
    lines = "\n".join(line.strip() for line in records.splitlines())
    zone = dns.zone.from_text(_HEAD + lines + "\n", origin=name, relativize=False)
    delegation = [f"{name} NS {_NAME_SERVER}"]
    if signing == zones.INSECURE:
        return _Signed(zone.to_text(relativize=False), delegation, None)
    private, key = _new_key()
    now = datetime.datetime.now(datetime.UTC)
    expiration = now - 10 * _DAY if signing == zones.LAPSED else now + 3650 * _DAY
    validity = {"inception": now - 20 * _DAY, "expiration": expiration}
    with zone.writer() as change:
        if signing == zones.NSEC3:
            _sign_with_nsec3(change, zone.origin, (private, key), validity)
        else:
            dns.dnssec.sign_zone(zone, change, [(private, key)], **validity)
    for rdtype in spoiled.spoil if spoiled else ():
        _spoil(zone, rdtype, spoiled.spoil_at)
    vouched = _new_key()[1] if signing == zones.WRONG_DS else key
    delegation.append(f"{name} DS {dns.dnssec.make_ds(zone.origin, vouched, 'SHA256')}")
    return _Signed(zone.to_text(relativize=False), delegation, key)


def _new_key() -> tuple[ec.EllipticCurvePrivateKey, DNSKEY]:
    """Return a key that signs keys and data alike."""
    private = ec.generate_private_key(ec.SECP256R1())
    algorithm = dns.dnssec.Algorithm.ECDSAP256SHA256
    return private, dns.dnssec.make_dnskey(private.public_key(), algorithm, flags=257)


def _spoil(zone: dns.zone.Zone, rdtype: str, owner: str) -> None:
    """Put other data in the place of those that were signed."""
    kind = dns.rdatatype.from_text(rdtype)
    only = dns.name.from_text(owner, zone.origin) if owner else None
    other = dns.rdata.from_text("IN", kind, _SPOILED[rdtype])
    for name, _ in list(zone.iterate_rdatasets(kind)):
        if only in (None, name):
            zone.replace_rdataset(name, dns.rdataset.from_rdata(TTL, other))


def _sign_with_nsec3(
    change: Transaction,
    origin: dns.name.Name,
    key: tuple[ec.EllipticCurvePrivateKey, DNSKEY],
    validity: dict[str, datetime.datetime],
) -> None:
    """Sign a zone without delegations, with the chain of RFC 5155 s7.1."""
    change.add(origin, TTL, key[1])
    parameters = f"{_SHA1} 0 {_ITERATIONS} -"
    change.add(origin, TTL, dns.rdata.from_text("IN", "NSEC3PARAM", parameters))
    for owner, record in _nsec3_chain(_types(change, origin), origin):
        change.add(owner, TTL, record)
    sign = functools.partial(
        dns.dnssec.default_rrset_signer, signer=origin, ksks=[key], zsks=[key], **validity
    )
    for name in list(change.iterate_names()):
        for rdataset in list(change.get_node(name).rdatasets):
            sign(change, dns.rrset.from_rdata_list(name, rdataset.ttl, rdataset))


def _types(
    change: Transaction, origin: dns.name.Name
) -> dict[dns.name.Name, set[dns.rdatatype.RdataType]]:
    """Return the types at every name of the zone; none at the names in between."""
    types: dict[dns.name.Name, set[dns.rdatatype.RdataType]] = {}
    for name in change.iterate_names():
        present = {rdataset.rdtype for rdataset in change.get_node(name).rdatasets}
        types[name] = {*present, dns.rdatatype.RRSIG}
        while (name := name.parent()).is_subdomain(origin):
            types.setdefault(name, set())
    return types


def _nsec3_chain(
    types: dict[dns.name.Name, set[dns.rdatatype.RdataType]], origin: dns.name.Name
) -> Iterable[tuple[dns.name.Name, NSEC3.NSEC3]]:
    """Yield owner and record of every link."""
    hashes = {dns.dnssec.nsec3_hash(name, _SALT, _ITERATIONS, _SHA1): name for name in types}
    ring = sorted(hashes)
    for this, following in zip(ring, ring[1:] + ring[:1], strict=True):
        record = NSEC3.NSEC3(
            dns.rdataclass.IN, dns.rdatatype.NSEC3, _SHA1, 0, _ITERATIONS, _SALT,
            base64.b32hexdecode(following), NSEC3.Bitmap.from_rdtypes(sorted(types[hashes[this]])),
        )  # fmt: skip
        yield dns.name.from_text(this.lower(), origin), record
