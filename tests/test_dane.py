"""DANE, row by row: which TLSA records count, what they match, and whose names."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from requiretls_client import dane
from requiretls_client.facts import TLSA, TLSFacts
from requiretls_client.testing import CA

MX, DOMAIN, TARGET = "mx.example.test", "example.test", "target.example.test"
OTHER = "other.example"


def key(certificate):
    """Return the SubjectPublicKeyInfo of a certificate, by another way than the package's."""
    return (
        x509.load_der_x509_certificate(certificate)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def tlsa(usage, selector, matching, certificate):
    """Return the record that names a certificate."""
    data = key(certificate) if selector == 1 else certificate
    digest = {1: hashlib.sha256, 2: hashlib.sha512}.get(matching)
    return TLSA(usage, selector, matching, digest(data).digest() if digest else data)


def wrong(record):
    """Return the record with another last octet."""
    return replace(record, data=record.data[:-1] + bytes([record.data[-1] ^ 1]))


def der(certificate):
    """Return a certificate, DER."""
    return ssl.PEM_cert_to_DER_cert(certificate.pem.decode("ascii"))


AUTHORITY = CA()
CHILD = AUTHORITY.child()
ROOT, INTER, STRANGER = der(AUTHORITY), der(CHILD), der(CA())
LEAF = der(CHILD.issue(MX))
WEAK = der(CHILD.issue(MX, weak_key=True))

FIRST = TLSFacts(
    server_hostname=MX,
    verify_required=False,
    check_hostname=False,
    common_name_allowed=False,
    san_kinds=frozenset(),
    session_reused=False,
    version="TLSv1.3",
    cipher="TLS_AES_256_GCM_SHA384",
    presented=(LEAF, INTER, ROOT),
)
SECOND = replace(
    FIRST,
    verify_required=True,
    san_kinds=frozenset({"DNS"}),
    verified=(LEAF, INTER, ROOT),
    names=(MX,),
)

# -- usable --------------------------------------------------------------------------------------

SHA256, SHA512 = bytes(32), bytes(64)

UNUSABLE = [
    ("DANE-27-TLSA-09-usage-0", TLSA(0, 1, 1, SHA256)),
    ("DANE-27-TLSA-09-usage-1", TLSA(1, 1, 1, SHA256)),
    ("J06-usage-4", TLSA(4, 1, 1, SHA256)),
    ("J06-usage-255-private", TLSA(255, 1, 1, SHA256)),
    ("J06-selector-2", TLSA(3, 2, 1, SHA256)),
    ("J06-matching-3", TLSA(3, 1, 3, SHA256)),
    ("J06-sha-256-of-31-octets", TLSA(3, 1, 1, bytes(31))),
    ("J06-sha-256-of-33-octets", TLSA(2, 0, 1, bytes(33))),
    ("J06-sha-512-of-32-octets", TLSA(3, 1, 2, SHA256)),
    ("J06-digest-of-nothing", TLSA(3, 1, 1, b"")),
    ("J06-3-0-0-is-no-certificate", TLSA(3, 0, 0, b"\x30\x00")),
    ("J06-3-0-0-is-cut-off", TLSA(3, 0, 0, LEAF[:-1])),
    ("J06-3-0-0-has-a-tail", TLSA(3, 0, 0, LEAF + b"\0")),
    ("J06-3-0-0-is-a-key", TLSA(3, 0, 0, key(LEAF))),
    ("J06-3-1-0-is-no-key", TLSA(3, 1, 0, b"\x30\x00")),
    ("J06-3-1-0-is-empty", TLSA(3, 1, 0, b"")),
    ("J06-3-1-0-is-a-certificate", TLSA(3, 1, 0, LEAF)),
    ("J06-2-1-0-is-cut-off", TLSA(2, 1, 0, key(ROOT)[:-1])),
    ("J06-2-0-0-is-no-certificate", TLSA(2, 0, 0, b"")),
    ("J06-3-0-0-of-version-4", TLSA(3, 0, 0, LEAF.replace(b"\xa0\3\2\1\2", b"\xa0\3\2\1\3"))),
    ("J06-2-0-0-is-no-ca", TLSA(2, 0, 0, LEAF)),
]


@pytest.mark.parametrize("record", [pytest.param(row[1], id=row[0]) for row in UNUSABLE])
def test_unusable(record):
    """TLSA-02, J07: an unusable record is left out, alone or beside others, and matches nothing."""
    good = tlsa(3, 0, 1, LEAF)
    assert dane.usable([record]) == ()
    assert dane.usable([record, good, record]) == (good,)
    assert dane.anchors((record,), SECOND.presented) == ()
    assert dane.match((record,), SECOND, (MX,)) == dane.Match(False, "no TLSA record is usable")
    assert dane.match((record, good), SECOND, ()).record is good
    assert not dane.match((record, wrong(good)), SECOND, (MX,)).ok


@pytest.mark.parametrize("usage", [2, 3])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_usable_and_matching(usage, selector, matching):
    """TLSA-03: usages 2 and 3, both selectors, whole data, SHA-256 and SHA-512."""
    record = tlsa(usage, selector, matching, {2: INTER, 3: LEAF}[usage])
    assert dane.usable([record]) == (record,)
    found = dane.match((record,), SECOND, (MX,))
    assert (found.ok, found.record) == (True, record)
    assert found.by == {2: "DANE-TA", 3: "DANE-EE"}[usage]
    other = tlsa(usage, selector, matching, STRANGER)
    assert not dane.match((other,), SECOND, (MX,)).ok


F, S, B = (tlsa(3, 1, matching, LEAF) for matching in (0, 1, 2))  # full, small, big
AGILITY = [
    ("TLSA-08-both-digests", [S, B], [B]),
    ("TLSA-08-the-order-does-not-count", [B, S], [B]),
    ("TLSA-08-all-of-the-strongest", [S, B, wrong(S), wrong(B)], [B, wrong(B)]),
    ("TLSA-08-whole-and-both", [S, F, B], [F, B]),
    ("TLSA-08-whole-and-sha-256", [S, F], [S, F]),
    ("TLSA-08-an-unusable-sha-512", [S, TLSA(3, 1, 2, b"")], [S]),
    ("TLSA-08-per-selector", [S, tlsa(3, 0, 2, LEAF)], [S, tlsa(3, 0, 2, LEAF)]),
    ("TLSA-08-per-usage", [S, tlsa(2, 1, 2, ROOT)], [S, tlsa(2, 1, 2, ROOT)]),
]


@pytest.mark.parametrize(
    ("records", "want"), [pytest.param(*row[1:], id=row[0]) for row in AGILITY]
)
def test_digest_agility(records, want):
    """TLSA-08: for each usage and selector the whole data and the strongest digest count."""
    assert dane.usable(records) == tuple(want)


def test_weaker_digest_does_not_rescue():
    """J12: SHA-512 wrong and SHA-256 right is refused, the other way round it is accepted."""
    assert not dane.match((wrong(B), S), FIRST, ()).ok
    assert dane.match((wrong(S), B), FIRST, ()).ok
    low, high = (tlsa(2, 0, matching, ROOT) for matching in (1, 2))
    assert not dane.match((wrong(high), low), SECOND, (MX,)).ok
    assert dane.anchors((wrong(high), low), SECOND.presented) == ()


# -- anchors -------------------------------------------------------------------------------------

ANCHORS = [
    ("B15-the-root", [tlsa(2, 0, 1, ROOT)], (LEAF, INTER, ROOT), [ROOT]),
    ("B15-the-intermediate", [tlsa(2, 1, 1, INTER)], (LEAF, INTER, ROOT), [INTER]),
    ("two-of-them", [tlsa(2, 1, 1, INTER), tlsa(2, 0, 1, ROOT)], (LEAF, INTER, ROOT),
     [INTER, ROOT]),
    ("each-once", [tlsa(2, 1, 1, ROOT), tlsa(2, 0, 0, ROOT)], (LEAF, ROOT, ROOT), [ROOT]),
    ("TLSA-04-only-in-the-dns", [tlsa(2, 0, 0, ROOT)], (LEAF, INTER), [ROOT]),
    ("TLSA-05-digest-and-not-sent", [tlsa(2, 0, 1, ROOT)], (LEAF, INTER), []),
    ("TLSA-07-key-of-a-ca-that-was-sent", [tlsa(2, 1, 0, INTER)], (LEAF, INTER),
     [INTER, LEAF]),
    ("TLSA-07-key-that-signed-the-topmost", [tlsa(2, 1, 0, ROOT)], (LEAF, INTER), [INTER]),
    ("TLSA-07-key-that-signed-the-leaf", [tlsa(2, 1, 0, INTER)], (LEAF,), [LEAF]),
    ("TLSA-07-key-of-a-stranger", [tlsa(2, 1, 0, STRANGER)], (LEAF, INTER, ROOT), []),
    ("the-leaf-is-none", [tlsa(2, 0, 1, LEAF), tlsa(2, 1, 1, LEAF)], (LEAF, INTER, ROOT), []),
    ("usage-3-needs-none", [tlsa(3, 1, 1, LEAF), tlsa(3, 0, 1, ROOT)], (LEAF, INTER, ROOT), []),
    ("nothing-sent", [tlsa(2, 0, 1, ROOT)], (), []),
    ("garbage-sent", [tlsa(2, 1, 1, ROOT), tlsa(2, 1, 0, ROOT)], (b"", b"\x30", b"\xff" * 9), []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("records", "presented", "want"), [pytest.param(*row[1:], id=row[0]) for row in ANCHORS]
)
def test_anchors(records, presented, want):
    """Usage 2: what to trust is what the records name, or signed, and nothing else."""
    assert dane.anchors(tuple(records), presented) == tuple(want)


# -- match ---------------------------------------------------------------------------------------

EE, TA = tlsa(3, 1, 1, LEAF), tlsa(2, 1, 1, ROOT)
NOTHING_HASHED = TLSA(3, 1, 1, hashlib.sha256(b"").digest())

# id, records, facts, reference identifiers, what the text holds
REFUSED = [
    ("no-records", [], SECOND, [MX], "usable"),
    ("DANE-22-other-key", [wrong(EE)], SECOND, [MX], "no TLSA record matches"),
    ("resumed", [EE], replace(FIRST, session_reused=True), [MX], "resumed"),
    ("resumed-usage-2", [TA], replace(SECOND, session_reused=True), [MX], "resumed"),
    ("nothing-presented", [EE], replace(FIRST, presented=()), [MX], "not known"),
    ("nothing-presented-usage-2", [TA], replace(SECOND, presented=()), [MX], "not known"),
    ("3-1-1-names-the-ca-above", [tlsa(3, 1, 1, ROOT)], SECOND, [MX], "no TLSA record matches"),
    ("2-1-1-names-the-server", [tlsa(2, 1, 1, LEAF)], SECOND, [MX], "no TLSA record matches"),
    ("2-0-1-names-the-server", [tlsa(2, 0, 1, LEAF)], SECOND, [MX], "no TLSA record matches"),
    ("2-chain-of-the-server-alone", [tlsa(2, 0, 1, LEAF)], replace(SECOND, verified=(LEAF,)),
     [MX], "no TLSA record matches"),
    ("2-sent-but-not-verified", [TA], FIRST, [MX], "not verified"),
    ("2-verified-but-not-demanded", [TA], replace(SECOND, verify_required=False), [MX],
     "no TLSA record matches"),
    ("2-in-the-dns-but-not-verified", [tlsa(2, 0, 0, ROOT)], replace(FIRST, presented=(LEAF,)),
     [MX], "not verified"),
    ("2-sent-but-not-in-the-verified-chain", [tlsa(2, 1, 1, STRANGER)],
     replace(SECOND, presented=(LEAF, INTER, ROOT, STRANGER)), [MX], "no TLSA record matches"),
    ("TLSA-07-2-1-0-of-a-stranger", [tlsa(2, 1, 0, STRANGER)], SECOND, [MX],
     "no TLSA record matches"),
    ("weak-key-rsa-1024", [tlsa(3, 1, 1, WEAK)], replace(FIRST, presented=(WEAK,)), [MX],
     "weaker than 112 bits"),
    ("weak-key-3-0-1", [tlsa(3, 0, 1, WEAK)], replace(FIRST, presented=(WEAK,)), [MX],
     "weaker than 112 bits"),
    ("no-der-is-not-the-digest-of-nothing", [NOTHING_HASHED],
     replace(FIRST, presented=(b"garbage",)), [MX], "no TLSA record matches"),
    ("empty-is-not-the-digest-of-nothing", [replace(NOTHING_HASHED, usage=2)],
     replace(SECOND, verified=(LEAF, b"")), [MX], "no TLSA record matches"),
    ("J10-wrong-name", [TA], replace(SECOND, names=(OTHER,)), [MX],
     f"names {OTHER}, not {MX}"),
    ("DANE-25-only-the-mx-name", [TA], replace(SECOND, names=(DOMAIN,)), [MX],
     f"names {DOMAIN}, not {MX}"),
    ("DANE-24-none-of-three", [TA], replace(SECOND, names=(OTHER,)), [MX, DOMAIN, TARGET],
     f"not {MX} or {DOMAIN} or {TARGET}"),
    ("DANE-26-no-names-at-all", [TA], replace(SECOND, names=()), [MX], "names no host, not"),
    ("no-reference-identifier", [TA], SECOND, [], "not"),
    ("SID-06-control-characters-are-not-shown", [TA],
     replace(SECOND, names=("a\r\nb.test", "\x1b[2J", OTHER)), [MX], f"names {OTHER}, not"),
    ("many-names-are-cut", [TA], replace(SECOND, names=tuple(f"h{n}.test" for n in range(99))),
     [MX], "names h0.test, h1.test, h2.test and 96 more, not"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("records", "facts", "names", "text"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED]
)
def test_no_match(records, facts, names, text):
    """A handshake that no record vouches for is not authenticated, and the text says why."""
    found = dane.match(tuple(records), facts, tuple(names))
    assert (found.ok, found.record, found.by) == (False, None, "")
    assert text in found.text
    assert found.text.isprintable()


MATCHED = [
    ("DANE-22-key", [EE], FIRST, [MX], EE, "matches the server's key"),
    ("DANE-22-certificate", [tlsa(3, 0, 1, LEAF)], FIRST, [MX], tlsa(3, 0, 1, LEAF),
     "matches the server's certificate"),
    ("DANE-22-names-do-not-count", [EE], replace(SECOND, names=(OTHER,)), [MX], EE, "key"),
    ("DANE-22-no-reference-identifier", [EE], FIRST, [], EE, "key"),
    ("DANE-22-J08-chain-not-verified", [EE], replace(FIRST, presented=(LEAF,)), [MX], EE, "key"),
    ("usage-3-first", [TA, EE], SECOND, [MX], EE, "key"),
    ("usage-3-where-the-name-is-wrong-for-2", [TA, EE], replace(SECOND, names=(OTHER,)), [MX], EE,
     "key"),
    ("weak-3-but-good-2", [tlsa(3, 1, 1, WEAK), TA],
     replace(SECOND, presented=(WEAK, INTER, ROOT), verified=(WEAK, INTER, ROOT)), [MX], TA, "CA"),
    ("TLSA-10-the-last-of-three", [wrong(EE), wrong(TA), tlsa(2, 0, 1, INTER)], SECOND, [MX],
     tlsa(2, 0, 1, INTER), "a CA of the verified chain"),
    ("TLSA-04-anchor-not-sent", [tlsa(2, 0, 0, ROOT)], replace(SECOND, presented=(LEAF, INTER)),
     [MX], tlsa(2, 0, 0, ROOT), "a CA of the verified chain"),
    ("TLSA-07-key-behind-the-chain", [tlsa(2, 1, 0, ROOT)],
     replace(SECOND, presented=(LEAF, INTER), verified=(LEAF, INTER)), [MX], tlsa(2, 1, 0, ROOT),
     "is the key that signed the verified chain"),
    ("TLSA-07-key-behind-the-leaf", [tlsa(2, 1, 0, INTER)],
     replace(SECOND, presented=(LEAF,), verified=(LEAF,)), [MX], tlsa(2, 1, 0, INTER), "signed"),
    ("DANE-23-base-domain", [TA], SECOND, [MX, DOMAIN, TARGET], TA, f"names {MX}"),
    ("DANE-24-next-hop-domain", [TA], replace(SECOND, names=(DOMAIN,)), [MX, DOMAIN, TARGET], TA,
     f"names {DOMAIN}"),
    ("DANE-24-expanded-next-hop", [TA], replace(SECOND, names=(OTHER, TARGET)),
     [MX, DOMAIN, TARGET], TA, f"names {TARGET}"),
    ("DANE-23-the-first-that-fits", [TA], replace(SECOND, names=(TARGET, DOMAIN)),
     [MX, DOMAIN, TARGET], TA, f"names {DOMAIN}"),
    ("DANE-26-wildcard", [TA], replace(SECOND, names=("*.example.test",)), [MX], TA,
     f"names {MX}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("records", "facts", "names", "record", "text"),
    [pytest.param(*row[1:], id=row[0]) for row in MATCHED],
)
def test_match(records, facts, names, record, text):
    """One matching record is enough; the text says which it was and what it matched."""
    found = dane.match(tuple(records), facts, tuple(names))
    assert found.ok
    assert found.record == record
    assert found.by == {2: "DANE-TA", 3: "DANE-EE"}[record.usage]
    assert dane.show(record) in found.text
    assert text in found.text


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("length", [2, 3, 4])
def test_anchor_at_every_depth(length, depth):
    """B15: the CA may stand anywhere above the server in a chain of two to four."""
    authorities = [CA()]
    while len(authorities) < length - 1:
        authorities.insert(0, authorities[0].child())
    chain = (der(authorities[0].issue(MX)), *map(der, authorities))
    facts = replace(SECOND, presented=chain, verified=chain)
    for selector in (0, 1):
        if depth < length:
            record = tlsa(2, selector, 1, chain[depth])
            assert dane.anchors((record,), chain) == (chain[depth],)
            assert dane.match((record,), facts, (MX,)).record == record
        else:
            record = tlsa(2, selector, 1, STRANGER)
            assert not dane.match((record,), facts, (MX,)).ok


def test_weak_elliptic_curve():
    """A server's key on a curve below 224 bits is no proof, also where TLS would take it."""
    weak, good = ec.SECP192R1(), ec.SECP224R1()
    for curve, want in ((weak, False), (good, True)):
        public = ec.generate_private_key(curve).public_key()
        spki = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        facts = replace(FIRST, presented=(bare_certificate(spki),))
        assert dane.match((TLSA(3, 1, 0, spki),), facts, ()).ok is want


def sequence(content):
    """Return a DER SEQUENCE."""
    size = len(content).to_bytes(1 + (len(content) > 0xFF), "big")
    return b"\x30" + (size if len(content) < 0x80 else bytes([0x80 | len(size)]) + size) + content


EMPTY, ONE, SIGNATURE = b"\x30\x00", b"\x02\x01\x01", b"\x30\x00\x03\x01\x00"


def bare_certificate(spki):
    """Return something with the form of a certificate (of version 1) around a key."""
    return sequence(sequence(ONE + 4 * EMPTY + spki) + SIGNATURE)


SPKI = key(LEAF)
BARE = bare_certificate(SPKI)
LONG = sequence(sequence(ONE + 4 * EMPTY + SPKI) + SIGNATURE + b"\x04\x82\x01\x00" + bytes(256))
NO_DER = [
    ("tail", BARE + b"\0"),
    ("two", BARE + BARE),
    ("cut-off", BARE[:-1]),
    ("indefinite-length", b"\x30\x80" + sequence(ONE + 4 * EMPTY + SPKI) + SIGNATURE + b"\0\0"),
    ("length-with-a-zero-in-front", b"\x30\x83\x00" + LONG[2:]),
    ("long-form-of-a-short-length", sequence(
        sequence(b"\x02\x81\x01\x01" + 4 * EMPTY + SPKI) + SIGNATURE)),
    ("long-tag", sequence(sequence(ONE + 4 * EMPTY + SPKI + b"\x1f\x00") + SIGNATURE)),
    ("outer-tag", b"\x31" + BARE[1:]),
    ("inner-tag", sequence(b"\x31" + sequence(ONE + 4 * EMPTY + SPKI)[1:] + SIGNATURE)),
    ("serial-number-left-out", sequence(sequence(5 * EMPTY + SPKI) + SIGNATURE)),
    ("key-in-another-place", sequence(sequence(ONE + 3 * EMPTY + SPKI + EMPTY) + SIGNATURE)),
    ("key-as-a-set", bare_certificate(b"\x31" + SPKI[1:])),
]  # fmt: skip


@pytest.mark.parametrize("certificate", [pytest.param(row[1], id=row[0]) for row in NO_DER])
def test_key_that_two_readers_could_read_differently(certificate):
    """The key is cut out of strict DER only; OpenSSL takes more, and could take another key."""
    records = tuple(TLSA(3, 1, 0, data) for data in (SPKI, b"\x31" + SPKI[1:]))
    for good in (BARE, LONG):
        assert dane.match(records, replace(FIRST, presented=(good,)), ()).ok
    assert not dane.match(records, replace(FIRST, presented=(certificate,)), ()).ok


def test_ca_of_version_1():
    """2 0 0 with a certificate of version 1, which cannot say that it is a CA, can be used."""
    tbs = x509.load_der_x509_certificate(ROOT).tbs_certificate_bytes
    content = tbs[tbs.index(b"\xa0\3\2\1\2") + 5 : tbs.index(key(ROOT)) + len(key(ROOT))]
    old = ROOT.replace(tbs, sequence(content))
    old = sequence(old[old.index(sequence(content)) :])
    assert x509.load_der_x509_certificate(old).version is x509.Version.v1
    assert dane.anchors((TLSA(2, 0, 0, old),), (LEAF,)) == (old,)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_certificate_that_is_no_der():
    """What is cut out of a damaged certificate is its own key or nothing; nothing ever raises."""
    record = tlsa(3, 1, 1, LEAF)
    damaged = [LEAF[:end] for end in range(len(LEAF))] + [LEAF + b"\0", LEAF + LEAF]
    for place in range(len(LEAF)):
        for value in (0x00, 0x80, 0xFF, LEAF[place] ^ 1):
            damaged.append(LEAF[:place] + bytes([value]) + LEAF[place + 1 :])
    cut = 0
    for each in damaged:
        if each == LEAF:
            continue
        found = dane.match((record,), replace(FIRST, presented=(each,)), ())
        try:
            same = key(each) == key(LEAF)
        except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
            same = True  # OpenSSL would not have made a handshake, or reads less strictly
        assert same or not found.ok
        cut += not found.ok
    assert cut > len(LEAF)


# -- names ---------------------------------------------------------------------------------------

NAMES = [
    ("SID-03-equal", "mx.example.test", "mx.example.test", True),
    ("SID-03-case", "MX.Example.TEST", "mx.eXample.test", True),
    ("SID-03-a-label", "xn--mller-kva.example", "xn--mller-kva.example", True),
    ("SID-03-u-label", "m\xfcller.example", "m\xfcller.example", False),
    ("SID-03-kelvin-sign-is-no-k", "\u212aey.example", "key.example", False),
    ("SID-03-long-s-is-no-s", "\u017f.example", "s.example", False),
    ("SID-03-another", "mx.example.test", "mx2.example.test", False),
    ("SID-03-suffix", "example.test", "mx.example.test", False),
    ("SID-03-longer", "mx.example.test", "example.test", False),
    ("underscore", "mx_1.example.test", "mx_1.example.test", True),
    ("DANE-26-SID-04-wildcard", "*.example.test", "mx.example.test", True),
    ("SID-04-wildcard-case", "*.EXAMPLE.test", "mx.example.TEST", True),
    ("SID-04-wildcard-a-label", "*.example.test", "xn--mller-kva.example.test", True),
    ("SID-04-one-label-not-two", "*.example.test", "a.mx.example.test", False),
    ("SID-04-one-label-not-none", "*.example.test", "example.test", False),
    ("SID-04-empty-label", "*.example.test", ".example.test", False),
    ("DANE-26-SID-04-begin", "mx*.example.test", "mx1.example.test", False),
    ("SID-04-begin-f", "f*.example.test", "foo.example.test", False),
    ("SID-04-end", "*x.example.test", "mx.example.test", False),
    ("SID-04-within", "m*x.example.test", "mx.example.test", False),
    ("SID-04-two", "*.*.example.test", "a.mx.example.test", False),
    ("SID-04-second-label", "a.*.example.test", "a.mx.example.test", False),
    ("SID-04-last-label", "mx.example.*", "mx.example.test", False),
    ("SID-04-alone", "*", "localhost", False),
    ("SID-04-top-level", "*.test", "example.test", False),
    ("SID-04-a-star-is-no-host", "*.example.test", "*.example.test", False),
    ("SID-06-nul", "mx.example.test\0.evil.test", "mx.example.test", False),
    ("SID-06-nul-in-both", "mx\0.example.test", "mx\0.example.test", False),
    ("SID-06-newline", "mx.example.test\n", "mx.example.test", False),
    ("SID-06-blank", " mx.example.test", "mx.example.test", False),
    ("SID-06-final-dot", "mx.example.test.", "mx.example.test", False),
    ("SID-06-two-dots", "mx..example.test", "mx..example.test", False),
    ("SID-06-leading-dot", ".example.test", "mx.example.test", False),
    ("SID-06-hyphen-first", "-mx.example.test", "-mx.example.test", False),
    ("SID-06-uri", "https://mx.example.test", "mx.example.test", False),
    ("SID-06-empty", "", "", False),
    ("SID-06-label-of-64", f"{'a' * 64}.test", f"{'a' * 64}.test", False),
    ("SID-06-label-of-63", f"{'a' * 63}.test", f"{'a' * 63}.test", True),
]


@pytest.mark.parametrize(
    ("pattern", "name", "want"), [pytest.param(*row[1:], id=row[0]) for row in NAMES]
)
def test_name_matches(pattern, name, want):
    """RFC 9525 s6.3: label by label, ASCII, ``*`` for exactly the whole first label."""
    assert dane.name_matches(pattern, name) is want


def test_show():
    """A record is shown with its numbers and enough of its data to find it again."""
    assert dane.show(TLSA(3, 1, 1, bytes(range(32)))) == "3 1 1 0001020304050607..."
    assert dane.show(TLSA(2, 0, 0, b"\xab\xcd")) == "2 0 0 abcd"
