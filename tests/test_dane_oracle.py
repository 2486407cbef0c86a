"""Our verdict on TLSA records beside that of OpenSSL's own DANE, over real handshakes.

Each row is a chain that a TLS server on loopback presents, and the records of its DNS.
``openssl s_client -dane_tlsa_domain ... -dane_tlsa_rrdata ...`` judges it, and so does this
package, as a session does: a handshake that verifies nothing, and for usage 2 a second one with
the anchors as only roots. The two must agree; where they do not, DIFFERENCES says so and why.

s_client takes one name; further reference identifiers are in test_dane.py.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from requiretls_client import dane, tls
from requiretls_client.facts import TLSA

MX = "mx.example.test"
OTHER = "other.example.test"
TARGET = "target.example.test"
IDN = "xn--mller-kva.example.test"
OPENSSL = shutil.which("openssl")
# s_client shall accept what our contexts accept, whatever the machine's configuration says.
CIPHERS = "DEFAULT@SECLEVEL=2"

# -- certificates --------------------------------------------------------------------------------

# name -> what is special about it: "by" another one (else self-signed); CA unless it has names.
CERTIFICATES = {
    "root": {},
    "inter": {"by": "root"},
    "sub": {"by": "inter"},
    "stranger": {},
    "leaf1": {"by": "root", "names": [MX]},
    "leaf2": {"by": "inter", "names": [MX]},
    "leaf3": {"by": "sub", "names": [MX]},
    "self": {"names": [MX]},
    "self-expired-other": {"names": [OTHER], "expired": True},
    "no-names": {"names": []},
    "root-renewed": {"like": "root"},
    "leaf2-expired": {"by": "inter", "names": [MX], "expired": True},
    "leaf2-future": {"by": "inter", "names": [MX], "future": True},
    "leaf2-other": {"by": "inter", "names": [OTHER]},
    "leaf2-both": {"by": "inter", "names": [OTHER, MX]},
    "leaf2-client": {"by": "inter", "names": [MX], "purpose": ExtendedKeyUsageOID.CLIENT_AUTH},
    "leaf2-any-purpose": {"by": "inter", "names": [MX], "purpose": None},
    "leaf2-bare": {"by": "inter", "names": [MX], "identifiers": False},
    "leaf2-wild": {"by": "inter", "names": ["*.example.test"]},
    "leaf2-wild-top": {"by": "inter", "names": ["*.test"]},
    "leaf2-wild-part": {"by": "inter", "names": ["m*.example.test"]},
    "leaf2-wild-end": {"by": "inter", "names": ["*x.example.test"]},
    "leaf2-wild-inside": {"by": "inter", "names": ["mx.*.test"]},
    "leaf2-wild-twice": {"by": "inter", "names": ["*.*.test"]},
    "leaf2-star": {"by": "inter", "names": ["*"]},
    "leaf2-upper": {"by": "inter", "names": ["MX.Example.TEST"]},
    "leaf2-dot": {"by": "inter", "names": [f"{MX}."]},
    "leaf2-nul": {"by": "inter", "names": [f"{MX}\0.evil.test"]},
    "leaf2-blank": {"by": "inter", "names": [f"{MX} "]},
    "leaf2-idn": {"by": "inter", "names": [IDN]},
    "leaf2-u-label": {"by": "inter", "names": ["m\xfcller.example.test"]},
    "leaf2-latin-1": {"by": "inter", "names": [b"m\xfcller.example.test", MX]},
    "leaf2-cn-only": {"by": "inter", "names": [], "cn": MX},
    "leaf2-cn-beside": {"by": "inter", "names": [OTHER], "cn": MX},
    "root-expired": {"expired": True},
    "leaf-of-root-expired": {"by": "root-expired", "names": [MX]},
    "inter-expired": {"by": "root", "expired": True},
    "leaf-of-inter-expired": {"by": "inter-expired", "names": [MX]},
    "root-pathlen0": {"pathlen": 0},
    "inter-too-deep": {"by": "root-pathlen0"},
    "leaf-too-deep": {"by": "inter-too-deep", "names": [MX]},
    "leaf-of-pathlen0": {"by": "root-pathlen0", "names": [MX]},
    "root-no-usage": {"usage": None},
    "leaf-of-no-usage": {"by": "root-no-usage", "names": [MX]},
    "root-wrong-usage": {"usage": "digital_signature"},
    "leaf-of-wrong-usage": {"by": "root-wrong-usage", "names": [MX]},
    "root-bare": {"identifiers": False},
    "leaf-bare": {"by": "root-bare", "names": [MX], "identifiers": False},
    "no-ca": {"by": "root", "ca": False},
    "leaf-of-no-ca": {"by": "no-ca", "names": [MX]},
    "silent": {"by": "root", "ca": None, "usage": None},
    "leaf-of-silent": {"by": "silent", "names": [MX]},
    "leaf-of-leaf": {"by": "leaf1", "names": [MX]},
    "v1-root": {"version": 1},
    "leaf-of-v1": {"by": "v1-root", "names": [MX]},
    "ed-root": {"key": "ed25519"},
    "ed-inter": {"by": "ed-root", "key": "ed25519"},
    "ed-leaf": {"by": "ed-inter", "key": "ed25519", "names": [MX]},
    "rsa-root": {"key": "rsa2048"},
    "rsa-inter": {"by": "rsa-root"},
    "pss-inter": {"by": "rsa-root", "pss": True},
    "sha1-inter": {"by": "rsa-root", "sha1": True},
    "rsa-leaf": {"by": "rsa-inter", "key": "rsa2048", "names": [MX]},
    "pss-leaf": {"by": "pss-inter", "names": [MX]},
    "leaf-of-sha1": {"by": "sha1-inter", "names": [MX]},
    "sha1-leaf": {"by": "rsa-root", "names": [MX], "sha1": True},
    "weak-root": {"key": "rsa1024"},
    "weak-inter": {"by": "weak-root"},
    "leaf-of-weak": {"by": "weak-inter", "names": [MX]},
    "weak-leaf": {"by": "inter", "key": "rsa1024", "names": [MX]},
}

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@functools.cache
def key_of(name):
    """Return the private key of a certificate."""
    like = CERTIFICATES[name].get("like")
    if like:
        return key_of(like)
    kind = CERTIFICATES[name].get("key", "p256")
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:]))
    return ec.generate_private_key(ec.SECP256R1())


def subject_of(name):
    """Return the subject of a certificate."""
    options = CERTIFICATES[name]
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, options.get("like", name))]
    if "cn" in options:
        parts.append(x509.NameAttribute(NameOID.COMMON_NAME, options["cn"]))
    return x509.Name(parts)


@functools.cache
def certificate(name):
    """Return a certificate of the table."""
    options = CERTIFICATES[name]
    issuer = options.get("by", name)
    signing_key = key_of(issuer)
    builder = x509.CertificateBuilder(subject_of(issuer), subject_of(name))
    builder = builder.public_key(key_of(name).public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(NOW + DAY if options.get("future") else NOW - 9 * DAY)
    builder = builder.not_valid_after(NOW - DAY if options.get("expired") else NOW + 999 * DAY)
    for extension in extensions(name, issuer):
        builder = builder.add_extension(extension, critical=False)
    digest = None if isinstance(signing_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if options.get("pss") else None
    signed = builder.sign(signing_key, digest, rsa_padding=pss)
    if options.get("sha1"):
        return with_sha1(signed, signing_key)
    return without_extensions(signed, signing_key) if options.get("version") == 1 else signed


def with_sha1(signed, key):
    """Return an RSA-signed certificate signed with SHA-1 instead, which cryptography will not."""
    sha256, sha1 = (bytes.fromhex(f"2a864886f70d0101{last}") for last in ("0b", "05"))
    content = signed.tbs_certificate_bytes.replace(sha256, sha1)
    signature = key.sign(content, padding.PKCS1v15(), hashes.SHA1())
    whole = signed.public_bytes(serialization.Encoding.DER).replace(sha256, sha1)
    return x509.load_der_x509_certificate(whole.replace(signed.signature, signature))


def without_extensions(signed, key):
    """Return a certificate made anew in version 1, which cryptography will not."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = signed.public_key().public_bytes(serialization.Encoding.DER, form)
    content = signed.tbs_certificate_bytes
    version = b"\xa0\x03\x02\x01\x02"
    content = sequence(
        content[content.index(version) + len(version) : content.index(public) + len(public)]
    )
    signature = b"\0" + key.sign(content, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    value = b"\x03" + bytes([len(signature)]) + signature
    return x509.load_der_x509_certificate(sequence(content + algorithm + value))


def sequence(content):
    """Return a DER SEQUENCE."""
    size = len(content).to_bytes(1 + (len(content) > 0xFF), "big")
    return b"\x30" + (size if len(content) < 0x80 else bytes([0x80 | len(size)]) + size) + content


def extensions(name, issuer):
    """Yield the extensions of a certificate."""
    options = CERTIFICATES[name]
    authority = options.get("ca", "names" not in options)
    if authority is not None:
        yield x509.BasicConstraints(authority, options.get("pathlen") if authority else None)
    usage = options.get("usage", "key_cert_sign")
    if authority and usage:
        others = "content_commitment key_encipherment data_encipherment key_agreement crl_sign"
        flags = dict.fromkeys(f"digital_signature key_cert_sign {others}".split(), False)
        yield x509.KeyUsage(encipher_only=False, decipher_only=False, **{**flags, usage: True})
    if options.get("identifiers", True):
        yield x509.SubjectKeyIdentifier.from_public_key(key_of(name).public_key())
        yield x509.AuthorityKeyIdentifier.from_issuer_public_key(key_of(issuer).public_key())
    if "names" in options:
        purpose = options.get("purpose", ExtendedKeyUsageOID.SERVER_AUTH)
        if purpose:
            yield x509.ExtendedKeyUsage([purpose])
    if options.get("names"):
        # by hand: cryptography refuses some of the names
        names = [each if isinstance(each, bytes) else each.encode() for each in options["names"]]
        value = sequence(b"".join(b"\x82" + bytes([len(each)]) + each for each in names))
        yield x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, value)


