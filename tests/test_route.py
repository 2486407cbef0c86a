"""The look-up plans, driven with a dictionary: which questions, in which order, which facts."""

from __future__ import annotations

import random

import pytest

from requiretls_client import route
from requiretls_client.facts import MX, TLSA, Answer, StoredPolicy, STSPolicy
from requiretls_client.route import Ask, Fetch, Fetched
from requiretls_client.testing.resolver import FakeResolver

DOMAIN = "example.net"
DIGEST = "ab" * 32
MX_AND_A = {
    f"{DOMAIN} MX": ["10 mx1.example.net", "20 mx2.example.com"],
    "mx1.example.net A": ["192.0.2.1"],
    "mx1.example.net AAAA": ["2001:db8::1"],
    "mx2.example.com A": ["192.0.2.2"],
    "_25._tcp.mx1.example.net TLSA": [f"3 1 1 {DIGEST}"],
    "_25._tcp.mx2.example.com TLSA": [f"2 0 1 {DIGEST}"],
}
ALIAS = {
    f"{DOMAIN} MX": ["10 mx.example.net"],
    "mx.example.net CNAME": ["real.example.org"],
    "real.example.org A": ["192.0.2.1"],
}


def keep(records):
    """Shuffle nothing."""


def drive(plan, resolver, fetched=None):
    """Run a plan; return its result and the rounds of questions, DNS ones as ``name TYPE``."""
    rounds, answers = [], None
    while True:
        try:
            questions = plan.send(answers)
        except StopIteration as stop:
            return stop.value, rounds
        rounds.append([f"{q.name} {q.rdtype}" if isinstance(q, Ask) else q for q in questions])
        answers = tuple(
            resolver.query(q.name, q.rdtype) if isinstance(q, Ask) else fetched for q in questions
        )


def hosts(records, domain=DOMAIN, *, allow_private=True, port=25, **options):
    """Look the hosts of a domain up; return the MX answer, the hosts, and the rounds."""
    plan = route.find_hosts(domain, port=port, shuffle=keep, allow_private=allow_private)
    (mx, found), rounds = drive(plan, FakeResolver(records, **options))
    return mx, found, rounds


def test_two_hosts_side_by_side():
    """DANE-16, DANE-20, SMTP-01: MX first, then all addresses, and TLSA never before them."""
    mx, found, rounds = hosts(MX_AND_A)
    assert mx.status == "secure"
    assert rounds == [
        ["example.net MX"],
        ["mx1.example.net AAAA", "mx1.example.net A", "_25._tcp.mx1.example.net TLSA",
         "mx2.example.com AAAA", "mx2.example.com A"],
        ["_25._tcp.mx2.example.com TLSA"],
    ]  # fmt: skip
    assert [host.name for host in found] == ["mx1.example.net", "mx2.example.com"]
    assert found[0].addresses == ("2001:db8::1", "192.0.2.1")
    assert found[0].tlsa == (TLSA(3, 1, 1, bytes.fromhex(DIGEST)),)
    assert found[0].tlsa_base == "mx1.example.net"
    assert found[1].tlsa == (TLSA(2, 0, 1, bytes.fromhex(DIGEST)),)


def test_real_port_in_the_tlsa_name():
    """DANE-20: the TLSA name has the real port, in decimal."""
    _, _, rounds = hosts(MX_AND_A, port=2525)
    assert "_2525._tcp.mx1.example.net TLSA" in rounds[1]


@pytest.mark.parametrize(
    ("insecure", "asked"),
    [
        (["mx1.example.net"], False),
        (True, False),
        ([f"{DOMAIN} MX"], True),
    ],
    ids=["DANE-17-insecure-addresses", "everything-insecure", "B5-insecure-mx-secure-host"],
)
def test_tlsa_of_insecure_addresses(insecure, asked):
    """DANE-17, J05, J14: TLSA counts only for secure addresses, whatever the MX record is."""
    _, found, _ = hosts(MX_AND_A, insecure=insecure)
    assert bool(found[0].tlsa) is asked


