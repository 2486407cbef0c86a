"""The decision of RFC 8689 s4.2.1, row by row: each id names the rule that the row is about."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest

from requiretls_client import errors
from requiretls_client.facts import Obstacle, SessionFacts, TLSFacts
from requiretls_client.policy import judge_login, judge_session, tls_level

HOST = "mx.example.net"
TLS = TLSFacts(
    server_hostname=HOST,
    verify_required=True,
    check_hostname=True,
    common_name_allowed=False,
    san_kinds=frozenset({"DNS"}),
    session_reused=False,
    version="TLSv1.3",
    cipher="TLS_AES_256_GCM_SHA384",
)
GOOD = SessionFacts(
    host=HOST, tls=TLS, ehlo_code=250, keywords=frozenset({"REQUIRETLS", "SIZE", "PIPELINING"})
)
CLEAR = SessionFacts(host=HOST)


def with_tls(**changes):
    """Return the good facts with another handshake."""
    return replace(GOOD, tls=replace(TLS, **changes))


def stopped(kind, code=None, *, temporary=False):
    """Return the facts of a connection on which TLS did not come about."""
    return SessionFacts(host=HOST, obstacle=Obstacle(kind, "seen text", code, temporary))


OFFERED = errors.RequireTLSNotOffered
NO_TLS = errors.TLSNotEstablished
CERTIFICATE = errors.CertificateNotVerified

# id, facts, exception, code, status, temporary, Postfix's word
REFUSED = [
    ("RT-02-clear-text", CLEAR, NO_TLS, 550, "5.7.10", False, "requiretls:nostarttls"),
    (
        "RT-02-keyword-in-clear-does-not-count",
        replace(CLEAR, keywords=frozenset({"REQUIRETLS"}), ehlo_code=250),
        NO_TLS, 550, "5.7.10", False, "requiretls:nostarttls",
    ),
    ("RT-12-C2-not-offered", stopped("not_offered"), NO_TLS, 550, "5.7.10", False,
     "requiretls:nostarttls"),
    ("C3-starttls-454", stopped("refused", 454, temporary=True), NO_TLS, 451, "4.7.10", True,
     "requiretls:nostarttls"),
    ("C4-starttls-502", stopped("refused", 502), NO_TLS, 550, "5.7.10", False,
     "requiretls:nostarttls"),
    ("C4-handshake", stopped("handshake"), NO_TLS, 550, "5.7.10", False, "requiretls:nostarttls"),
    ("C4-handshake-timeout-hint", stopped("handshake", temporary=True), NO_TLS, 550, "5.7.10",
     True, "requiretls:nostarttls"),
    ("STLS-06-injected", stopped("injected"), NO_TLS, 550, "5.7.10", False,
     "requiretls:nostarttls"),
    ("lost", stopped("lost", temporary=True), NO_TLS, 550, "5.7.10", True,
     "requiretls:nostarttls"),
    ("16-helo-only", stopped("ehlo", 502), NO_TLS, 550, "5.7.10", False, "requiretls:nostarttls"),
    ("EHLO-421", stopped("ehlo", 421, temporary=True), NO_TLS, 451, "4.7.10", True,
     "requiretls:nostarttls"),
    ("RT-04-certificate", stopped("certificate"), CERTIFICATE, 550, "5.7.10", False,
     "requiretls:nocertmatch"),
    ("SID-01-no-name", stopped("no_name"), NO_TLS, 550, "5.7.10", False,
     "requiretls:nostarttls"),
    ("SID-02-common-name-beside-an-ip-san",
     with_tls(common_name_allowed=True, san_kinds=frozenset({"IP Address"})), CERTIFICATE, 550,
     "5.7.10", False, "requiretls:nocertmatch"),
    ("SID-02-common-name-beside-a-dns-san",
     replace(with_tls(server_hostname="192.0.2.1", common_name_allowed=True), host="192.0.2.1"),
     CERTIFICATE, 550, "5.7.10", False, "requiretls:nocertmatch"),
    ("botched", stopped("botched"), NO_TLS, 550, "5.7.10", False, "requiretls:nostarttls"),
    ("RT-04-chain-not-demanded", with_tls(verify_required=False), CERTIFICATE, 550, "5.7.10",
     False, "requiretls:nocertmatch"),
    ("RT-04-name-not-demanded", with_tls(check_hostname=False), CERTIFICATE, 550, "5.7.10", False,
     "requiretls:nocertmatch"),
    ("F13-other-name", with_tls(server_hostname="elsewhere.example"), CERTIFICATE, 550, "5.7.10",
     False, "requiretls:nocertmatch"),
    ("no-name-at-all", replace(with_tls(server_hostname=""), host=""), CERTIFICATE, 550, "5.7.10",
     False, "requiretls:nocertmatch"),
    ("BCP-09-resumed", with_tls(session_reused=True), CERTIFICATE, 550, "5.7.10", False,
     "requiretls:nocertmatch"),
    ("SID-02-common-name",
     with_tls(common_name_allowed=True, san_kinds=frozenset({"email"})), CERTIFICATE, 550,
     "5.7.10", False, "requiretls:nocertmatch"),
    ("1b-tls-by-somebody-else", replace(GOOD, tls=None, foreign_tls=True), CERTIFICATE, 550,
     "5.7.10", False, "requiretls:nocertmatch"),
    ("BCP-01-tls-1.1", with_tls(version="TLSv1.1"), NO_TLS, 550, "5.7.10", False,
     "requiretls:nostarttls"),
    ("1c-login-in-clear", replace(GOOD, cleartext_login=True), NO_TLS, 550, "5.7.10", False,
     "requiretls:nostarttls"),
    ("RT-11-C1-not-offered-inside", replace(GOOD, keywords=frozenset({"SIZE"})), OFFERED, 550,
     "5.7.30", False, "requiretls:none"),
    ("RT-05-lookalike", replace(GOOD, keywords=frozenset({"X-REQUIRETLS", "REQUIRETLS-OLD"})),
     OFFERED, 550, "5.7.30", False, "requiretls:none"),
    ("RT-05-no-ehlo-inside", replace(GOOD, ehlo_code=None, keywords=frozenset()), OFFERED, 550,
     "5.7.30", False, "requiretls:none"),
    ("A11-ehlo-refused-inside", replace(GOOD, ehlo_code=500, keywords=frozenset()), OFFERED, 550,
     "5.7.30", False, "requiretls:none"),
    ("A11-ehlo-later-inside", replace(GOOD, ehlo_code=451, keywords=frozenset()), OFFERED, 451,
     "4.7.30", True, "requiretls:none"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "error", "code", "status", "temporary", "word"),
    [pytest.param(*row[1:], id=row[0]) for row in REFUSED],
)
def test_refusal(facts, error, code, status, temporary, word):
    """One failed condition refuses, with its exception, its codes and Postfix's word for it."""
    verdict = judge_session(facts)
    raised = errors.refusal(verdict)
    assert not verdict.allowed
    assert not verdict.requiretls
    assert type(raised) is error
    assert (raised.code, raised.status, raised.temporary) == (code, status, temporary)
    assert verdict.word == word
    assert [finding.ok for finding in verdict.findings].count(False) == 1
    assert verdict.findings[-1] is verdict.failed
    assert verdict.failed.fix, "a refusal says what to do"
    assert "RFC" in str(raised)
    assert verdict.failed.fix in str(raised)
    assert (facts.host or "server") in str(raised)


