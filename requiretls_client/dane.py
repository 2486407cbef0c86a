"""DANE: which TLSA records can be used, and whether a finished handshake matches one of them.

Pure: no clock, no socket, no DNS. That the records are DNSSEC-secure is known before; the chains
and their dates were verified by OpenSSL in the handshake that :class:`TLSFacts` tells of. Here the
certificates of that handshake are held against the records, and names against the certificate.
RFC 6698, RFC 7671 (updates it) and RFC 7672 (SMTP); names by RFC 9525.

Usage 3 (DANE-EE) pins the server's own certificate or key and ignores its names and dates; one
handshake that verifies nothing is enough. Usage 2 (DANE-TA) pins a CA. For it :func:`anchors` says
from a first handshake which certificates to trust, and a second one, verified with only those as
roots, is held against the records. A chain verified with other roots serves as well, if the pinned
CA is in it.

Usages 0 and 1 are not supported, as RFC 7672 section 3.1.3 allows; they never authenticate.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from requiretls_client.certificate import (
    is_authority,
    is_certificate,
    is_key,
    is_signed_by,
    is_strong,
    public_key,
)
from requiretls_client.facts import TLSA, TLSFacts

TA, EE = 2, 3  # usages, RFC 7218 s2.1
CERTIFICATE, KEY = 0, 1  # selectors
FULL, SHA256, SHA512 = 0, 1, 2  # matching types

_DIGESTS = {SHA256: hashlib.sha256, SHA512: hashlib.sha512}
_DIGEST_SIZES = {SHA256: 32, SHA512: 64}

# A host name in ASCII (RFC 9525 s2); underscores as local networks have them.
_LABEL = r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# `*` is the whole first label and stands before two others at least, as OpenSSL has it: nobody
# holds a certificate for all of ``*.com``.
_PATTERN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|\*(?:\.{_LABEL}){{2,}}")

_SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class Match:
    """Whether a handshake is authenticated by DANE.

    Attributes:
        ok: a usable record matches, and of usage 2 also a name.
        text: what matched, or why nothing did, as a clause for people.
        record: the record that matched, else None.
        by: ``DANE-EE`` (usage 3), ``DANE-TA`` (usage 2), or "".
    """

    ok: bool
    text: str
    record: TLSA | None = None
    by: str = ""


def usable(records: Iterable[TLSA]) -> tuple[TLSA, ...]:
    """Return the records that can authenticate a server, in their order.

    Left out (RFC 6698 s4.1, RFC 7671 s4, RFC 7672 s3.1): usages other than 2 and 3, unknown
    selectors and matching types, digests of the wrong length, whole certificates and keys that
    cannot be read, and ``2 0 0`` with a certificate that is no CA.

    Digest agility (RFC 7671 s9): for each usage and selector the whole data and the strongest
    digest count; a SHA-256 beside a SHA-512 does not. The order is fixed, SHA-512 is the stronger.

    Args:
        records: one TLSA RRset, as published.
    """
    good = [record for record in records if _is_usable(record)]
    strongest: dict[tuple[int, int], int] = {}
    for record in good:
        kind = record.usage, record.selector
        strongest[kind] = max(strongest.get(kind, FULL), record.matching)
    return tuple(
        record
        for record in good
        if record.matching in (FULL, strongest[record.usage, record.selector])
    )


def anchors(records: tuple[TLSA, ...], presented: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the certificates to trust as the only roots of a handshake for usage 2.

    These are the presented certificates that a record names; those that stand whole in the DNS
    (RFC 7671 s5.2.2); and those signed with a bare key of the DNS (``2 1 0``, s5.2.3), whose own
    certificate the server may leave out. The last can be the server's certificate itself. Signed
    with SHA-1, or with a key below 112 bits, they are not taken.

    Args:
        records: of the server, usable or not.
        presented: the chain as the server sent it, DER, the leaf first.

    Returns:
        DER, each once. Empty: usage 2 cannot succeed with this server now.
    """
    found: dict[bytes, None] = {}
    for record in usable(records):
        if record.usage != TA:
            continue
        found.update((each, None) for each in presented[1:] if _names(record, each))
        if (record.selector, record.matching) == (CERTIFICATE, FULL):
            found[record.data] = None
        found.update((each, None) for each in presented if _signed(record, each))
    return tuple(found)


def match(records: tuple[TLSA, ...], tls: TLSFacts, names: tuple[str, ...]) -> Match:
    """Decide whether a handshake is authenticated by one of the records; one is enough.

    Usage 3 (RFC 7672 s3.1.1): the server's certificate or key; its names and dates do not count.
    OpenSSL did not look at the strength of that key, so it is looked at here (SECLEVEL=2: 112
    bits). Usage 2 (s3.1.2): a CA in the verified chain, and a name of the certificate that is
    among ``names``; everything else about that chain, strength too, is OpenSSL's verification.

    Args:
        records: of the server, secure ones; those that are not usable do not count.
        tls: facts of the finished handshake, with its chains.
        names: reference identifiers for usage 2 in order (s3.2.2): A-labels, lower case.

    Returns:
        A match, or the reason against it. Never raises for anything that a server or the DNS says.
    """
    records = usable(records)
    if not records:
        return Match(False, "no TLSA record is usable")
    if tls.session_reused:
        return Match(False, "the TLS session was resumed, so no certificate was seen")
    if not tls.presented:
        return Match(False, "the server's certificate is not known")
    by_key = _match_server(records, tls.presented[0])
    if by_key and by_key.ok:
        return by_key
    by_ca = _match_ca(records, tls, names)
    return by_ca or by_key or Match(False, _why_not(records, tls))


