"""``deliver()`` and ``check()`` in the small internet: real DNS, policies and servers, no double.

Each zone says in :mod:`.zones` what a message with require_tls must come to there, and the same
table is held against Postfix in ``test_oracle``: the verdicts agree but for the rows that give a
reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import requiretls_client as rt
from requiretls_client import policy_fetch, recording
from requiretls_client.assessment import assess
from requiretls_client.cli import page, terminal
from requiretls_client.cli.view import view_of
from requiretls_client.cli.words import spoken_data

from .zones import ZONES, Zone

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/to_domain.py"
SLOW = ("sts-slow", "sts-trickle")  # their policy hosts never come to an end


class Outcome(NamedTuple):
    """What came of one zone."""

    token: str
    delivered: rt.RecipientResult
    error: rt.DeliveryFailed | None


@pytest.fixture(scope="module")
def ways(internet):
    """Return look-ups in the small internet, by the system's own resolver settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy_fetch, "FETCH_SECONDS", 1.0)
        made = rt.Lookups(cache=rt.MemoryStore(), trust=internet.ca.path, allow_private=True)
        yield made
        made.close()


def message(token, domain):
    """Return the arguments of deliver(): a raw message with its envelope."""
    raw = f"Subject: {token}\r\n\r\ncanary {token}\r\n".encode()
    return raw, f"{token}@sender.test", f"user@{domain}"


def in_each_zone(call):
    """Call with every zone, several at a time; return zone's name -> result."""
    with ThreadPoolExecutor(8) as pool:
        return dict(zip([zone.name for zone in ZONES], pool.map(call, ZONES), strict=True))


@pytest.fixture(scope="module")
def dialled(internet):
    """Return how often a host was connected to that no strict message may reach."""
    before = internet.hosts["off_limits"].connections
    return lambda: internet.hosts["off_limits"].connections - before


@pytest.fixture(scope="module")
def outcomes(ways, dialled):
    """Deliver to every zone."""

    def try_out(zone: Zone) -> Outcome:
        token, error = uuid.uuid4().hex, None
        try:
            report = rt.deliver(
                *message(token, zone.domain), require_tls=True, lookups=ways, timeout=10
            )
        except rt.DeliveryFailed as failed:
            report, error = failed.report, failed
        return Outcome(token, report.recipients[0], error)

    results = in_each_zone(try_out)
    assert dialled() == 0, "E04, K10: what nothing vouches for was connected to"
    return results


@pytest.fixture(scope="module")
def checked(ways, outcomes):
    """Check every zone, which also asks about ordinary mail; return name -> report."""
    assert outcomes
    return in_each_zone(lambda zone: rt.check(zone.domain, lookups=ways, timeout=10))


@pytest.fixture(scope="module")
def seen(internet, outcomes):
    """Return what all servers were sent: host -> MAIL commands, once everything was delivered."""
    return internet.mail_commands()


def each_zone():
    """Parametrize over the table."""
    return pytest.mark.parametrize("zone", [pytest.param(zone, id=zone.name) for zone in ZONES])


@each_zone()
def test_require_tls(zone, outcomes, seen):
    """RT-03, RT-04, RT-07, RT-09: the right host with the mark, or the right status and no MAIL."""
    outcome = outcomes[zone.name]
    result = outcome.delivered
    mails = [line for lines in seen.values() for line in lines if outcome.token in line]
    if zone.delivered:
        assert (result.state, result.mx_host) == ("delivered", zone.delivered)
        assert result.tls_level == "authenticated"
        assert len(mails) == 1
        assert mails[0].upper().endswith("REQUIRETLS")
    else:
        assert result.state in ("refused", "deferred")
        assert result.status == zone.reqtls
        assert mails == []
        assert outcome.error.findings[-1].fix
        assert zone.domain in outcome.error.report.explain()


@each_zone()
def test_check_agrees(zone, outcomes, checked):
    """check() says of every zone what deliver() does there."""
    verdict, result = checked[zone.name].verdict, outcomes[zone.name].delivered
    assert verdict.allowed is (result.state == "delivered")
    if not verdict.allowed:
        assert (verdict.status, verdict.temporary) == (result.status, result.temporary)


@pytest.fixture(scope="module")
def others(ways, checked):
    """Deliver an ordinary message to every zone, and one that may go without TLS."""
    assert checked

    def deliver(zone: Zone, **wish: bool) -> rt.RecipientResult:
        arguments = message(uuid.uuid4().hex, zone.domain)
        try:
            report = rt.deliver(*arguments, lookups=ways, timeout=10, **wish)
        except rt.DeliveryFailed as failed:
            report = failed.report
        return report.recipients[0]

    return {
        "ordinary": in_each_zone(deliver),
        "tls_optional": in_each_zone(lambda zone: deliver(zone, tls_optional=True)),
    }


