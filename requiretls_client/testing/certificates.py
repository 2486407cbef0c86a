"""Throw-away certificates for the test server, good ones and those that a client must refuse.

Keys are made in memory; trustme and cryptography are imported when the first one is. RFC 5280,
names by RFC 9525.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import ipaddress
import os
import secrets
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias, cast

if TYPE_CHECKING:
    import trustme
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

_Key: TypeAlias = "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey"

_PAST = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_FUTURE = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server certificate with its private key.

    Attributes:
        pem: the certificate alone.
        chain: what the server presents behind it: the intermediate CAs, lowest first.
        key: the private key, PEM.
        ca: the CA whose trust makes it valid.
    """

    pem: bytes
    chain: bytes
    key: bytes
    ca: CA

    def context(self) -> ssl.SSLContext:
        """Return a new server-side context presenting it; weak keys and digests included."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # to refuse is the client's part
        # ssl reads certificates from files only, python/cpython#60691.
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "server.pem")
            with open(path, "wb") as file:
                file.write(self.key + self.pem + self.chain)
            context.load_cert_chain(path)
        return context


class CA:
    """A certificate authority that nobody trusts, until a test says so.

    A certificate of another ``CA()`` plays the untrusted one.
    """

    def __init__(self, *, _authority: trustme.CA | None = None, _parent: CA | None = None) -> None:
        """Make the keys (EC P-256).

        Raises:
            ImportError: trustme is missing.
        """
        self._authority = _authority or _trustme().CA()
        self._parent = _parent

    @property
    def pem(self) -> bytes:
        """The CA's own certificate, PEM: for ``SSL_CERT_FILE`` and the like."""
        return self._authority.cert_pem.bytes()

    @property
    def root(self) -> CA:
        """The CA at the top: itself, unless it is a :meth:`child`."""
        return self._parent.root if self._parent else self

    def context(self) -> ssl.SSLContext:
        """Return a new client context as strict as the package's own, trusting only this CA."""
        from requiretls_client import tls

        context = tls.client_context()
        context.load_verify_locations(cadata=self.pem.decode("ascii"))
        return context

    def child(self) -> CA:
        """Return an intermediate CA signed by this one."""
        return CA(_authority=self._authority.create_child_ca(), _parent=self)

    def issue(
        self,
        *names: str,
        common_name: str | None = None,
        expired: bool = False,
        not_yet: bool = False,
        client_only: bool = False,
        weak_key: bool = False,
        self_signed: bool = False,
        with_chain: bool = True,
    ) -> Certificate:
        """Issue a certificate; by default a good one, for a server, valid for centuries.

        Args:
            names: subject alternative names: IP addresses, or DNS names in ASCII, taken as they
                are (``"f*.example.test"`` too). None at all leaves the extension out.
            common_name: CN of the subject; without ``names`` the only name there is.
            expired: it ended yesterday.
            not_yet: it begins tomorrow.
            client_only: the extended key usage allows TLS clients, not servers.
            weak_key: RSA with 1024 bits instead of EC P-256.
            self_signed: signed with its own key instead of the CA's.
            with_chain: False makes the server forget to send the intermediate CAs.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        key = _new_key(weak=weak_key)
        subject = _subject(common_name)
        issuer = subject if self_signed else x509.load_pem_x509_certificate(self.pem).subject
        signing_key = key if self_signed else self._private_key()
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(issuer, subject, key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now + _DAY if not_yet else _PAST)
        builder = builder.not_valid_after(now - _DAY if expired else _FUTURE)
        for extension in _extensions(names, key, signing_key, client_only=client_only):
            builder = builder.add_extension(extension, critical=False)
        pem = builder.sign(signing_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        chain = self._intermediates() if with_chain and not self_signed else b""
        return Certificate(pem, chain, _key_pem(key), self.root)

    def _intermediates(self) -> bytes:
        return self.pem + self._parent._intermediates() if self._parent else b""

    def _private_key(self) -> ec.EllipticCurvePrivateKey:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        pem = self._authority.private_key_pem.bytes()
        return cast("ec.EllipticCurvePrivateKey", load_pem_private_key(pem, password=None))


@functools.cache
def default_ca() -> CA:
    """Return the CA of servers that bring no certificate; made once in a process."""
    return CA()


@contextlib.contextmanager
def trust(ca: CA) -> Iterator[None]:
    """Make the package's default context trust ``ca`` instead of certifi's roots for a while.

    So code under test can say ``SMTP(host, port, require_tls=True)`` as in production, without
    a ``context``. It holds for the whole process, all threads included, and nothing but tests
    should do it.
    """
    from requiretls_client import tls

    before = tls._default
    tls._default = ca.context()
    try:
        yield
    finally:
        tls._default = before


def _trustme() -> ModuleType:
    try:
        import trustme
    except ImportError as error:
        raise ImportError(
            "test certificates need trustme: pip install 'requiretls-client[demo]'"
        ) from error
    return trustme


def _new_key(*, weak: bool) -> _Key:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if weak:
        return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - meant to be refused
    return ec.generate_private_key(ec.SECP256R1())


def _key_pem(key: _Key) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _subject(common_name: str | None) -> x509.Name:
    """Return a name that is never empty: two issuers with the same one could be confused."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"test {secrets.token_hex(8)}")]
    if common_name is not None:
        parts.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(parts)


def _extensions(
    names: Sequence[str], key: _Key, signing_key: _Key, *, client_only: bool
) -> Iterator[x509.ExtensionType]:
    """Yield what RFC 5280 s4.2 asks of a leaf, so that strict verifiers refuse only the flaw."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    if names:
        yield x509.SubjectAlternativeName([_general_name(name) for name in names])
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if client_only else ExtendedKeyUsageOID.SERVER_AUTH
    yield x509.ExtendedKeyUsage([usage])
    yield x509.BasicConstraints(ca=False, path_length=None)
    yield x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    yield x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key())


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