def test_insecure_addresses_are_not_followed_by_tlsa_questions():
    """DANE-17, J14: where nothing is known to be signed, no TLSA question is asked."""
    _, _, rounds = hosts(MX_AND_A, insecure=True)
    assert not [each for questions in rounds for each in questions if each.endswith("TLSA")]


def test_insecure_tlsa_is_ignored():
    """TLSA-01, J05: TLSA records without DNSSEC do not exist for us."""
    _, found, _ = hosts(MX_AND_A, insecure=["_25._tcp.mx1.example.net"])
    assert found[0].tlsa == ()
    assert found[0].tlsa_problem == ""


@pytest.mark.parametrize("kind", ["servfail", "timeout", "broken", "bogus"])
def test_failed_tlsa(kind):
    """DANE-04, J03: a TLSA look-up that fails is a fact about that host alone."""
    _, found, _ = hosts(MX_AND_A, fail={"_25._tcp.mx1.example.net TLSA": kind})
    assert kind in found[0].tlsa_problem
    assert found[0].tlsa == ()
    assert found[1].tlsa_problem == ""


@pytest.mark.parametrize("kind", ["servfail", "timeout", "broken", "bogus"])
def test_failed_mx(kind):
    """DANE-03, H03: without an MX answer nothing else is asked, and no host is made up."""
    mx, found, rounds = hosts(MX_AND_A, fail={f"{DOMAIN} MX": kind})
    assert mx.problem
    assert found == ()
    assert rounds == [[f"{DOMAIN} MX"]]


def test_failed_addresses_of_one_host():
    """DANE-03: one host without addresses leaves the others usable."""
    fail = {"mx1.example.net A": "servfail", "mx1.example.net AAAA": "bogus"}
    _, found, _ = hosts(MX_AND_A, fail=fail)
    assert found[0].address_failed
    assert found[0].addresses == ()
    assert found[1].addresses == ("192.0.2.2",)


def test_one_address_family_fails():
    """SMTP-05, B19: a family that fails or is empty leaves the other usable, and secure."""
    _, found, _ = hosts(MX_AND_A, fail={"mx1.example.net AAAA": "servfail"})
    assert found[0].addresses == ("192.0.2.1",)
    assert found[0].address_status == "secure"
    assert found[0].tlsa


def test_null_mx():
    """NMX-01, H01: a null MX ends the matter, and nothing else is asked."""
    mx, found, rounds = hosts({f"{DOMAIN} MX": ["0 ."], f"{DOMAIN} A": ["192.0.2.1"]})
    assert route.is_null_mx(mx)
    assert (found, rounds) == ((), [[f"{DOMAIN} MX"]])


def test_null_mx_beside_others():
    """NMX-02: a ``.`` beside other records is passed over."""
    mx, found, _ = hosts({f"{DOMAIN} MX": ["0 .", "10 mx.example.net"]})
    assert not route.is_null_mx(mx)
    assert [host.name for host in found] == ["mx.example.net"]


def test_implicit_mx():
    """SMTP-02, H04, B18: no MX record, so the domain itself is the host, and may have TLSA."""
    records = {f"{DOMAIN} A": ["192.0.2.1"], f"_25._tcp.{DOMAIN} TLSA": [f"3 1 1 {DIGEST}"]}
    mx, found, _ = hosts(records)
    assert mx.outcome == "nodata"
    assert [(host.name, host.preference, len(host.tlsa)) for host in found] == [(DOMAIN, 0, 1)]


def test_nxdomain():
    """SMTP-01, H04: a domain that does not exist has no implicit MX."""
    mx, found, rounds = hosts({"other.example A": ["192.0.2.1"]})
    assert mx.outcome == "nxdomain"
    assert (found, len(rounds)) == ((), 1)


@pytest.mark.parametrize("domain", ["x.invalid", "x.onion", "printer.local", "localhost"])
def test_special_use_names(domain):
    """H09: nobody is asked about names that the public DNS does not have."""
    mx, found, rounds = hosts({}, domain)
    assert "special-use" in mx.problem
    assert (found, rounds) == ((), [])