def der(name):
    """Return a certificate of the table, DER."""
    return certificate(name).public_bytes(serialization.Encoding.DER)


def tlsa(text):
    """Return the record "usage selector matching name": of that certificate, or wrong after "!"."""
    usage, selector, matching, name = text.split()
    if name.startswith("0x"):
        data = bytes.fromhex(name[2:])
        return TLSA(int(usage), int(selector), int(matching), data)
    data = der(name.lstrip("!"))
    if selector == "1":
        public = certificate(name.lstrip("!")).public_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        data = public.public_bytes(serialization.Encoding.DER, form)
    if matching in ("1", "2"):
        data = {"1": hashlib.sha256, "2": hashlib.sha512}[matching](data).digest()
    if name.startswith("!"):
        data = data[:-1] + bytes([data[-1] ^ 1])
    return TLSA(int(usage), int(selector), int(matching), data)


# -- the rows ------------------------------------------------------------------------------------

GOOD, BAD = True, False
CHAIN = "leaf3 sub inter root"

# id, chain as presented, records, what OpenSSL says, reference identifier
ROWS = [
    *((f"TLSA-03-3-{s}-{m}", "leaf2 inter root", [f"3 {s} {m} leaf2"], GOOD, MX)
      for s in (0, 1) for m in (0, 1, 2)),
    *((f"TLSA-03-2-{s}-{m}", "leaf2 inter root", [f"2 {s} {m} root"], GOOD, MX)
      for s in (0, 1) for m in (0, 1, 2)),
    # B15: the trust anchor at every depth of chains of two, three and four
    *((f"B15-2-{s}-1-{chain.replace(' ', '-')}-at-{anchor}", chain, [f"2 {s} 1 {anchor}"], GOOD, MX)
      for chain in ("leaf1 root", "leaf2 inter root", CHAIN)
      for anchor in chain.split()[1:] for s in (0, 1)),
    ("B15-root-left-out-anchor-below", "leaf3 sub inter", ["2 1 1 inter"], GOOD, MX),
    ("B15-anchor-is-the-only-ca-sent", "leaf3 sub", ["2 0 1 sub"], GOOD, MX),
    ("wrong-order", "leaf3 root inter sub", ["2 0 1 root"], GOOD, MX),
    ("foreign-ca-in-between", "leaf2 stranger inter root", ["2 0 1 root"], GOOD, MX),
    ("foreign-ca-pinned", "leaf2 inter root stranger", ["2 0 1 stranger"], BAD, MX),
    # usage 3
    ("DANE-22-J08-expired-self-signed-other-name", "self-expired-other",
     ["3 1 1 self-expired-other"], GOOD, MX),
    ("DANE-22-not-yet-valid", "leaf2-future inter root", ["3 0 1 leaf2-future"], GOOD, MX),
    ("DANE-22-no-names", "no-names", ["3 1 1 no-names"], GOOD, MX),
    ("DANE-22-client-only", "leaf2-client inter root", ["3 1 1 leaf2-client"], GOOD, MX),
    ("DANE-22-a-ca-as-server", "root", ["3 1 1 root"], GOOD, MX),
    ("3-1-1-wrong-key", "leaf2 inter root", ["3 1 1 leaf1"], BAD, MX),
    ("3-0-1-wrong-certificate", "leaf2 inter root", ["3 0 1 leaf1"], BAD, MX),
    ("3-1-1-one-bit-off", "leaf2 inter root", ["3 1 1 !leaf2"], BAD, MX),
    ("3-1-1-of-the-ca-above", "leaf2 inter root", ["3 1 1 inter"], BAD, MX),
    ("3-0-1-holds-the-digest-of-the-key", "leaf2 inter root", ["3 0 1 leaf2", "3 1 1 leaf1"],
     GOOD, MX),
    ("3-1-1-ed25519", "ed-leaf ed-inter", ["3 1 1 ed-leaf"], GOOD, MX),
    ("3-1-1-rsa-2048", "rsa-leaf rsa-inter", ["3 1 1 rsa-leaf"], GOOD, MX),
    ("3-1-1-rsa-1024", "weak-leaf inter", ["3 1 1 weak-leaf"], BAD, MX),
    ("3-1-1-sha-1-signature", "sha1-leaf rsa-root", ["3 1 1 sha1-leaf"], GOOD, MX),
    # usage 2, the chain
    ("TLSA-04-2-0-0-only-in-the-dns", "leaf2 inter", ["2 0 0 root"], GOOD, MX),
    ("TLSA-04-2-0-0-nothing-else-sent", "leaf1", ["2 0 0 root"], GOOD, MX),
    ("TLSA-04-2-0-0-intermediate-missing", "leaf2", ["2 0 0 root"], BAD, MX),
    ("TLSA-04-2-0-0-intermediate-in-the-dns", "leaf3 sub", ["2 0 0 inter"], GOOD, MX),
    ("TLSA-04-2-0-0-both-in-the-dns", "leaf2", ["2 0 0 root", "2 0 0 inter"], GOOD, MX),
    ("TLSA-04-2-0-0-stranger", "leaf2 inter root", ["2 0 0 stranger"], BAD, MX),
    ("TLSA-05-J10-2-0-1-not-sent", "leaf2 inter", ["2 0 1 root"], BAD, MX),
    ("TLSA-05-J10-2-1-1-not-sent", "leaf2 inter", ["2 1 1 root"], BAD, MX),
    ("TLSA-05-2-0-2-nothing-sent", "leaf1", ["2 0 2 root"], BAD, MX),
    ("intermediate-missing", "leaf3 inter root", ["2 0 1 root"], BAD, MX),
    ("2-1-1-other-certificate-same-key", "leaf2 inter root-renewed", ["2 1 1 root"], GOOD, MX),
    ("2-0-1-other-certificate-same-key", "leaf2 inter root-renewed", ["2 0 1 root"], BAD, MX),
    ("2-0-1-wrong", "leaf2 inter root", ["2 0 1 !root"], BAD, MX),
    ("J10-server-expired", "leaf2-expired inter root", ["2 0 1 root"], BAD, MX),
    ("J10-server-expired-2-1-1", "leaf2-expired inter root", ["2 1 1 inter"], BAD, MX),
    ("not-yet-valid", "leaf2-future inter root", ["2 0 1 root"], BAD, MX),
    ("J10-anchor-expired-2-0-1", "leaf-of-root-expired root-expired", ["2 0 1 root-expired"],
     BAD, MX),
    ("J10-anchor-expired-2-1-1", "leaf-of-root-expired root-expired", ["2 1 1 root-expired"],
     BAD, MX),
    ("J10-anchor-expired-2-0-0", "leaf-of-root-expired", ["2 0 0 root-expired"], BAD, MX),
    ("intermediate-expired", "leaf-of-inter-expired inter-expired root", ["2 0 1 root"], BAD, MX),
    ("TLSA-06-path-length-of-the-anchor", "leaf-too-deep inter-too-deep root-pathlen0",
     ["2 0 1 root-pathlen0"], BAD, MX),
    ("TLSA-06-path-length-2-1-1", "leaf-too-deep inter-too-deep root-pathlen0",
     ["2 1 1 root-pathlen0"], BAD, MX),
    ("TLSA-06-path-length-2-0-0", "leaf-too-deep inter-too-deep", ["2 0 0 root-pathlen0"], BAD,
     MX),
    ("TLSA-06-anchor-below-it", "leaf-too-deep inter-too-deep root-pathlen0",
     ["2 0 1 inter-too-deep"], GOOD, MX),
    ("TLSA-06-path-length-kept", "leaf-of-pathlen0 root-pathlen0", ["2 0 1 root-pathlen0"], GOOD,
     MX),
    ("ca-without-key-usage", "leaf-of-no-usage root-no-usage", ["2 0 1 root-no-usage"], GOOD, MX),
    ("ca-that-may-not-sign", "leaf-of-wrong-usage root-wrong-usage", ["2 0 1 root-wrong-usage"],
     BAD, MX),
    ("ca-of-version-1", "leaf-of-v1 v1-root", ["2 0 1 v1-root"], GOOD, MX),
    ("ca-of-version-1-in-the-dns", "leaf-of-v1", ["2 0 0 v1-root"], GOOD, MX),
    ("no-key-identifiers", "leaf-bare root-bare", ["2 0 1 root-bare"], GOOD, MX),
    ("no-key-identifiers-in-the-leaf", "leaf2-bare inter root", ["2 0 1 root"], GOOD, MX),
    ("anchor-is-no-ca", "leaf-of-no-ca no-ca root", ["2 0 1 no-ca"], BAD, MX),
    ("anchor-does-not-say-ca", "leaf-of-silent silent root", ["2 1 1 silent"], BAD, MX),
    ("below-a-leaf", "leaf-of-leaf leaf1 root", ["2 0 1 root"], BAD, MX),
    ("below-a-pinned-leaf", "leaf-of-leaf leaf1 root", ["2 0 1 leaf1"], BAD, MX),
    ("leaf-as-anchor-2-0-1", "leaf2 inter root", ["2 0 1 leaf2"], BAD, MX),
    ("leaf-as-anchor-2-1-1", "leaf2 inter root", ["2 1 1 leaf2"], BAD, MX),
    ("leaf-as-anchor-2-0-0", "leaf2 inter root", ["2 0 0 leaf2"], BAD, MX),
    ("leaf-as-anchor-sent-twice", "leaf2 leaf2 inter root", ["2 0 1 leaf2"], BAD, MX),
    ("self-signed-leaf-as-anchor-2-0-1", "self", ["2 0 1 self"], BAD, MX),
    ("self-signed-leaf-as-anchor-2-0-0", "self", ["2 0 0 self"], BAD, MX),
    ("self-signed-leaf-as-anchor-twice", "self self", ["2 0 1 self"], BAD, MX),
    ("client-only", "leaf2-client inter root", ["2 0 1 root"], BAD, MX),
    ("any-purpose", "leaf2-any-purpose inter root", ["2 0 1 root"], GOOD, MX),
    ("2-0-1-ed25519", "ed-leaf ed-inter ed-root", ["2 0 1 ed-root"], GOOD, MX),
    ("2-1-1-rsa-2048", "rsa-leaf rsa-inter rsa-root", ["2 1 1 rsa-root"], GOOD, MX),
    ("2-0-1-pss", "pss-leaf pss-inter rsa-root", ["2 0 1 rsa-root"], GOOD, MX),
    ("2-0-1-rsa-1024-leaf", "weak-leaf inter root", ["2 0 1 root"], BAD, MX),
    ("2-0-1-rsa-1024-anchor", "leaf-of-weak weak-inter weak-root", ["2 0 1 weak-root"], BAD, MX),
    ("2-0-1-below-rsa-1024", "leaf-of-weak weak-inter weak-root", ["2 0 1 weak-inter"], GOOD, MX),
    ("2-0-1-sha-1-leaf", "sha1-leaf rsa-root", ["2 0 1 rsa-root"], BAD, MX),
    ("2-0-1-sha-1-intermediate", "leaf-of-sha1 sha1-inter rsa-root", ["2 0 1 rsa-root"], BAD, MX),
    # TLSA-07: a key without a certificate
    ("TLSA-07-2-1-0-ca-sent", "leaf2 inter root", ["2 1 0 root"], GOOD, MX),
    ("TLSA-07-2-1-0-ca-not-sent", "leaf2 inter", ["2 1 0 root"], GOOD, MX),
    ("TLSA-07-2-1-0-only-the-leaf-sent", "leaf1", ["2 1 0 root"], GOOD, MX),
    ("TLSA-07-2-1-0-intermediate-missing", "leaf2", ["2 1 0 root"], BAD, MX),
    ("TLSA-07-2-1-0-wrong-key", "leaf2 inter", ["2 1 0 stranger"], BAD, MX),
    ("TLSA-07-2-1-0-wrong-name", "leaf2-other inter", ["2 1 0 root"], BAD, MX),
    ("TLSA-07-2-1-0-expired", "leaf2-expired inter", ["2 1 0 root"], BAD, MX),
    ("TLSA-07-2-1-0-rsa", "rsa-leaf rsa-inter", ["2 1 0 rsa-root"], GOOD, MX),
    ("TLSA-07-2-1-0-pss", "pss-leaf pss-inter", ["2 1 0 rsa-root"], GOOD, MX),
    ("TLSA-07-2-1-0-ed25519", "ed-leaf ed-inter", ["2 1 0 ed-root"], GOOD, MX),
    ("TLSA-07-2-1-0-sha-1", "leaf-of-sha1 sha1-inter", ["2 1 0 rsa-root"], GOOD, MX),
    ("TLSA-07-2-1-0-rsa-1024", "leaf-of-weak weak-inter", ["2 1 0 weak-root"], GOOD, MX),
    ("TLSA-07-2-1-0-own-key", "self", ["2 1 0 self"], GOOD, MX),
    ("TLSA-07-2-1-0-signed-by-a-leaf", "leaf-of-leaf", ["2 1 0 leaf1"], GOOD, MX),
    # sets of records
    ("TLSA-08-J12-sha-512-wrong-sha-256-right", "leaf2 inter root", ["3 1 2 !leaf2", "3 1 1 leaf2"],
     BAD, MX),
    ("TLSA-08-J12-sha-512-right-sha-256-wrong", "leaf2 inter root", ["3 1 1 !leaf2", "3 1 2 leaf2"],
     GOOD, MX),
    ("TLSA-08-2-sha-512-wrong-sha-256-right", "leaf2 inter root", ["2 0 1 root", "2 0 2 !root"],
     BAD, MX),
    ("TLSA-08-other-selector", "leaf2 inter root", ["3 0 2 !leaf2", "3 1 1 leaf2"], GOOD, MX),
    ("TLSA-08-other-usage", "leaf2 inter root", ["3 1 2 !leaf2", "2 1 1 root"], GOOD, MX),
    ("TLSA-08-whole-beside-a-digest", "leaf2 inter root", ["3 1 2 !leaf2", "3 1 0 leaf2"], GOOD,
     MX),
    ("TLSA-08-unusable-sha-512", "leaf2 inter root", ["3 1 2 0xabcd", "3 1 1 leaf2"], GOOD, MX),
    ("TLSA-10-last-of-three", "leaf2 inter root", ["3 1 1 leaf1", "3 0 1 leaf1", "2 0 1 root"],
     GOOD, MX),
    ("TLSA-10-none-of-three", "leaf2 inter root", ["3 1 1 leaf1", "3 1 1 leaf3", "2 0 1 sub"], BAD,
     MX),
    ("TLSA-10-3-matches-and-2-does-not", "leaf2 inter", ["2 0 1 root", "3 1 1 leaf2"], GOOD, MX),
    ("TLSA-10-3-matches-wrong-name", "leaf2-other inter root",
     ["2 0 1 root", "3 1 1 leaf2-other"], GOOD, MX),
    ("TLSA-02-J07-unusable-beside-a-match", "leaf2 inter root",
     ["3 2 1 leaf2", "3 1 9 leaf2", "3 1 1 0x00", "3 0 0 0x3000", "3 1 1 leaf2"], GOOD, MX),
    ("TLSA-02-J07-unusable-beside-a-mismatch", "leaf2 inter root",
     ["3 2 1 leaf2", "3 1 1 leaf1"], BAD, MX),
    ("TLSA-02-J06-only-unusable", "leaf2 inter root", ["3 2 1 leaf2", "3 1 1 0x00"], BAD, MX),
    ("TLSA-09-pkix-ee", "leaf2 inter root", ["1 1 1 leaf2"], BAD, MX),
    ("TLSA-09-pkix-ta", "leaf2 inter root", ["0 0 1 root"], BAD, MX),
    ("TLSA-02-usage-255", "leaf2 inter root", ["255 1 1 leaf2"], BAD, MX),
    # names, usage 2
    ("DANE-26-wrong-name", "leaf2-other inter root", ["2 0 1 root"], BAD, MX),
    ("DANE-26-second-name", "leaf2-both inter root", ["2 0 1 root"], GOOD, MX),
    ("SID-03-case", "leaf2-upper inter root", ["2 0 1 root"], GOOD, MX),
    ("SID-03-a-label", "leaf2-idn inter root", ["2 0 1 root"], GOOD, IDN),
    ("SID-03-a-label-under-a-wildcard", "leaf2-wild inter root", ["2 0 1 root"], GOOD, IDN),
    ("SID-03-u-label-in-the-certificate", "leaf2-u-label inter root", ["2 0 1 root"], BAD, IDN),
    ("SID-06-not-even-utf-8", "leaf2-latin-1 inter root", ["2 0 1 root"], GOOD, MX),
    ("DANE-26-wildcard", "leaf2-wild inter root", ["2 0 1 root"], GOOD, MX),
    ("SID-04-wildcard-is-one-label", "leaf2-wild inter root", ["2 0 1 root"], BAD,
     "a.mx.example.test"),
    ("SID-04-wildcard-is-not-none", "leaf2-wild inter root", ["2 0 1 root"], BAD, "example.test"),
    ("SID-04-wildcard-under-the-top", "leaf2-wild-top inter root", ["2 0 1 root"], BAD,
     "example.test"),
    ("SID-04-begin-of-a-label", "leaf2-wild-part inter root", ["2 0 1 root"], GOOD, MX),
    ("SID-04-end-of-a-label", "leaf2-wild-end inter root", ["2 0 1 root"], GOOD, MX),
    ("SID-04-inside", "leaf2-wild-inside inter root", ["2 0 1 root"], BAD, MX),
    ("SID-04-twice", "leaf2-wild-twice inter root", ["2 0 1 root"], BAD, MX),
    ("SID-04-alone", "leaf2-star inter root", ["2 0 1 root"], BAD, MX),
    ("SID-06-final-dot", "leaf2-dot inter root", ["2 0 1 root"], BAD, MX),
    ("SID-06-nul", "leaf2-nul inter root", ["2 0 1 root"], BAD, MX),
    ("SID-06-blank", "leaf2-blank inter root", ["2 0 1 root"], BAD, MX),
    ("DANE-26-cn-only", "leaf2-cn-only inter root", ["2 0 1 root"], GOOD, MX),
    ("DANE-26-cn-beside-another-name", "leaf2-cn-beside inter root", ["2 0 1 root"], BAD, MX),
]  # fmt: skip

