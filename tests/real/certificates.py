"""The certificates of all real servers: one authority that tests trust, one that they do not."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from requiretls_client.testing import CA, Certificate


class RealCA:
    """The authority that tests trust.

    Attributes:
        path: its certificate, a PEM file.
    """

    def __init__(self, folder: Path) -> None:
        """Write the authority's certificate into `folder`."""
        self._authority = CA()
        self._stranger = CA()
        self.path = folder / "ca.pem"
        self.path.write_bytes(self._authority.pem)

    def context(self) -> ssl.SSLContext:
        """Return a new client context that verifies and trusts only this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.path)
        return context

    def issue(self, *names: str, trusted: bool = True, expired: bool = False) -> Certificate:
        """Return a certificate, from an authority nobody trusts if asked."""
        authority = self._authority if trusted else self._stranger
        return authority.issue(*names, expired=expired)


def bundle(certificate: Certificate) -> bytes:
    """Return key, certificate and chain in one PEM text."""
    return certificate.key + certificate.pem + certificate.chain


def tlsa(certificate: Certificate, numbers: str) -> str:
    """Return a TLSA record that fits the certificate (RFC 6698 s2.1).

    Args:
        certificate: what the server presents.
        numbers: usage, selector and matching type, such as ``3 1 1``. Usages 0 and 2 are of
            the authority at the top.
    """
    usage, selector, matching = numbers.split()
    of_authority = usage in ("0", "2")
    parsed = x509.load_pem_x509_certificate(certificate.ca.pem if of_authority else certificate.pem)
    if selector == "0":
        data = parsed.public_bytes(Encoding.DER)
    else:
        data = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digests = {"0": bytes, "1": _sha256, "2": _sha512}
    return f"{numbers} {digests[matching](data).hex()}"


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _sha512(data: bytes) -> bytes:
    return hashlib.sha512(data).digest()