@pytest.mark.parametrize(
    "target",
    ["192.0.2.1", "mx example", "mx\\000.example", "-mx.example.net", "a" * 64 + ".example", "::1"],
    ids=["DANE-12-address", "blank", "nul", "hyphen", "long-label", "ipv6"],
)
def test_mx_target_that_is_no_host_name(target):
    """H13, DANE-12: what is no host name is asked about and connected to by nobody."""
    plan = route.find_hosts(DOMAIN, port=25, shuffle=keep, allow_private=True)
    assert plan.send(None) == (Ask(DOMAIN, "MX"),)
    with pytest.raises(StopIteration) as stop:
        plan.send((Answer(DOMAIN, "MX", "records", "secure", (MX(10, target),), DOMAIN),))
    (host,) = stop.value.value[1]
    assert "host name" in host.address_problem
    assert host.addresses == ()


def test_order_of_hosts():
    """SMTP-03, DANE-13, H10: by preference, equal ones at random, each host once, at its best."""
    records = ["10 a.example", "10 b.example", "5 c.example", "20 c.example", "0 D.example"]
    first = set()
    for _ in range(200):
        plan = route.find_hosts(DOMAIN, port=25, shuffle=random.shuffle, allow_private=True)
        (_, found), _ = drive(plan, FakeResolver({f"{DOMAIN} MX": records}))
        assert [host.preference for host in found] == [0, 5, 10, 10]
        assert [host.name for host in found][:2] == ["d.example", "c.example"]
        first.add(found[2].name)
    assert first == {"a.example", "b.example"}


def test_many_hosts_and_addresses():
    """H12: what a domain can make us ask and dial is bounded."""
    records = {f"{DOMAIN} MX": [f"{n} mx{n}.example.net" for n in range(60)]}
    records["mx0.example.net A"] = [f"192.0.2.{n}" for n in range(100)]
    _, found, _ = hosts(records)
    assert len(found) == route.MAX_HOSTS
    assert len(found[0].addresses) == route.MAX_ADDRESSES


@pytest.mark.parametrize(
    ("insecure", "questions", "tlsa", "base"),
    [
        ((), ["real.example.org", "mx.example.net"], "real.example.org", "real.example.org"),
        ((), ["real.example.org", "mx.example.net"], "mx.example.net", "mx.example.net"),
        (["real.example.org"], ["mx.example.net"], "mx.example.net", "mx.example.net"),
        (["real.example.org"], ["mx.example.net"], "real.example.org", ""),
        (["mx.example.net", "real.example.org"], [], "mx.example.net", ""),
    ],
    ids=[
        "DANE-18-expanded-name-first", "DANE-18-then-the-original",
        "DANE-19-insecure-end-original-only", "DANE-19-expanded-name-does-not-count",
        "DANE-05-first-link-insecure",
    ],
)  # fmt: skip
def test_base_domain_of_an_alias(insecure, questions, tlsa, base):
    """DANE-18, DANE-19, DANE-05: which TLSA base domains an MX host that is a CNAME has."""
    # The MX record of another zone, so that nothing is asked ahead.
    records = {**ALIAS, f"{DOMAIN} MX": ["10 mx.example.net"]}
    records[f"_25._tcp.{tlsa} TLSA"] = [f"3 1 1 {DIGEST}"]
    insecure = [*insecure, f"{DOMAIN} MX"]
    _, (host,), rounds = hosts(records, insecure=insecure)
    asked = [each for group in rounds for each in group if each.endswith("TLSA")]
    assert asked == [f"_25._tcp.{name} TLSA" for name in questions]
    assert host.tlsa_base == base
    assert bool(host.tlsa) is bool(base)
    assert host.name == "mx.example.net"