ALLOWED = [
    ("RT-05-all-conditions", GOOD, False, True, "requiretls"),
    ("10-implicit-tls-is-the-same", GOOD, False, True, "requiretls"),
    ("BCP-01-tls-1.2", with_tls(version="TLSv1.2"), False, True, "requiretls"),
    ("SID-02-cn-matching-on-with-dns-san", with_tls(common_name_allowed=True), False, True,
     "requiretls"),
    ("12-ip-san",
     replace(with_tls(server_hostname="192.0.2.1", common_name_allowed=True,
                      san_kinds=frozenset({"IP Address"})), host="192.0.2.1"),
     False, True, "requiretls"),
    ("RT-13-null-path-offered", GOOD, True, True, "requiretls"),
    ("RT-13-null-path-not-offered", replace(GOOD, keywords=frozenset()), True, False,
     "requiretls:none"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "null_path", "parameter", "word"), [pytest.param(*r[1:], id=r[0]) for r in ALLOWED]
)
def test_allowed(facts, null_path, parameter, word):
    """When every condition holds the message may go, and the verdict says with which parameter."""
    verdict = judge_session(facts, null_path=null_path)
    assert verdict.allowed
    assert verdict.requiretls is parameter
    assert verdict.word == word
    assert verdict.failed is None
    assert (verdict.code, verdict.status, verdict.temporary) == (None, None, False)
    assert verdict.tls_level == "authenticated"