def name_matches(pattern: str, name: str) -> bool:
    """Tell whether a dNSName of a certificate covers a host name (RFC 9525 s6.3).

    ASCII case does not count. ``*`` stands for exactly one label, as the whole first label
    before at least two others. A pattern with any other ``*``, a final dot, a control character
    or anything beyond ASCII (U-labels too) covers nothing.

    Args:
        pattern: from the certificate.
        name: A-labels without the final dot.
    """
    if not pattern.isascii():  # before lower(), which makes a "k" of the Kelvin sign
        return False
    pattern, name = pattern.lower(), name.lower()
    if not _PATTERN.fullmatch(pattern) or not _NAME.fullmatch(name):
        return False
    if pattern.startswith("*."):
        return pattern[1:] == name[len(name.partition(".")[0]) :]
    return pattern == name


def show(record: TLSA) -> str:
    """Return a record for people, its data shortened: ``3 1 1 0123456789abcdef...``."""
    data = record.data.hex()
    data = data if len(data) <= 16 else f"{data[:16]}..."
    return f"{record.usage} {record.selector} {record.matching} {data}"


# -- records -------------------------------------------------------------------------------------


def _is_usable(record: TLSA) -> bool:
    if record.usage not in (TA, EE) or record.selector not in (CERTIFICATE, KEY):
        return False
    if record.matching != FULL:
        return len(record.data) == _DIGEST_SIZES.get(record.matching)
    if record.selector == KEY:
        return is_key(record.data)
    if record.usage == TA:
        return is_authority(record.data)
    return is_certificate(record.data)


def _names(record: TLSA, certificate: bytes) -> bool:
    """Tell whether a usable record names this certificate, or its key (RFC 6698 s2.1)."""
    selected = certificate if record.selector == CERTIFICATE else public_key(certificate)
    if selected is None:
        return False
    if record.matching == FULL:
        return selected == record.data
    return _DIGESTS[record.matching](selected).digest() == record.data


def _signed(record: TLSA, certificate: bytes) -> bool:
    """Tell whether a certificate is signed with the bare key of a ``2 1 0`` record."""
    bare = (record.usage, record.selector, record.matching) == (TA, KEY, FULL)
    return bare and is_signed_by(certificate, record.data)


# -- the decision --------------------------------------------------------------------------------


def _match_server(records: tuple[TLSA, ...], certificate: bytes) -> Match | None:
    """Hold the server's certificate against usage 3; None when no record names it."""
    for record in records:
        if record.usage == EE and _names(record, certificate):
            what = "certificate" if record.selector == CERTIFICATE else "key"
            text = f"TLSA {show(record)} matches the server's {what}"
            if not is_strong(public_key(certificate)):
                return Match(False, f"{text}, but the key is weaker than 112 bits")
            return Match(True, text, record, "DANE-EE")
    return None


def _match_ca(records: tuple[TLSA, ...], tls: TLSFacts, names: tuple[str, ...]) -> Match | None:
    """Hold the verified chain against usage 2; None when no record names a CA in it."""
    if not (tls.verify_required and tls.verified):
        return None
    for record in records:
        if record.usage != TA:
            continue
        if any(_names(record, each) for each in tls.verified[1:]):
            text = f"TLSA {show(record)} matches a CA of the verified chain"
        elif _signed(record, tls.verified[-1]):
            text = f"TLSA {show(record)} is the key that signed the verified chain"
        else:
            continue
        for name in names:
            if any(name_matches(pattern, name) for pattern in tls.names):
                return Match(True, f"{text}, and the certificate names {name}", record, "DANE-TA")
        return Match(False, f"the certificate names {_shown(tls.names)}, not {' or '.join(names)}")
    return None


def _why_not(records: tuple[TLSA, ...], tls: TLSFacts) -> str:
    """Say why no record matched."""
    if not tls.verified and anchors(records, tls.presented):
        return "TLSA records name a CA, and the server's chain to it was not verified"
    shown = ", ".join(show(record) for record in records[:3])
    more = f" and {len(records) - 3} more" if len(records) > 3 else ""
    return f"no TLSA record matches the server's certificate ({shown}{more})"


def _shown(names: tuple[str, ...]) -> str:
    """Return the names of a certificate for people; only what looks like one."""
    good = [name for name in names if name.isascii() and _PATTERN.fullmatch(name.lower())]
    if not good:
        return "no host"
    more = "" if len(good) <= _SHOWN_NAMES else f" and {len(good) - _SHOWN_NAMES} more"
    return ", ".join(name[:253] for name in good[:_SHOWN_NAMES]) + more
