"""The judgement of a way, row by row: decision tables A (names), B (TLSA) and C (all hosts)."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest

from requiretls_client import path
from requiretls_client.facts import (
    MX,
    TLSA,
    Answer,
    HostFacts,
    PathFacts,
    PolicyFacts,
    RouteFacts,
    SessionFacts,
    StoredPolicy,
    STSPolicy,
    TLSFacts,
)
from requiretls_client.policy import judge_session
from requiretls_client.verdict import Finding, Verdict

DOMAIN, HOST = "example.net", "mx.example.net"
SECURE = Answer(DOMAIN, "MX", "records", "secure", (MX(10, HOST),), DOMAIN)
INSECURE = replace(SECURE, status="insecure")
NO_MX = Answer(DOMAIN, "MX", "nodata", "insecure", (), DOMAIN)
NONE = PolicyFacts()
GOOD_TLSA, BAD_TLSA = TLSA(3, 1, 1, b"x" * 32), TLSA(0, 9, 9, b"x")


def policy(mode, *patterns):
    """Return the facts of a policy that is held."""
    return PolicyFacts(StoredPolicy(STSPolicy(mode, patterns, 86400), "id1", 0.0), "cached")


def way(mx=SECURE, sts=NONE, rung="verified", trusted=True, **host):
    """Return a path with one host, which is good but for what is said."""
    facts = {"addresses": ("192.0.2.1",), "canonical": HOST, "address_status": "secure", **host}
    made = HostFacts(facts.pop("name", HOST), **facts)
    return PathFacts(RouteFacts(DOMAIN, mx, (made,), sts, trusted, "because"), made, rung)


def findings(made, *, require_tls=True, lenient=False):
    """Judge a host; return the findings up to the first that failed."""
    found = []
    for finding in path.judge_host(made, require_tls=require_tls, lenient=lenient):
        found.append(finding)
        if not finding.ok:
            break
    return found


# id, path, what REQ gets, what OPP gets, what NO gets (status of the refusal, or None), mx_level
TABLE_A = [
    ("A1-secure", way(), None, None, None, "dnssec"),
    ("A1-secure-and-enforced", way(sts=policy("enforce", HOST)), None, None, None, "dnssec"),
    ("A1-secure-but-enforced-for-others", way(sts=policy("enforce", "other.example")),
     "5.7.10", "5.7.10", None, "dnssec"),
    ("A1-secure-and-testing-for-others", way(sts=policy("testing", "other.example")),
     None, None, None, "dnssec"),
    ("A2-enforced", way(INSECURE, policy("enforce", "*.example.net")), None, None, None,
     "mta_sts"),
    ("A3-testing", way(INSECURE, policy("testing", HOST)), None, None, None, "mta_sts"),
    ("A4-enforced-for-others", way(INSECURE, policy("enforce", "other.example")),
     "5.7.10", "5.7.10", None, "none"),
    ("A4-testing-for-others", way(INSECURE, policy("testing", "other.example")),
     "5.7.10", None, None, "none"),
    ("A5-no-policy", way(INSECURE), "5.7.10", None, None, "none"),
    ("A5-mode-none", way(INSECURE, policy("none")), "5.7.10", None, None, "none"),
    ("A5-txt-failed", way(INSECURE, PolicyFacts(None, "none", "SERVFAIL", "dns")),
     "4.4.3", None, None, "none"),
    ("A5-fetch-failed", way(INSECURE, PolicyFacts(None, "none", "404", "fetch")),
     "4.7.5", None, None, "none"),
    ("A7-implicit-mx", way(NO_MX, name=DOMAIN), None, None, None, "none"),
    ("A7-implicit-mx-secure", way(replace(NO_MX, status="secure"), name=DOMAIN),
     None, None, None, "dnssec"),
    ("A8-implicit-mx-and-enforced-for-others",
     way(NO_MX, policy("enforce", "mail.example.net"), name=DOMAIN), "5.7.10", "5.7.10", None,
     "none"),
    ("A11-named-by-the-caller", way(None), None, None, None, None),
    ("A12-address-literal", way(None, name="192.0.2.1"), "5.7.10", None, None, None),
    ("B4-tlsa-failed", way(tlsa_problem="SERVFAIL", tlsa_base=HOST), "4.4.3", "4.4.3", None,
     "dnssec"),
    ("C5-no-address-yet", way(addresses=(), address_problem="timeout", address_failed=True),
     "4.4.3", "4.4.3", "4.4.3", "dnssec"),
    ("SMTP-04-no-address", way(addresses=(), address_problem="there is none"),
     "5.4.4", "5.4.4", "5.4.4", "dnssec"),
    ("20-private-address",
     way(addresses=(), private=("10.0.0.1",), address_problem="only private ones"),
     "5.4.4", "5.4.4", "5.4.4", "dnssec"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "strict", "ordinary", "optional", "level"),
    [pytest.param(*row[1:], id=row[0]) for row in TABLE_A],
)
def test_host_before_connecting(made, strict, ordinary, optional, level):
    """Table A, and what bars a host before any connection, for each kind of message."""
    wishes = [(strict, True, False), (ordinary, False, False), (optional, False, True)]
    for status, require_tls, lenient in wishes:
        found = findings(made, require_tls=require_tls, lenient=lenient)
        assert (None if found[-1].ok else found[-1].status) == status
        assert [each.ok for each in found].count(False) == bool(status)
        assert all(each.host == made.host.name for each in found)
        if status:
            assert found[-1].fix
            assert found[-1].rfc.startswith("RFC")
    assert path.mx_level(made.route, made.host) == level


@pytest.mark.parametrize(
    ("mx", "status", "code"),
    [
        (Answer(DOMAIN, "MX", "servfail", "bogus", problem="SERVFAIL"), "4.4.3", 451),
        (Answer(DOMAIN, "MX", "timeout", "indeterminate", problem="time"), "4.4.3", 451),
        (Answer(DOMAIN, "MX", "nxdomain", "secure"), "5.1.2", 550),
        (Answer(DOMAIN, "MX", "nxdomain", "insecure"), "5.1.2", 550),
        (Answer(DOMAIN, "MX", "records", "secure", (MX(0, ""),)), "5.1.10", 556),
        (Answer(DOMAIN, "MX", "records", "secure", (MX(0, ""), MX(1, ""))), "5.4.4", 550),
    ],
    ids=["A6-bogus", "A6-timeout", "A10-secure", "A10-insecure", "A9-null-mx", "NMX-02-only-dots"],
)
def test_domain_without_hosts(mx, status, code):
    """A6, A9, A10: why there is no host, and whether that is for good."""
    finding = path.judge_domain(RouteFacts(DOMAIN, mx))
    assert (finding.ok, finding.status) == (False, status)
    assert DOMAIN in finding.text
    verdict = path.refuse(None, [finding], require_tls=True, domain=DOMAIN)
    assert (verdict.code, verdict.domain) == (code, DOMAIN)
    assert verdict.temporary is (code == 451)
    assert verdict.word is None


ENFORCED = policy("enforce", HOST)
VERIFIED, ANY, LADDER = ("verified",), ("encrypted", "clear"), ("verified", "encrypted", "clear")

# id, path, dane, pkix, rungs of ordinary mail
TABLE_B = [
    ("B1-usable", way(tlsa=(GOOD_TLSA,), tlsa_base=HOST), True, False, VERIFIED),
    ("B1-usable-beside-unusable", way(tlsa=(BAD_TLSA, GOOD_TLSA), tlsa_base=HOST), True, False,
     VERIFIED),
    ("B2-unusable", way(tlsa=(BAD_TLSA,), tlsa_base=HOST), False, True, ("encrypted",)),
    ("B2-unusable-and-enforced", way(sts=ENFORCED, tlsa=(BAD_TLSA,)), False, True, VERIFIED),
    ("B3-none", way(), False, True, ANY),
    ("B3-none-and-enforced", way(sts=ENFORCED), False, True, VERIFIED),
    ("B3-none-and-testing", way(sts=policy("testing", HOST)), False, True, LADDER),
    ("B3-testing-for-others", way(sts=policy("testing", "other.example")), False, True, ANY),
    ("B3-mode-none", way(sts=policy("none")), False, True, ANY),
    ("B5-insecure-mx", way(INSECURE, tlsa=(GOOD_TLSA,), tlsa_base=HOST), True, False, VERIFIED),
    ("B6-T4-both", way(sts=ENFORCED, tlsa=(GOOD_TLSA,), tlsa_base=HOST), True, True, VERIFIED),
    ("SUB-11-named", way(None, tlsa=(GOOD_TLSA,), tlsa_base=HOST), True, False, VERIFIED),
]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "dane", "pkix", "ordinary"), [pytest.param(*row[1:], id=row[0]) for row in TABLE_B]
)
def test_what_tls_must_prove(made, dane, pkix, ordinary):
    """Table B: DANE, PKIX or both; and how far down ordinary mail may go."""
    wanted = path.need(made)
    assert (bool(wanted.dane), wanted.pkix) == (dane, pkix)
    assert path.rungs(made, path.Wish(require_tls=True)) == VERIFIED
    assert path.rungs(made, path.Wish(tls_optional=True)) == LADDER
    assert path.rungs(made, path.Wish()) == ordinary


@pytest.mark.parametrize(
    ("made", "sni", "names"),
    [
        (way(tlsa=(GOOD_TLSA,), tlsa_base=HOST), HOST, (HOST, DOMAIN)),
        (way(replace(SECURE, canonical="example.org"), tlsa=(GOOD_TLSA,), tlsa_base=HOST), HOST,
         (HOST, DOMAIN, "example.org")),
        (way(tlsa=(GOOD_TLSA,), tlsa_base="real.example"), "real.example",
         ("real.example", DOMAIN)),
        (way(INSECURE, tlsa=(GOOD_TLSA,), tlsa_base=HOST), HOST, (HOST,)),
        (way(NO_MX, tlsa=(GOOD_TLSA,), tlsa_base="real.example", name=DOMAIN), "real.example",
         ("real.example", DOMAIN)),
        (way(None, tlsa=(GOOD_TLSA,), tlsa_base=HOST), HOST, (HOST,)),
        (way(tlsa=(BAD_TLSA,), tlsa_base="real.example"), HOST, ("real.example", DOMAIN)),
        (way(), HOST, (HOST, DOMAIN)),
    ],
    ids=[
        "DANE-24", "DANE-24-third-name", "DANE-28-expanded-base", "DANE-25-insecure-mx",
        "DANE-24-without-mx", "named", "STS-19-unusable", "STS-19-none",
    ],
)  # fmt: skip
def test_names(made, sni, names):
    """DANE-23 to 25, DANE-28, STS-19: what SNI says, and which names a certificate may have."""
    wanted = path.need(made)
    assert (wanted.sni, wanted.names) == (sni, names)


# -- with a session ------------------------------------------------------------------------------

TLS = TLSFacts(
    server_hostname=HOST, verify_required=True, check_hostname=True, common_name_allowed=False,
    san_kinds=frozenset({"DNS"}), session_reused=False, version="TLSv1.3", cipher="AES",
)  # fmt: skip
UNVERIFIED = replace(TLS, verify_required=False, check_hostname=False)


def session(made, tls=TLS, keywords=("REQUIRETLS",)):
    """Return the facts of a session on that path."""
    return SessionFacts(HOST, tls, None, None, 250, frozenset(keywords), path=made)


BY_RUNG = [
    ("verified-pkix", way(), TLS, True),
    ("verified-unverified", way(), UNVERIFIED, False),
    ("verified-clear", way(), None, False),
    ("verified-resumed", way(), replace(TLS, session_reused=True), False),
    ("verified-other-name", way(), replace(TLS, server_hostname="other.example"), False),
    ("verified-dane-unknown-chain", way(tlsa=(GOOD_TLSA,), tlsa_base=HOST), TLS, False),
    ("encrypted", way(rung="encrypted"), UNVERIFIED, True),
    ("encrypted-clear", way(rung="encrypted"), None, False),
    ("clear", way(rung="clear"), None, True),
    ("named-clear", way(None, rung="named"), None, True),
    ("named-unverified-without-tlsa", way(None, rung="named"), UNVERIFIED, True),
    ("named-tlsa", way(None, rung="named", tlsa=(GOOD_TLSA,), tlsa_base=HOST), UNVERIFIED, False),
    ("named-clear-with-tlsa", way(None, rung="named", tlsa=(GOOD_TLSA,), tlsa_base=HOST), None,
     True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "tls", "allowed"), [pytest.param(*row[1:], id=row[0]) for row in BY_RUNG]
)
def test_ordinary_mail_is_held_to_its_rung(made, tls, allowed):
    """DANE-08, DANE-09, STS-20: what a connection is held to, it must have."""
    assert judge_session(session(made, tls), require_tls=False).allowed is allowed


@pytest.mark.parametrize("rung", ["verified", "encrypted", "clear", "named"])
@pytest.mark.parametrize("tls", [UNVERIFIED, None], ids=["unverified", "clear"])
def test_require_tls_on_any_rung(rung, tls):
    """RT-04: whatever the connection was made for, require_tls needs verified TLS."""
    verdict = judge_session(session(way(rung=rung), tls))
    assert not verdict.allowed
    assert verdict.status == "5.7.10"
    assert verdict.temporary  # RFC 8461 s5, RFC 7672 s2.2: to be tried again


def test_require_tls_on_a_good_way():
    """RT-03 to RT-05: everything holds, and the verdict says by what."""
    verdict = judge_session(session(way()))
    assert verdict.allowed
    assert verdict.requiretls
    assert (verdict.domain, verdict.mx_level, verdict.tls_level) == (
        DOMAIN, "dnssec", "authenticated"
    )  # fmt: skip
    assert verdict.word == "requiretls"


@pytest.mark.parametrize("row", TABLE_A, ids=[row[0] for row in TABLE_A])
def test_session_judges_the_way_again(row):
    """One choke point: what bars the host before connecting bars a session there too."""
    assert judge_session(session(row[1])).allowed is (row[2] is None)


def test_untrusted_resolver():
    """Ruling 9: "not evaluated" is never "no DANE", and the reason is said."""
    made = way(INSECURE, ENFORCED, trusted=False)
    assert "not evaluated (resolver not trusted: because)" in findings(made)[-1].text
    (failed,) = findings(way(INSECURE, trusted=False))
    assert "DNSSEC was not evaluated for example.net (because)" in failed.text
    assert "trust_ad=True" in failed.fix


# -- all hosts together --------------------------------------------------------------------------


def verdict(status, *, temporary=False, host=HOST):
    """Return a verdict with that status; None allows."""
    found = Finding("tls", status is None, "text", "RFC 8689", host=host, status=status)
    return Verdict(
        status is None, True, status is None, (found,), host, "none",
        code=path.basic_code(status), status=status,
        temporary=temporary or (status or "").startswith("4."),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statuses", "status", "temporary"),
    [
        (["5.7.30", "5.7.30"], "5.7.30", False),
        (["5.7.30", "5.7.10"], "5.7.10", False),
        (["5.7.10", "5.7.30"], "5.7.10", False),
        (["5.7.30", "4.4.1"], "4.4.1", True),
        (["5.7.10", "4.7.10", "4.4.3"], "4.7.10", True),
        (["5.7.10"], "5.7.10", False),
        (["5.7.30", None], None, False),
        (["4.4.3", None], None, False),
    ],
)
def test_all_hosts(statuses, status, temporary):
    """C7, ruling 6: one verdict of several hosts."""
    combined = path.combine([verdict(each) for each in statuses])
    assert (combined.status, combined.temporary) == (status, temporary)
    assert combined.allowed is (status is None)
    if len(statuses) > 1 and status:
        assert [each.status for each in combined.hosts] == statuses
    assert json.loads(json.dumps(combined.as_dict()))["status"] == status
    assert pickle.loads(pickle.dumps(combined)) == combined
    assert combined.explain().count("\n\n") == len(combined.hosts)


def test_hint_of_any_host():
    """T3: that one host's failure may pass is kept, although its status says nothing of it."""
    combined = path.combine([verdict("5.7.30"), verdict("5.7.10", temporary=True)])
    assert (combined.status, combined.code, combined.temporary) == ("5.7.10", 550, True)