@pytest.mark.parametrize(
    "target", ["odd\\032name.example.org", "a." * 120 + "example"], ids=["H13-blank", "too-long"]
)
def test_alias_of_what_is_no_base_domain(target):
    """H13, DANE-18: a CNAME target that can have no TLSA record is not asked about."""
    records = {**ALIAS, "mx.example.net CNAME": [target], f"{target} A": ["192.0.2.1"]}
    _, (host,), rounds = hosts(records, insecure=[f"{DOMAIN} MX"])
    asked = [each for group in rounds for each in group if each.endswith("TLSA")]
    assert asked == ["_25._tcp.mx.example.net TLSA"]
    assert host.addresses == ("192.0.2.1",)


def test_names_that_leave_no_room():
    """H13: a domain or host too long for the names of its policy and TLSA records has none."""
    long = ".".join(["a" * 60] * 4)
    assert len(long) == 243
    _, found, rounds = hosts({f"{long} A": ["192.0.2.1"]}, long)
    assert found[0].addresses
    assert not [each for group in rounds for each in group if each.endswith("TLSA")]
    longer = f"{long}.bcdef"
    plan = route.find_policy(longer, stored=None, failure=None, now=NOW)
    assert drive(plan, FakeResolver({}))[1] == []


def test_failed_tlsa_of_the_expanded_name():
    """DANE-04, DANE-18: a failure at the first base domain is not rescued by the second."""
    records = {**ALIAS, "_25._tcp.mx.example.net TLSA": [f"3 1 1 {DIGEST}"]}
    _, (host,), _ = hosts(records, fail={"_25._tcp.real.example.org TLSA": "bogus"})
    assert "bogus" in host.tlsa_problem
    assert host.tlsa == ()


def test_tlsa_behind_a_cname():
    """DANE-21: the TLSA name may be a CNAME; the base domain stays."""
    records = {
        **MX_AND_A,
        "_25._tcp.mx1.example.net TLSA": [],
        "_25._tcp.mx1.example.net CNAME": ["_dane.example.org"],
        "_dane.example.org TLSA": [f"3 1 1 {DIGEST}"],
    }
    _, found, _ = hosts(records)
    assert found[0].tlsa
    assert found[0].tlsa_base == "mx1.example.net"


def test_domain_that_is_a_cname():
    """DANE-14, SMTP-01: MX follows the CNAME of the domain; an insecure link makes it insecure."""
    records = {f"{DOMAIN} CNAME": ["example.org"], "example.org MX": ["10 mx.example.org"]}
    mx, found, _ = hosts(records)
    assert (mx.canonical, mx.status) == ("example.org", "secure")
    assert [host.name for host in found] == ["mx.example.org"]
    assert hosts(records, insecure=[f"{DOMAIN} CNAME"])[0].status == "insecure"


NOT_PUBLIC = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
    "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "2001:db8::1", "192.0.2.1",
    "::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", "fec0::1", "64:ff9b:1::7f00:1", "3fff::1",
    "5f00::1",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_private_address(address):
    """Ruling 20, K10: an address that is not global is left out unless it is allowed."""
    kind = "AAAA" if ":" in address else "A"
    records = {f"{DOMAIN} MX": ["10 mx.example.net"], f"mx.example.net {kind}": [address]}
    _, (host,), _ = hosts(records, allow_private=False)
    assert host.addresses == ()
    assert host.private == (address,)
    assert "allow_private" in host.address_problem
    _, (host,), _ = hosts(records, allow_private=True)
    assert host.addresses == (address,)


def test_public_address_beside_a_private_one():
    """Ruling 20: the public address stays usable."""
    records = {f"{DOMAIN} MX": ["10 mx.example.net"]}
    records["mx.example.net A"] = ["10.0.0.1", "1.1.1.1"]
    _, (host,), _ = hosts(records, allow_private=False)
    assert (host.addresses, host.private) == (("1.1.1.1",), ("10.0.0.1",))
    assert host.address_problem == ""


def test_address_literal():
    """DANE-12, A12: nothing is looked up for an address literal; private ones are left out too."""
    assert route.literal_host("1.1.1.1", allow_private=False).addresses == ("1.1.1.1",)
    host = route.literal_host("127.0.0.1", allow_private=False)
    assert (host.addresses, host.private) == ((), ("127.0.0.1",))


