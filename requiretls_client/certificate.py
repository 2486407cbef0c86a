"""What DANE reads in certificates and keys: DER in, yes or no out.

Pure. Nothing here builds or verifies a chain; OpenSSL does that in the handshake. Every argument
may come from a stranger: what cannot be read is "no" or None, never an exception. RFC 5280.
cryptography is imported when the first certificate is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from requiretls_client.evidence import CertificateFacts

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes


def is_certificate(der: bytes) -> bool:
    """Tell whether this is one certificate and nothing else."""
    return _load(der) is not None


def is_authority(der: bytes) -> bool:
    """Tell whether this is a CA's certificate; OpenSSL looks closer when it builds a chain."""
    from cryptography import x509

    certificate = _load(der)
    if certificate is None:
        return False
    if certificate.version is x509.Version.v1:  # has no extensions to say so
        return True
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (
        ValueError,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.UnsupportedGeneralNameType,
    ):
        return False


def is_key(der: bytes) -> bool:
    """Tell whether this is one SubjectPublicKeyInfo and nothing else."""
    return _load_key(der) is not None


def public_key(certificate: bytes) -> bytes | None:
    """Return the SubjectPublicKeyInfo as it stands in a certificate; None if that is no DER.

    It is cut out, not encoded anew from a parsed key: digests in the DNS are over the very octets
    (RFC 6698 s1.3), and parsers drop parameters (RSASSA-PSS).
    """
    try:
        ((tag, _, content),) = _elements(certificate)
        fields = list(_elements(content))
        inner = list(_elements(fields[0][2]))
    except (ValueError, IndexError):
        return None
    if inner and inner[0][0] == 0xA0:  # version
        del inner[0]
    # s4.1: serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
    tags = [tag, fields[0][0], *(each[0] for each in inner[:6])]
    if tags != [0x30, 0x30, 0x02, 0x30, 0x30, 0x30, 0x30, 0x30]:
        return None
    return inner[5][1]


def is_strong(key: bytes | None) -> bool:
    """Tell whether a key has 112 bits of security, as OpenSSL demands at SECLEVEL=2.

    NIST SP 800-57: RSA from 2048 bits, elliptic curves from 224.

    Args:
        key: a SubjectPublicKeyInfo, or None, which is not strong.
    """
    return key is not None and _is_strong(_load_key(key))


def is_signed_by(certificate: bytes, key: bytes) -> bool:
    """Tell whether a certificate is signed with a key, both strong enough (no SHA-1 either).

    Args:
        certificate: DER. Its issuer is not looked at: a bare key has no name.
        key: a SubjectPublicKeyInfo.
    """
    signer, signed = _load_key(key), _load(certificate)
    return signed is not None and _is_strong(signer) and _verify(signed, signer)


def describe(der: bytes) -> CertificateFacts | None:
    """Return what a certificate says of itself; None of what is none."""
    certificate = _load(der)
    if certificate is None:
        return None
    try:
        return CertificateFacts(
            certificate.subject.rfc4514_string(),
            certificate.issuer.rfc4514_string(),
            _names(certificate),
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
        )
    except ValueError:  # cryptography reads some parts only when they are asked for
        return None


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the dNSNames and IP addresses of the subjectAltName."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = names.get_values_for_type(x509.IPAddress)
        return (*names.get_values_for_type(x509.DNSName), *map(str, addresses))
    except (
        ValueError,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.UnsupportedGeneralNameType,
    ):
        return ()


def _elements(der: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (tag, the element, its content) of each DER element in a row.

    Raises:
        ValueError: not DER: cut off, or a length that is indefinite or longer than it must be.
            Two readers could take such an encoding for two different keys.
    """
    while der:
        tag, size, start = der[0], der[1] if len(der) > 1 else 0x80, 2
        if size > 0x7F:
            start += size & 0x7F
            size = int.from_bytes(der[2:start], "big")
            if size <= 0x7F or der[2] == 0:
                raise ValueError("not DER")
        if tag & 0x1F == 0x1F or len(der) < start + size:
            raise ValueError("not DER")
        yield tag, der[: start + size], der[start : start + size]
        der = der[start + size :]


def _load(der: bytes) -> x509.Certificate | None:
    from cryptography import x509

    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion):
        return None


def _load_key(der: bytes) -> PublicKeyTypes | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        return load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return None


def _is_strong(key: PublicKeyTypes | None) -> bool:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= 2048
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.key_size >= 224
    return isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey))


def _verify(certificate: x509.Certificate, key: PublicKeyTypes | None) -> bool:
    """Verify the signature of a certificate; keys that cannot have made it are "no" too."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

    signature, content = certificate.signature, certificate.tbs_certificate_bytes
    try:
        digest = certificate.signature_hash_algorithm
        how = certificate.signature_algorithm_parameters
        if isinstance(digest, (hashes.SHA1, hashes.MD5)):
            return False
        if isinstance(key, rsa.RSAPublicKey) and digest is not None:
            if not isinstance(how, (padding.PKCS1v15, padding.PSS)):
                return False
            key.verify(signature, content, how, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(how, ec.ECDSA):
            key.verify(signature, content, how)
        elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            key.verify(signature, content)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
