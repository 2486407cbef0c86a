"""What becomes of each recipient: transactions, hosts, bounds, and what the report says."""

from __future__ import annotations

import copy
import json
import pickle
import signal
import threading
from types import SimpleNamespace

import pytest
from small_internet import DOMAIN, FIRST, GOOD, SECOND, WITHOUT, refused, send
from support import OTHER, nothing_sent, verbs

import requiretls_client as rt
from requiretls_client import mxwalk, transaction
from requiretls_client.testing import close

# -- several recipients ----------------------------------------------------------------------------


def test_domains_are_judged_alone(net, message):
    """E07, B9: each domain is its own run; one that is refused hides no other's outcome."""
    good, bad = net.host(GOOD), net.host("mx.example.com", tls_extensions=WITHOUT)
    net.mx(GOOD)
    net.mx("mx.example.com", domain="example.com")
    to = ["bob@example.net", "eve@example.com", "Carol <carol@EXAMPLE.net>"]
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message, to_addrs=to)
    report = caught.value.report
    assert [result.address for result in report.recipients] == to
    assert [result.state for result in report.recipients] == ["delivered", "refused", "delivered"]
    assert report.delivered == (to[0], to[2])
    assert len(good.ledger) == 1
    assert good.ledger[0].recipients == ("bob@example.net", "carol@EXAMPLE.net")
    assert nothing_sent(bad)
    assert (caught.value.status, caught.value.domain) == ("5.7.30", "example.com")


def test_partial_recipients(net, message):
    """E06, ruling 13: who was refused by the server, and who has it, as the ledger says."""
    server = net.host(GOOD, script={"RCPT": ["250 ok", "550 5.1.1 nobody", "250 ok"]})
    net.mx(GOOD)
    to = [f"{name}@{DOMAIN}" for name in ("a", "b", "c")]
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message, to_addrs=to)
    states = {each.address: each.state for each in caught.value.report.recipients}
    assert states == {to[0]: "delivered", to[1]: "refused", to[2]: "delivered"}
    assert server.ledger[0].recipients == (to[0], to[2])
    assert (caught.value.code, caught.value.status) == (550, "5.1.1")
    assert "nobody" in str(caught.value)


NO_UTF8 = {"tls_extensions": ("8BITMIME", "REQUIRETLS")}


def test_international_mailbox_holds_nobody_up(net, message):
    """UTF-02, B9: without SMTPUTF8 that recipient is refused, and the others get the message."""
    server = net.host(GOOD, **NO_UTF8)
    net.mx(GOOD)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message, to_addrs=["jürgen@example.net", "bob@example.net"])
    international, plain = caught.value.report.recipients
    assert plain.state == "delivered"
    assert [each.recipients for each in server.ledger] == [("bob@example.net",)]
    assert (international.state, international.status) == ("refused", "5.6.7")
    assert not international.temporary


def test_another_host_may_have_smtputf8(net, message):
    """UTF-02, C6: a host that could not be asked now may have it: that is for later."""
    net.host(FIRST, **NO_UTF8)
    net.host(SECOND, script={"GREETING": "421 4.3.2 later"})
    net.mx(FIRST, SECOND)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message, to_addrs=["jürgen@example.net"])
    (result,) = caught.value.report.recipients
    assert (result.state, result.code, result.temporary) == ("deferred", 451, True)


def test_421_at_the_second_recipient(net, message):
    """SMTP-19: a session that the server ends between recipients leaves a reason with each."""
    server = net.host(GOOD, script={"RCPT": ["250 ok", "421 4.7.0 bye"]})
    net.mx(GOOD)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message, to_addrs=[f"{name}@{DOMAIN}" for name in ("a", "b", "c")])
    results = caught.value.report.recipients
    assert [result.state for result in results] == ["deferred"] * 3
    assert all(result.text for result in results)
    assert not server.ledger