def test_named_server():
    """RFC 7673: a server that the caller named: addresses, then TLSA; no MX, private is fine."""
    records = {
        "smtp.example.net A": ["10.0.0.1"],
        "_587._tcp.smtp.example.net TLSA": [f"3 1 1 {DIGEST}"],
    }
    host, rounds = drive(route.find_server("smtp.example.net", port=587), FakeResolver(records))
    assert rounds == [
        ["smtp.example.net AAAA", "smtp.example.net A"], ["_587._tcp.smtp.example.net TLSA"]
    ]  # fmt: skip
    assert host.tlsa
    assert host.addresses == ("10.0.0.1",)


# -- the policy ----------------------------------------------------------------------------------

NOW = 1_800_000_000.0
ENFORCE = STSPolicy("enforce", ("mx.example.net",), 604800)
NEW = StoredPolicy(ENFORCE, "2", NOW)
TXT = f"_mta-sts.{DOMAIN} TXT"
POLICY_HOST = {f"mta-sts.{DOMAIN} A": ["192.0.2.80"]}


def policy(txt, *, stored=None, failure=None, fetched=None, records=None, **options):
    """Look a policy up; return the facts and what was fetched."""
    known = {**POLICY_HOST, **(records or {}), **({TXT: txt} if txt else {})}
    plan = route.find_policy(DOMAIN, stored=stored, failure=failure, now=NOW, allow_private=True)
    found, rounds = drive(plan, FakeResolver(known, **options), fetched)
    asked = [each for group in rounds for each in group if isinstance(each, Fetch)]
    return found, asked


def old(age, policy_id="1", **changes):
    """Return a stored policy of this age in seconds."""
    made = STSPolicy(**{"mode": "enforce", "mx": ENFORCE.mx, "max_age": 604800, **changes})
    return StoredPolicy(made, policy_id, NOW - age)


