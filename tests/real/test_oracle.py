"""What Postfix says of each domain of the small internet is what the table expects of it."""

from __future__ import annotations

import uuid

import pytest

from .zones import ZONES

TOKENS = {zone.name: f"{uuid.uuid4().hex}" for zone in ZONES}
EVERY_ZONE = [pytest.param(zone, id=zone.name) for zone in ZONES]


@pytest.fixture(scope="module")
def judgements(judge):
    """Return what became of one message with REQUIRETLS to each domain: token -> judgement."""
    return judge.judge({TOKENS[zone.name]: zone.domain for zone in ZONES})


@pytest.fixture(scope="module")
def mail_seen(internet, judgements):
    """Return every MAIL command that any host was sent for them: host -> lines."""
    return internet.mail_commands()


@pytest.fixture(scope="module")
def fingers(judge):
    """Return what posttls-finger says of each domain: domain -> word, all its output."""
    return judge.finger([zone.domain for zone in ZONES])


@pytest.mark.parametrize("zone", EVERY_ZONE)
def test_postfix_says_what_the_table_expects(zone, judgements):
    """RFC 8689 s4.2.1: the same verdict as ours, or a difference that the table explains."""
    judgement = judgements[TOKENS[zone.name]]
    assert judgement.verdict == zone.postfix, judgement


@pytest.mark.parametrize("zone", EVERY_ZONE)
def test_hosts_see_mail_only_where_postfix_delivers(zone, judgements, mail_seen):
    """RT-09: a host that does not qualify sees no MAIL; one that does sees the mark on it."""
    seen = [line for lines in mail_seen.values() for line in lines if TOKENS[zone.name] in line]
    if judgements[TOKENS[zone.name]].action == "sent":
        assert len(seen) == 1
        assert "REQUIRETLS" in seen[0]
    else:
        assert seen == []


@pytest.mark.parametrize("zone", EVERY_ZONE)
def test_posttls_finger_says_what_the_table_expects(zone, fingers):
    """RFC 7672: how the TLS of the domain's host is authenticated, seen by a second program."""
    word, said = fingers[zone.domain]
    assert word == zone.finger, said