def test_too_many_recipients(net, message):
    """SMTP-16: 452 for some means: the rest in another transaction, on the same session."""
    server = net.host(GOOD, script={"RCPT": ["250 ok", "452 4.5.3 enough", "452 4.5.3 enough"]})
    net.mx(GOOD)
    to = [f"{name}@{DOMAIN}" for name in ("a", "b", "c")]
    assert send(net, message, to_addrs=to).delivered == tuple(to)
    assert [each.recipients for each in server.ledger] == [(to[0],), tuple(to[1:])]
    assert verbs(server).count("STARTTLS") == 1


# -- from host to host -----------------------------------------------------------------------------


def test_deferred_at_the_first_host(net, message):
    """SMTP-18, C6: a temporary refusal of the message leads to the next host, with the mark."""
    first = net.host(FIRST, script={"MAIL": "451 4.7.1 greylisted"})
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    (result,) = send(net, message).recipients
    assert (result.state, result.mx_host) == ("delivered", SECOND)
    assert result.attempts[0].reply == (451, "4.7.1 greylisted")
    assert not first.ledger
    assert "REQUIRETLS" in second.ledger[0].parameters


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("reply", ["451 4.7.1 later", "555 5.5.4 never"])
def test_refused_by_the_only_host(net, message, stage, reply):
    """C6, E08: the server's own reply is the outcome, and nothing is repeated without the mark."""
    server = net.host(GOOD, script={stage: reply})
    net.mx(GOOD)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message)
    (result,) = caught.value.report.recipients
    code, status, _ = reply.split()
    assert (str(result.code), result.status) == (code, status)
    assert result.state == ("deferred" if code == "451" else "refused")
    assert not server.ledger
    mails = [line for line in server.commands() if line.upper().startswith("MAIL")]
    assert len(mails) == 1
    assert mails[0].upper().endswith("REQUIRETLS")


def test_reply_that_is_neither_yes_nor_no(net, message):
    """SMTP-08: smtplib takes 250 alone for yes; 299 is no refusal either: not here, not now."""
    server = net.host(GOOD, script={"MAIL": "299 2.1.0 hm"})
    net.mx(GOOD)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message)
    (result,) = caught.value.report.recipients
    assert (result.state, result.code) == ("deferred", 451)
    assert not server.ledger


def test_lost_after_the_dot(net, message):
    """Ruling 14, L08: an outcome that nobody knows is ``unknown``, and no other host is asked."""
    net.host(FIRST, script={".": close})
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message)
    (result,) = caught.value.report.recipients
    assert (result.state, result.code, result.temporary) == ("unknown", None, False)
    assert not caught.value.temporary
    assert not second.transcript


def test_lost_before_the_dot(net, message):
    """SMTP-19: a connection that breaks before the message has left leads to the next host."""
    net.host(FIRST, script={"DATA": close})
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    assert send(net, message).delivered
    assert len(second.ledger) == 1


# -- bounds --------------------------------------------------------------------------------------


def test_hosts_that_get_the_whole_message(net, message, monkeypatch):
    """H12: hosts that take all of it and say "later" are asked MAX_SESSIONS times, not for ever."""
    monkeypatch.setattr(transaction, "MAX_SESSIONS", 2)
    hosts = [f"mx{number}.{DOMAIN}" for number in range(4)]
    servers = [net.host(host, script={".": "451 4.3.0 later"}) for host in hosts]
    net.mx(*hosts)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message)
    assert caught.value.temporary
    assert [verbs(server).count("DATA") for server in servers] == [1, 1, 0, 0]
    assert not servers[2].transcript


