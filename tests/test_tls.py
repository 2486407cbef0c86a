"""The contexts: what the default one asks for, and what the unverified one does not."""

from __future__ import annotations

import ssl
from types import SimpleNamespace

import certifi
import pytest

import requiretls_client as rt
from requiretls_client import tls
from requiretls_client.testing import trust


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