# id -> why our verdict is the other one
DIFFERENCES = {
    "TLSA-07-2-1-0-sha-1": "s_client does not look at how a bare key signed; SHA-1 is too weak",
    "TLSA-07-2-1-0-rsa-1024": "s_client does not look at the strength of a bare key",
    "DANE-26-cn-only": "SID-02: a common name is never an identity (RFC 9525 s2)",
    "SID-04-begin-of-a-label": "s_client takes partial wildcards; RFC 9525 s6.3 forbids them",
    "SID-04-end-of-a-label": "s_client takes partial wildcards; RFC 9525 s6.3 forbids them",
    "SID-06-not-even-utf-8": "ssl cannot read the names of such a certificate at all",
}

# -- the two sides -------------------------------------------------------------------------------


class Peer:
    """A TLS server on loopback that presents one chain, as weak as it may be."""

    def __init__(self, chain, folder):
        """Start it; the first certificate is the server's."""
        names = chain.split()
        path = folder / f"{len(list(folder.iterdir()))}.pem"
        key = key_of(names[0]).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        pem = [certificate(each).public_bytes(serialization.Encoding.PEM) for each in names]
        path.write_bytes(key + b"".join(pem))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_ciphers("DEFAULT:@SECLEVEL=0")
        self.context.load_cert_chain(path)
        self.asked = []  # the names of the clients' SNI
        self.context.sni_callback = lambda _sock, name, _context: self.asked.append(name)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        """Serve one client after the other until close()."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(10)
            with sock, contextlib.suppress(OSError):
                wrapped = self.context.wrap_socket(sock, server_side=True)
                with wrapped:
                    wrapped.recv(1)  # until the client has seen enough

    def close(self):
        """Stop it."""
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self.thread.join(10)
        self.listener.close()


def ask_openssl(port, records, name):
    """Return what s_client says: whether it accepts the server, and its words."""
    command = [OPENSSL, "s_client", "-connect", f"127.0.0.1:{port}", "-brief"]
    command += ["-verify_return_error", "-dane_ee_no_namechecks", "-cipher", CIPHERS]
    command += ["-no-CAfile", "-no-CApath", "-no-CAstore", "-dane_tlsa_domain", name]
    for record in records:
        numbers = f"{record.usage} {record.selector} {record.matching}"
        command += ["-dane_tlsa_rrdata", f"{numbers} {record.data.hex()}"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
    )
    words = (done.stdout + done.stderr).decode(errors="replace")
    return done.returncode == 0 and "DANE TLSA" in words and "Verification: OK" in words, words


def shake(port, context, name):
    """Return the facts of one handshake of ours."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    wrapped, facts = tls.wrap(context, sock, name, chain=True)
    wrapped.close()
    return facts