@pytest.mark.parametrize(
    "facts",
    [CLEAR, stopped("not_offered"), stopped("certificate"), with_tls(verify_required=False)],
    ids=["clear", "no-starttls", "certificate", "unverified"],
)
def test_null_path_waives_only_the_keyword(facts):
    """RT-13: a bounce still needs TLS and a verified certificate."""
    assert not judge_session(facts, null_path=True).allowed


@pytest.mark.parametrize(
    ("facts", "allowed"),
    [
        (CLEAR, True),
        (GOOD, True),
        (stopped("certificate"), False),
        (stopped("refused", 454), False),
    ],
    ids=["clear", "good", "certificate", "454"],
)
def test_ordinary_mail(facts, allowed):
    """Ordinary mail is refused only where an attempt at TLS failed; it has no Postfix word."""
    verdict = judge_session(facts, require_tls=False)
    assert verdict.allowed is allowed
    assert verdict.word is None
    assert not verdict.requiretls


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        (CLEAR, "none"),
        (GOOD, "authenticated"),
        (with_tls(verify_required=False), "encrypted"),
        (replace(GOOD, tls=None, foreign_tls=True), "encrypted"),
        (stopped("certificate"), "none"),
        (with_tls(version="TLSv1.1"), "encrypted"),
    ],
    ids=["clear", "good", "unverified", "foreign", "refused", "tls-1.1"],
)
def test_tls_level(facts, level):
    """The TLS level is none, encrypted or authenticated."""
    assert tls_level(facts) == level


@pytest.mark.parametrize(
    ("facts", "excused", "error"),
    [
        (GOOD, False, None),
        (CLEAR, True, None),
        (with_tls(verify_required=False), True, None),
        (CLEAR, False, NO_TLS),
        (with_tls(verify_required=False), False, CERTIFICATE),
    ],
    ids=["verified", "local", "local-unverified", "clear", "unverified"],
)
def test_login(facts, excused, error):
    """AUTH-01: credentials go only over verified TLS, unless they are excused."""
    verdict = judge_login(facts, excused=excused)
    assert verdict.allowed is (error is None)
    if error:
        raised = errors.refusal(verdict, "login() was refused")
        assert type(raised) is error
        assert raised.status == "5.7.11"
        assert "allow_cleartext_auth" in str(raised)


def test_only_a_refusal_becomes_an_exception():
    """An allowed verdict has nothing to raise."""
    with pytest.raises(ValueError, match="refusal"):
        errors.refusal(judge_session(GOOD))


@pytest.mark.parametrize("facts", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_verdict_travels(facts):
    """A verdict pickles, turns into JSON with a named schema, and explains every finding."""
    verdict = judge_session(facts)
    assert pickle.loads(pickle.dumps(verdict)) == verdict
    data = json.loads(json.dumps(verdict.as_dict()))
    assert data["schema"] == "requiretls-verdict/1"
    assert data["status"] == verdict.status
    assert [item["step"] for item in data["findings"]] == [f.step for f in verdict.findings]
    lines = verdict.explain().splitlines()
    assert verdict.status in lines[0]
    assert sum(line.startswith("  FAIL") for line in lines) == 1
    assert lines[-1].strip() == f"fix: {verdict.failed.fix}"