@each_zone()
@pytest.mark.parametrize("kind", ["ordinary", "tls_optional"])
def test_check_agrees_on_other_mail(zone, kind, others, checked):
    """check() says of every zone what deliver() does there with mail that requires nothing."""
    verdict, result = checked[zone.name].verdicts[kind], others[kind][zone.name]
    assert verdict.allowed is (result.state == "delivered")
    if verdict.allowed:
        assert verdict.tls_level == result.tls_level
    else:
        assert (verdict.status, verdict.temporary) == (result.status, result.temporary)


@pytest.fixture(scope="module")
def schema():
    """Return what holds JSON against the shipped schema."""
    jsonschema = pytest.importorskip("jsonschema")
    path = Path(page.__file__).with_name("check.schema.json")
    return jsonschema.Draft202012Validator(json.loads(path.read_text()))


@each_zone()
def test_check_is_replayed_and_drawn(zone, checked, schema):
    """From a file comes the same report; its JSON keeps to the schema, and it can be drawn."""
    report = checked[zone.name]
    (facts,) = recording.load(recording.dump([report.facts]))
    again = assess(facts)
    assert again == report
    schema.validate(json.loads(json.dumps(spoken_data(again.as_dict()))))
    view = view_of(again)
    assert zone.domain in terminal.plain(view)
    assert zone.domain in page.page_of([again])


def test_first_host_without_the_keyword(internet, ways):
    """RT-07, RT-08: EHLO, STARTTLS, EHLO, QUIT at the first, and delivered at the second."""
    first = internet.hosts["postfix37"]
    before = len(first.commands())
    token = uuid.uuid4().hex
    report = rt.deliver(
        *message(token, internet.zone("first-without").domain), require_tls=True, lookups=ways
    )
    own = [line for line in first.commands()[before:] if "mark-" not in line and line != "helo"]
    verbs = [line.split(" ")[0].upper() for line in own]
    assert verbs[verbs.index("EHLO") :][:4] == ["EHLO", "STARTTLS", "EHLO", "QUIT"]
    assert not {"MAIL", "RCPT", "DATA"} & set(verbs)
    assert report.recipients[0].mx_host == internet.zone("first-without").delivered


def test_policies_were_fetched_once(internet, outcomes):
    """STS-11, STS-28: check and delivery share one fetch, also one that failed."""
    assert outcomes
    asked = [zone for zone in ZONES if zone.policy and zone.policy.announced]
    assert asked
    for zone in asked:
        if zone.name not in SLOW:
            assert len(internet.policies.fetches(zone.domain)) <= 1, zone.name


def test_system_resolver_is_trusted(ways):
    """Ruling 9: resolv.conf says trust-ad, so its servers may say what is secure."""
    assert ways.resolver.trusted
    assert "trust-ad" in ways.resolver.trust_reason


def test_without_trust_dane_is_not_evaluated(internet, ways):
    """DNS-01, DANE-01, J01: the same resolver, not trusted: its word on DNSSEC does not count."""
    distrusting = rt.Lookups(
        rt.Resolver(trust_ad=False), rt.MemoryStore(), trust=internet.ca.path, allow_private=True
    )
    with pytest.raises(rt.DeliveryFailed, match="DNSSEC was not evaluated") as caught:
        rt.deliver(
            *message("x", internet.zone("dane").domain), require_tls=True, lookups=distrusting
        )
    assert caught.value.status == "5.7.10"


def test_ordinary_mail_and_tls_optional(internet, ways):
    """RT-17, DANE-08: a TLSA mismatch stops ordinary mail, not a message that asks for that."""
    domain = internet.zone("bad-tlsa-good-sts").domain
    with pytest.raises(rt.DeliveryFailed):
        rt.deliver(*message(uuid.uuid4().hex, domain), lookups=ways)
    token = uuid.uuid4().hex
    report = rt.deliver(*message(token, domain), tls_optional=True, lookups=ways)
    assert report.recipients[0].tls_level == "encrypted"
    (host,) = [host for host, lines in internet.mail_commands(token).items() if lines]
    assert host


@pytest.mark.parametrize(("name", "status"), [("dane", 0), ("noreq", 69), ("wrong-ds", 75)])
def test_example(internet, name, status):
    """examples/to_domain.py delivers, refuses for good, or asks to try again, and says why."""
    recipient = f"user@{internet.zone(name).domain}"
    command = [sys.executable, EXAMPLE, "--ca-file", internet.ca.path, "--allow-private"]
    token = uuid.uuid4().hex
    text = f"From: {token}@sender.test\nSubject: x\n\nhello\n".encode()
    for extra in ([], ["--check"]):
        done = subprocess.run(
            [*map(str, command), *extra, recipient], input=text, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (status, b"")
        assert b"fix: " in done.stdout if status else internet.zone(name).delivered in (
            done.stdout.decode()
        )  # fmt: skip
    assert bool(internet.mail_commands(token)) is (status == 0)