def ask_ourselves(port, records, name):
    """Return our own match, made as a session makes it."""
    facts = shake(port, tls.encrypting_context(), name)
    found = dane.match(records, facts, (name,))
    trusted = dane.anchors(records, facts.presented)
    if found.ok or not trusted:
        return found
    try:
        facts = shake(port, tls.anchor_context(trusted), name)
    except ssl.SSLCertVerificationError as error:
        return dane.Match(False, error.verify_message)
    return dane.match(records, facts, (name,))


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    """Return a function from a chain to the server that presents it."""
    folder, started = tmp_path_factory.mktemp("peers"), {}

    def peer(chain):
        if chain not in started:
            started[chain] = Peer(chain, folder)
        return started[chain]

    yield peer
    for each in started.values():
        each.close()


@pytest.fixture(scope="module")
def oracle(peers):
    """Return what OpenSSL says to every row: id -> a future; asked side by side."""
    if OPENSSL is None:
        text = "left out: the openssl command is not installed"
        if os.environ.get("REQUIRETLS_REAL_REQUIRED") == "1":
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
    with ThreadPoolExecutor(4) as pool:
        yield {
            row: pool.submit(ask_openssl, peers(chain).port, [*map(tlsa, records)], name)
            for row, chain, records, _, name in ROWS
        }


