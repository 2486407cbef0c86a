"""The contexts: what the default one asks for, and what the unverified one does not."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from types import SimpleNamespace

import certifi
import pytest

import requiretls_client as rt
from requiretls_client import tls
from requiretls_client.testing import CA, trust


@pytest.fixture
def no_default(monkeypatch):
    """Make the next default context a new one."""
    monkeypatch.setattr(tls, "_default", None)


def test_default_context():
    """BCP-01, BCP-04, SID-02: chain, name, TLS 1.2, no common names, no renegotiation."""
    context = tls.client_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert tls.verifies(context)


def test_default_context_is_built_once(no_default, monkeypatch):
    """The roots are read on first use and only then: building a context is expensive."""
    calls = []
    where = certifi.where
    monkeypatch.setattr(certifi, "where", lambda: (calls.append(1), where())[1])
    assert tls.default_context() is tls.default_context()
    assert len(calls) == 1


def test_roots_are_certifis(no_default):
    """Without a context of the caller the roots are certifi's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certifi.where())
    assert tls.default_context().get_ca_certs(binary_form=True) == context.get_ca_certs(
        binary_form=True
    )


def test_strict_on_any_build(monkeypatch):
    """BCP-01, BCP-07, BCP-08: weaker defaults of this Python or OpenSSL do not get through."""

    weak = ssl.SSLContext

    def build(protocol):
        context = weak(protocol)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.options &= ~ssl.OP_NO_COMPRESSION
        return context

    monkeypatch.setattr(tls, "ssl", SimpleNamespace(**{**vars(ssl), "SSLContext": build}))
    test_default_context()
    test_cipher_suites()


def test_cipher_suites():
    """BCP-07: forward secrecy in every suite of TLS 1.2, nothing null, weak or anonymous."""
    suites = tls.client_context().get_ciphers()
    old = [suite["name"] for suite in suites if suite["protocol"] != "TLSv1.3"]
    assert old
    assert all(name.startswith(("ECDHE-", "DHE-")) for name in old)
    assert not [name for name in old if "NULL" in name or "DSS" in name or name.endswith("-SHA")]
    assert all(suite["strength_bits"] >= 128 for suite in suites)


def test_no_key_log(no_default, monkeypatch, tmp_path, serve, message):
    """F21: SSLKEYLOGFILE in the environment does not get the keys of our sessions."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert tls.default_context().keylog_filename is None
    server = serve()
    with trust(server.ca), rt.SMTP(server.host, server.port, require_tls=True) as smtp:
        smtp.send_message(message)
    assert len(server.ledger) == 1
    assert not (tmp_path / "keys").exists()


def test_unverified_context(serve, message, caplog):
    """The old behaviour of smtplib is there for who says so; it is logged and proves nothing."""
    server = serve()
    with rt.SMTP(server.host, server.port, timeout=5) as smtp:
        smtp.starttls(context=rt.unverified_context())
        smtp.send_message(message)
        assert smtp.last_verdict.tls_level == "encrypted"
        with pytest.raises(rt.CertificateNotVerified):
            smtp.send_message(message, require_tls=True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not tls.verifies(rt.unverified_context())
    assert [item.tls for item in server.ledger] == [True]


def test_context_is_built_lazily(no_default, serve, message):
    """Clear text on loopback costs no context at all."""
    server = serve(starttls=False)
    with rt.SMTP(server.host, server.port) as smtp:
        smtp.send_message(message)
    assert tls._default is None


def test_encrypting_context(monkeypatch, caplog):
    """BCP-01, BCP-07: no chain and no name, but versions and ciphers as everywhere; no warning."""
    monkeypatch.setattr(tls, "_encrypting", None)
    context, strict = tls.encrypting_context(), tls.client_context()
    assert context is tls.encrypting_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert context.minimum_version == strict.minimum_version
    assert context.options == strict.options
    assert context.get_ciphers() == strict.get_ciphers()
    assert not caplog.records


def test_anchor_context():
    """TLSA-05: the anchors are the only roots, they need not be self-signed; no name is asked."""
    child = CA().child()
    anchors = [ssl.PEM_cert_to_DER_cert(ca.pem.decode("ascii")) for ca in (child, CA())]
    context = tls.anchor_context(anchors)
    assert sorted(context.get_ca_certs(binary_form=True)) == sorted(anchors)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert context.get_ciphers() == tls.client_context().get_ciphers()
    with pytest.raises(ValueError, match="Empty"):
        tls.anchor_context([])


@pytest.fixture
def shake(serve):
    """Return a function that makes one handshake with a new server and returns its facts."""

    def shake(context, certificate, **options):
        server = serve(certificate=certificate, implicit_tls=True)
        sock = socket.create_connection((server.host, server.port), timeout=5)
        wrapped, facts = tls.wrap(context, sock, "localhost", **options)
        wrapped.close()
        return facts

    return shake


def test_facts_with_the_chain(shake):
    """With chain=True the facts hold what was sent, what was verified, and the names."""
    child = CA().child()
    certificate = child.issue("LocalHost", "127.0.0.1", "*.example.test")
    leaf, inter, root = (
        ssl.PEM_cert_to_DER_cert(each.pem.decode("ascii"))
        for each in (certificate, child, child.root)
    )
    verified = child.root.context()
    facts = shake(verified, certificate, chain=True)
    assert facts.presented == (leaf, inter)
    assert facts.verified == (leaf, inter, root)
    assert facts.names == ("localhost", "*.example.test")
    assert facts.san_kinds == {"DNS", "IP Address"}
    anchored = shake(tls.anchor_context([inter]), certificate, chain=True)
    assert anchored.verified == (leaf, inter)
    assert (anchored.verify_required, anchored.check_hostname) == (True, False)
    unverified = shake(tls.encrypting_context(), certificate, chain=True)
    assert unverified.presented == (leaf, inter)
    assert (unverified.verified, unverified.names) == ((), ())
    assert not unverified.verify_required
    plain = shake(verified, certificate)
    assert (plain.presented, plain.verified, plain.names) == ((), (), ())
    assert (plain.common_name_allowed, plain.san_kinds) == (False, frozenset())
    verified.hostname_checks_common_name = True  # from here on it matters what names there are
    lenient = shake(verified, certificate)
    assert (lenient.common_name_allowed, lenient.names) == (True, ())
    assert lenient.san_kinds == facts.san_kinds


def test_chain_that_python_does_not_tell():
    """Where this Python has no way to the chains they are unknown."""
    sock = SimpleNamespace(_sslobj=SimpleNamespace())
    assert tls._chain(sock, "get_verified_chain") == ()
    assert tls._chain(SimpleNamespace(_sslobj=None), "get_unverified_chain") == ()
    empty = SimpleNamespace(_sslobj=SimpleNamespace(get_verified_chain=lambda: None))
    assert tls._chain(empty, "get_verified_chain") == ()


def test_reset_just_before_the_handshake():
    """M13: the socket is closed by us, not by the garbage collector and a ResourceWarning."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sock = socket.create_connection(listening.getsockname(), timeout=5)
        peer, _ = listening.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    number = sock.fileno()
    with pytest.raises(OSError, match=r"reset|connected") as caught:
        tls.wrap(tls.default_context(), sock, "localhost")
    with pytest.raises(OSError, match="descriptor"):  # although caught still holds the frames
        os.fstat(number)
    assert not isinstance(caught.value, ssl.SSLError)
