"""The exception tree: who catches what, what travels, what it says."""

from __future__ import annotations

import copy
import json
import pickle
import smtplib
import ssl

import pytest

from requiretls_client import errors
from requiretls_client.facts import Obstacle, SessionFacts
from requiretls_client.policy import judge_session

CLASSES = [
    errors.RequireTLSError,
    errors.RequireTLSNotOffered,
    errors.RequireTLSMisuse,
    errors.TLSNotEstablished,
    errors.CertificateNotVerified,
]
VERDICT = judge_session(
    SessionFacts(host="mx.example.net", obstacle=Obstacle("refused", "454 later", 454, True))
)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_an_smtp_exception(cls):
    """Old ``except smtplib.SMTPException`` and ``except OSError`` clauses catch all of ours."""
    assert issubclass(cls, errors.RequireTLSError)
    assert issubclass(cls, smtplib.SMTPException)
    assert issubclass(cls, OSError)


@pytest.mark.parametrize(
    ("cls", "base"),
    [
        (errors.RequireTLSNotOffered, smtplib.SMTPNotSupportedError),
        (errors.TLSNotEstablished, ssl.SSLError),
        (errors.CertificateNotVerified, errors.TLSNotEstablished),
        (errors.CertificateNotVerified, ssl.SSLCertVerificationError),
        (errors.RequireTLSMisuse, ValueError),
    ],
)
def test_the_tree(cls, base):
    """Each error is also what the same trouble is in smtplib and ssl."""
    assert issubclass(cls, base)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("clone", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_travel_with_their_fields(cls, clone):
    """Pickle and copy keep the text and every field."""
    error = cls("a sentence", VERDICT)
    twin = clone(error)
    assert type(twin) is cls
    assert str(twin) == str(error) == "a sentence"
    assert vars(twin) == vars(error)
    assert (twin.code, twin.status, twin.temporary) == (451, "4.7.10", True)
    assert twin.host == "mx.example.net"
    assert twin.findings == VERDICT.findings


def test_error_without_a_verdict():
    """An error on its own has the defaults of RFC 8689 s4.2.1."""
    error = errors.RequireTLSError("a sentence")
    assert (error.code, error.status, error.temporary) == (550, "5.7.10", False)
    assert (error.host, error.domain, error.findings) == (None, None, ())
    assert error.explain() == "a sentence"


def test_error_as_data_and_words():
    """as_dict() is JSON with a schema; explain() adds a line for each finding and the fix."""
    error = errors.refusal(VERDICT)
    data = json.loads(json.dumps(error.as_dict()))
    assert data["schema"] == "requiretls-error/1"
    assert data["error"] == "TLSNotEstablished"
    assert data["message"] == str(error)
    assert data["findings"][-1]["ok"] is False
    assert "454 later" in str(error)
    assert error.explain().startswith(str(error))
    assert "fix: try again later" in error.explain()