@pytest.mark.parametrize(
    ("row", "chain", "records", "want", "name"), [pytest.param(*row, id=row[0]) for row in ROWS]
)
def test_agrees_with_openssl(oracle, peers, row, chain, records, want, name):
    """OpenSSL judges each row as the table says, and we the same, but for DIFFERENCES."""
    accepted, words = oracle[row].result()
    assert accepted is want, words
    ours = ask_ourselves(peers(chain).port, tuple(map(tlsa, records)), name)
    assert ours.ok is (want != (row in DIFFERENCES)), ours.text
    assert (ours.record in map(tlsa, records)) is ours.ok
    assert bool(ours.by) is ours.ok


@pytest.mark.parametrize(
    ("record", "want"),
    [("2 1 1 inter", GOOD), ("2 0 1 root", GOOD), ("2 0 1 stranger", BAD), ("2 0 1 leaf2", BAD)],
)
def test_chain_verified_with_other_roots(peers, record, want):
    """A chain that PKIX verified serves usage 2 as well, if the pinned CA is in it."""
    context = tls.client_context()
    context.load_verify_locations(cadata=der("root"))
    facts = shake(peers("leaf2 inter").port, context, MX)
    assert facts.presented == (der("leaf2"), der("inter"))
    assert facts.verified == (der("leaf2"), der("inter"), der("root"))
    assert dane.match((tlsa(record),), facts, (MX,)).ok is want


def test_server_name_indication(peers):
    """DANE-28: the name that is asked for, the TLSA base domain, is the SNI of both handshakes."""
    peer = peers("leaf2 inter")
    before = len(peer.asked)
    for context in (tls.encrypting_context(), tls.anchor_context([der("inter")])):
        assert shake(peer.port, context, TARGET).server_hostname == TARGET
    assert peer.asked[before:].count(TARGET) == 2


@pytest.mark.parametrize(
    ("leaf", "names"),
    [
        ("leaf2-both", (OTHER, MX)),
        ("leaf2-upper", (MX,)),
        ("leaf2-u-label", ()),
        ("leaf2-latin-1", ()),
        ("leaf2-cn-only", ()),
    ],
)
def test_names(peers, leaf, names):
    """SID-06: names beyond ASCII are left out; where ssl cannot read them there are none."""
    facts = shake(peers(f"{leaf} inter root").port, tls.anchor_context([der("root")]), MX)
    assert facts.names == names


def test_rows():
    """The table has what was promised, each row once, and no difference without its row."""
    ids = [row[0] for row in ROWS]
    assert len(ids) == len(set(ids)) >= 60
    assert set(DIFFERENCES) <= set(ids)