FETCH_2 = [Fetch(DOMAIN, "2", ("192.0.2.80",))]
POLICY_ROWS = [
    ("no-record", [], {}, None, "none", []),
    ("STS-01-fetched", ["v=STSv1; id=2;"], {"fetched": Fetched(NEW)}, NEW, "fetched", FETCH_2),
    ("STS-24-fetch-fails", ["v=STSv1; id=2;"], {"fetched": Fetched(None, "404")}, None, "none",
     FETCH_2),
    ("STS-02-two-records", ["v=STSv1; id=1;", "v=STSv1; id=2;"], {}, None, "none", []),
    ("STS-28-same-id", ["v=STSv1; id=1;"], {"stored": old(60)}, old(60), "cached", []),
    ("STS-28-any-other-id", ["v=STSv1; id=2;"], {"stored": old(60, "3"), "fetched": Fetched(NEW)},
     NEW, "fetched", FETCH_2),
    ("STS-25-record-gone", [], {"stored": old(60)}, old(60), "cached", []),
    ("STS-25-both-down", [], {"stored": old(60), "fail": {TXT: "servfail"}}, old(60), "cached", []),
    ("STS-25-https-down", ["v=STSv1; id=2;"],
     {"stored": old(60), "fetched": Fetched(None, "down")}, old(60), "cached", FETCH_2),
    ("STS-26-expired", ["v=STSv1; id=1;"],
     {"stored": old(604801), "fetched": Fetched(None, "down")}, None, "none",
     [Fetch(DOMAIN, "1", ("192.0.2.80",))]),
    ("STS-26-expired-and-no-record", [], {"stored": old(604801)}, None, "none", []),
    ("STS-27-refreshed-after-a-day", ["v=STSv1; id=2;"],
     {"stored": old(86401, "2"), "fetched": Fetched(NEW)}, NEW, "fetched", FETCH_2),
    ("STS-27-refreshed-without-a-record", [],
     {"stored": old(86401, "2"), "fetched": Fetched(NEW)}, NEW, "fetched", FETCH_2),
    ("STS-27-short-max-age-refreshed-at-half", ["v=STSv1; id=2;"],
     {"stored": old(61, "2", max_age=120), "fetched": Fetched(NEW)}, NEW, "fetched", FETCH_2),
    ("STS-11-back-off", ["v=STSv1; id=2;"], {"failure": ("2", NOW - 299)}, None, "none", []),
    ("STS-11-back-off-is-over", ["v=STSv1; id=2;"],
     {"failure": ("2", NOW - 300), "fetched": Fetched(NEW)}, NEW, "fetched", FETCH_2),
    ("STS-11-of-that-id-only", ["v=STSv1; id=2;"],
     {"failure": ("1", NOW - 1), "fetched": Fetched(NEW)}, NEW, "fetched", FETCH_2),
    ("STS-11-clock-set-back", ["v=STSv1; id=2;"],
     {"failure": ("2", NOW + 9999), "fetched": Fetched(NEW)}, NEW, "fetched", FETCH_2),
    ("STS-26-clock-set-back", ["v=STSv1; id=1;"], {"stored": old(-999)}, old(-999), "cached", []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("txt", "options", "stored", "source", "fetches"),
    [pytest.param(*row[1:], id=row[0]) for row in POLICY_ROWS],
)
def test_policy(txt, options, stored, source, fetches):
    """Which policy holds, and whether it is fetched: RFC 8461 s3.1 and s3.3."""
    found, asked = policy(txt, **options)
    assert (found.stored, found.source) == (stored, source)
    assert asked == fetches


@pytest.mark.parametrize(
    ("txt", "options", "failed", "problem"),
    [
        ([], {}, "", ""),
        ([], {"fail": {TXT: "timeout"}}, "dns", "timeout"),
        (["v=STSv1; id=2;"], {"fetched": Fetched(None, "status 404")}, "fetch", "status 404"),
        (["v=STSv1; id=2;"], {"failure": ("2", NOW - 7)}, "fetch", "7 s ago"),
        (["v=STSv1; id=a", "v=STSv1; id=b"], {}, "", "2"),
        (["v=STSv1; id=2;"], {"records": {f"mta-sts.{DOMAIN} A": []}}, "fetch", "no address"),
    ],
    ids=["none", "txt-fails", "fetch-fails", "back-off", "two-records", "no-address"],
)
def test_why_there_is_no_policy(txt, options, failed, problem):
    """Whether there is none, or nobody knows, is told apart: a refusal needs it."""
    found, _ = policy(txt, **options)
    assert found.failed == failed
    assert problem in found.problem
    assert bool(found.problem) is bool(problem)


def test_policy_host_with_a_private_address():
    """K10, ruling 20: a policy host on a private address is not connected to."""
    records = {TXT: ["v=STSv1; id=2;"], f"mta-sts.{DOMAIN} A": ["169.254.169.254"]}
    plan = route.find_policy(DOMAIN, stored=None, failure=None, now=NOW)
    found, rounds = drive(plan, FakeResolver(records))
    assert not [each for group in rounds for each in group if isinstance(each, Fetch)]
    assert "allow_private" in found.problem


def test_questions_about_a_policy():
    """STS-01, STS-30, STS-34: the domain's own names, never a parent's or a CNAME target's."""
    resolver = FakeResolver({f"{DOMAIN} CNAME": ["example.org"]})
    drive(route.find_policy(f"a.{DOMAIN}", stored=None, failure=None, now=NOW), resolver)
    assert resolver.queries == [
        f"_mta-sts.a.{DOMAIN} TXT", f"mta-sts.a.{DOMAIN} AAAA", f"mta-sts.a.{DOMAIN} A"
    ]  # fmt: skip


def test_cached_policy_needs_one_question():
    """STS-28: with a policy in the store, the TXT record is all that is asked for."""
    resolver = FakeResolver({TXT: ["v=STSv1; id=1;"]})
    drive(route.find_policy(DOMAIN, stored=old(60), failure=None, now=NOW), resolver)
    assert resolver.queries == [f"_mta-sts.{DOMAIN} TXT"]