def test_hosts_that_take_for_ever(net, message, monkeypatch):
    """H12: after WALK_SECONDS no further host of the domain is tried, and the rest is for later."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=1000.0)
    monkeypatch.setattr(mxwalk, "time", clock)

    def dawdle(connection):
        clock.now += mxwalk.WALK_SECONDS + 1
        return "421 4.3.2 later"

    net.host(FIRST, script={"GREETING": dawdle})
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    error = refused(net, message)
    assert error.temporary
    assert not second.transcript
    (result,) = error.report.recipients
    assert [each.verdict.status for each in result.attempts] == ["4.3.2", "4.4.1"]
    assert f"{SECOND} was not tried any more" in str(result.attempts[1].verdict.findings)


@pytest.fixture
def heard():
    """Let ^C be heard: a shell starts what runs in the background so that it is not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_interrupt(net, message):
    """H12: ^C ends deliver() at once; what is under way elsewhere does not hold it."""
    gate = threading.Event()

    def interrupt(connection):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        gate.wait(20)
        return close

    def under_way():
        threads = threading.enumerate()
        return [each for each in threads if each.name.startswith("requiretls-deliver")]

    net.host(GOOD, script={"MAIL": interrupt})
    net.host("mx.example.com", script={"GREETING": close})
    net.mx(GOOD)
    net.mx("mx.example.com", domain="example.com")
    try:
        with pytest.raises(KeyboardInterrupt):
            send(net, message, to_addrs=["bob@example.net", "eve@example.com"])
        assert under_way()
    finally:
        gate.set()
        for thread in under_way():
            thread.join(20)


# -- reports ---------------------------------------------------------------------------------------


def test_reports_are_data(net, message):
    """RT-10: report and error turn into JSON, pickle and explain themselves."""
    net.host(GOOD, tls_extensions=WITHOUT)
    net.mx(GOOD)
    error = refused(net, message)
    data = json.loads(json.dumps(error.as_dict()))
    assert data["report"]["schema"] == "requiretls-delivery/1"
    assert data["report"]["recipients"][0]["status"] == "5.7.30"
    twin = pickle.loads(pickle.dumps(error))
    assert twin.report == error.report
    assert copy.copy(error).report is error.report
    assert "5.7.30" in error.report.explain()
    assert "fix:" in error.report.explain()
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port)
    data = json.loads(json.dumps(report.as_dict()))
    assert data["schema"] == "requiretls-check/1"
    assert data["hosts"][0]["name"] == GOOD
    assert pickle.loads(pickle.dumps(report)).as_dict() == report.as_dict()


def test_unexpected_error_in_the_look_ups(net, message, monkeypatch, caplog):
    """Ruling 14: what broke off before a transaction is not ``unknown``: nothing had been sent."""
    net.mx(GOOD)
    lookups = net.lookups()
    monkeypatch.setattr(lookups.resolver, "query", lambda *_: 1 / 0)
    (result,) = refused(net, message, lookups=lookups).report.recipients
    assert (result.state, result.code, result.status) == ("deferred", 451, "4.3.0")
    assert "ZeroDivisionError" in caplog.text


def test_unexpected_error_in_a_transaction(net, message, monkeypatch, caplog):
    """Ruling 14: of a transaction under way nobody can tell; what was tried before is reported."""
    net.host(FIRST, tls_extensions=WITHOUT)
    net.host(SECOND)
    net.mx(FIRST, SECOND)
    monkeypatch.setattr(rt.SMTP, "send_message", lambda *_, **__: 1 / 0)
    (result,) = refused(net, message).report.recipients
    assert (result.state, result.code) == ("unknown", None)
    assert [each.mx_host for each in result.attempts] == [FIRST, SECOND]
    assert "ZeroDivisionError" in caplog.text


def test_only_what_decided_is_to_be_mended(net, message):
    """RT-10: a server's refusal, or a delivery, does not blame a certificate that nobody needed."""
    certificate = OTHER.issue(GOOD)
    net.host(GOOD, tlsa=False, certificate=certificate, script={"RCPT": ["550 5.1.1 nobody"]})
    net.mx(GOOD)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message, require_tls=False)
    assert str(caught.value).endswith("5.1.1 nobody")
    assert caught.value.report.recipients[0].fixes == ()
    assert "fix:" not in caught.value.report.explain()
    report = send(net, message, require_tls=False)
    assert report.recipients[0].tls_level == "encrypted"
    assert "fix:" not in report.explain()
