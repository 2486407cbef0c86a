"""Pool: a few connections for many messages, each used again only for what asks the same."""

from __future__ import annotations

import os
import smtplib
import threading
from email.message import EmailMessage

import pytest
from support import connect, verbs

import requiretls_client as rt
from requiretls_client.testing import close, normal

SENDER, ONE = "alice@example.org", "one@example.net"
OFFERS = ["PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"]
STRICT = {"extensions": OFFERS, "tls_extensions": [*OFFERS, "REQUIRETLS"]}


def raw(number):
    """Return a message that can be told from the others."""
    return f"Subject: number {number}\r\n\r\nbody\r\n".encode()


def messages(count):
    """Return so many."""
    return [(SENDER, [ONE], raw(number)) for number in range(count)]


def states(outcomes):
    """Return the state of each."""
    return [outcome.state for outcome in outcomes]


@pytest.fixture
def pool(serve):
    """Return what makes a server and a pool of connections to it."""
    pools = []

    def make(size=3, require_tls=False, **options):
        server = serve(**{**STRICT, **options})

        def dial():
            smtp = connect(server, require_tls=require_tls)
            if not require_tls:
                smtp.starttls()
            return smtp

        pools.append(rt.Pool(dial, size))
        return server, pools[-1]

    yield make
    for each in pools:
        each.close()


def connections(server):
    """Return how many handshakes the server has seen."""
    return verbs(server).count("STARTTLS")


def subjects(server, its_pool):
    """Close the pool, and return the numbers of the messages that the server took."""
    its_pool.close()
    server.wait_idle()
    return sorted(int(item.content.split()[2]) for item in server.ledger)


@pytest.mark.parametrize("require_tls", [None, True], ids=["ordinary", "require-tls"])
@pytest.mark.parametrize("in_flight", [1, 8])
def test_every_message_once(pool, in_flight, require_tls):
    """All messages arrive, each once, over at most as many connections; outcomes in order."""
    server, its = pool()
    told = []
    outcomes = its.send_messages(
        messages(60), require_tls=require_tls, in_flight=in_flight, progress=told.append
    )
    assert states(outcomes) == ["delivered"] * 60
    assert [outcome.number for outcome in outcomes] == list(range(60))
    assert told == outcomes
    assert subjects(server, its) == list(range(60))
    assert 1 <= connections(server) <= 3
    assert all(("REQUIRETLS" in item.parameters) is bool(require_tls) for item in server.ledger)


def test_single_messages_share_a_connection(pool):
    """sendmail() and send_message() use a connection again, and return what SMTP's return."""
    server, its = pool(script={"RCPT": ["250 ok", "550 5.1.1 no", "250 ok"]})
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, ONE, "number 1"
    assert its.sendmail(SENDER, ONE, raw(0)) == {}
    assert its.sendmail(SENDER, ["bad@example.net", ONE], raw(2)) == {
        "bad@example.net": (550, b"5.1.1 no")
    }
    assert its.send_message(message) == {}
    its.close()
    server.wait_idle()
    assert len(server.ledger) == 3
    assert connections(server) == 1


def test_requirements_do_not_share_a_connection(pool):
    """A connection is used again only under the requirement that it was judged for."""
    server, its = pool(size=2)
    for require_tls in (None, True, None, True):
        its.sendmail(SENDER, ONE, raw(0), require_tls=require_tls)
    its.sendmail(SENDER, ONE, raw(0), ["REQUIRETLS"])
    assert connections(server) == 2
    its.sendmail(SENDER, ONE, raw(0), require_tls=False)  # makes room for itself
    assert connections(server) == 3
    assert len(its._idle) == 2
    its.close()
    server.wait_idle()
    assert ["REQUIRETLS" in item.parameters for item in server.ledger] == [
        False, True, False, True, True, False,
    ]  # fmt: skip


def test_arguments_that_can_be_read_once(pool):
    """REQUIRETLS among options from an iterator counts, and recipients survive a second try."""
    server, its = pool(script={"MAIL": ["250 ok", close, "250 ok"]})
    assert its.sendmail(SENDER, ONE, raw(0), ["REQUIRETLS"]) == {}
    assert its.sendmail(SENDER, iter([ONE]), raw(1), iter(["REQUIRETLS"])) == {}
    assert subjects(server, its) == [0, 1]
    assert all("REQUIRETLS" in item.parameters for item in server.ledger)
    assert all(item.recipients == (ONE,) for item in server.ledger)


def test_connection_that_ended_meanwhile(pool):
    """A connection that the server has closed in the meantime is made anew, unseen."""
    server, its = pool(script={".": ["250 ok", "250 ok"], "NOOP": close})
    its.sendmail(SENDER, ONE, raw(0))
    ((_, kept),) = its._idle
    with pytest.raises(smtplib.SMTPServerDisconnected):
        kept.noop()
    its.sendmail(SENDER, ONE, raw(1))
    assert connections(server) == 2
    assert subjects(server, its) == [0, 1]


@pytest.mark.parametrize("stage", ["MAIL", "RCPT"])
def test_connection_lost_under_a_message(pool, stage):
    """A kept connection that ends before the content has left costs a second try, no more."""
    server, its = pool(script={stage: ["250 ok", close, "250 ok"]})
    assert its.sendmail(SENDER, ONE, raw(0)) == {}
    assert its.sendmail(SENDER, ONE, raw(1)) == {}
    assert subjects(server, its) == [0, 1]
    server, its = pool(script={stage: close})
    with pytest.raises(smtplib.SMTPServerDisconnected):
        its.sendmail(SENDER, ONE, raw(0))
    assert connections(server) == 1


def test_unknown_to_a_class_with_its_own_data(serve):
    """What has left by somebody's own data(), and was not answered, is unknown too."""

    class Mine(rt.SMTP):
        def data(self, msg):  # as smtplib has it
            self.putcmd("data")
            code, text = self.getreply()
            if code != 354:
                raise smtplib.SMTPDataError(code, text)
            self.send(msg + b".\r\n")
            return self.getreply()

    server = serve(script={".": [normal, close, "451 later", normal, close]})
    with rt.Pool(lambda: connect(server, Mine), size=1) as its:
        its.sendmail(SENDER, [ONE], raw(0))
        with pytest.raises(rt.DeliveryUnknown) as caught:
            its.sendmail(SENDER, [ONE, "two@example.net"], raw(1))
        assert caught.value.recipients == (ONE, "two@example.net")
        with pytest.raises(smtplib.SMTPDataError):
            its.sendmail(SENDER, [ONE], raw(2))
        assert states(its.send_messages(messages(3))) == ["delivered", "unknown", "delivered"]


def test_unknown_is_never_sent_again(pool):
    """O8: a message whose answer did not come is not sent over another connection."""
    server, its = pool(size=1, script={".": ["250 ok", close]})
    its.sendmail(SENDER, ONE, raw(0))
    with pytest.raises(rt.DeliveryUnknown):
        its.sendmail(SENDER, ONE, raw(1))
    assert verbs(server).count("MAIL") == 2
    server, its = pool(size=1, script={".": ["250 ok", close, "250 ok"]})
    outcomes = its.send_messages(messages(4))
    assert states(outcomes) == ["delivered", "unknown", "delivered", "delivered"]
    assert subjects(server, its) == [0, 2, 3]


@pytest.mark.parametrize("ending", [close, "421 4.3.2 enough"], ids=["close", "421"])
@pytest.mark.parametrize("size", [1, 3])
def test_server_that_ends_connections(pool, size, ending):
    """A server that takes a few messages a connection gets the others over new ones."""
    server, its = pool(size=size, script={"MAIL": ["250 ok"] * 4 + [ending] + ["250 ok"] * 9})
    outcomes = its.send_messages(messages(12))
    assert states(outcomes) == ["delivered"] * 12
    assert subjects(server, its) == list(range(12))


def test_message_that_ends_every_connection(pool):
    """A message at which the server hangs up is tried twice, and does not hold up the others."""
    server, its = pool(size=1, script={"RCPT": ["250 ok", close, close, "250 ok"]})
    outcomes = its.send_messages(messages(5))
    assert states(outcomes).count("delivered") >= 3
    deferred = [outcome for outcome in outcomes if outcome.state != "delivered"]
    assert all(isinstance(each.error, smtplib.SMTPServerDisconnected) for each in deferred)
    assert subjects(server, its) == [
        outcome.number for outcome in outcomes if outcome.state == "delivered"
    ]


def test_server_that_cannot_be_reached():
    """Where no connection can be had, every message's outcome says why; connecting ends."""
    dialled = []

    def dial():
        dialled.append(1)
        return rt.SMTP("127.0.0.1", 1, local_hostname="x.test", timeout=1)

    outcomes = rt.Pool(dial, 2).send_messages(messages(5))
    assert states(outcomes) == ["deferred"] * 5
    assert all(isinstance(outcome.error, OSError) for outcome in outcomes)
    assert len(dialled) <= 4


def test_server_that_does_not_qualify(pool):
    """A server without REQUIRETLS is asked once a connection, not once a message."""
    server, its = pool(size=2, require_tls=True, tls_extensions=OFFERS)
    outcomes = its.send_messages(messages(20))
    assert states(outcomes) == ["refused"] * 20
    assert all(isinstance(outcome.error, rt.RequireTLSNotOffered) for outcome in outcomes)
    assert "MAIL" not in verbs(server)
    server, its = pool(size=2, tls_extensions=OFFERS)
    outcomes = its.send_messages(messages(20), require_tls=True)
    assert "delivered" not in states(outcomes)
    assert any(isinstance(outcome.error, rt.RequireTLSNotOffered) for outcome in outcomes)
    assert connections(server) <= 2


def test_threads_wait_for_their_turn(pool):
    """More threads than connections: each message is sent, over no more connections than that."""
    server, its = pool(size=2)
    failed = []

    def work(number):
        try:
            its.sendmail(SENDER, ONE, raw(number))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert connections(server) <= 2
    assert subjects(server, its) == list(range(10))


def test_iterator_and_callback_that_fail(pool):
    """An error of the caller's own code comes out, once what has begun is ended."""
    server, its = pool(size=2)

    def some():
        yield from messages(3)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        its.send_messages(some())

    def shout(outcome):
        raise LookupError("callback")

    with pytest.raises(LookupError, match="callback"):
        its.send_messages(messages(3), progress=shout)
    assert its.sendmail(SENDER, ONE, raw(9)) == {}
    assert 9 in subjects(server, its)


def test_closed_pool(pool):
    """A closed pool says QUIT and takes nothing more."""
    server, its = pool()
    with its:
        its.sendmail(SENDER, ONE, raw(0))
    server.wait_idle()
    assert "QUIT" in verbs(server)
    with pytest.raises(ValueError, match="closed"):
        its.sendmail(SENDER, ONE, raw(0))
    with pytest.raises(ValueError, match="closed"):
        its.send_messages(messages(1))


@pytest.mark.parametrize("size", [0, -1, True, "2", 1.5])
def test_bad_size(size):
    """A pool without connections is an error at once."""
    with pytest.raises((ValueError, TypeError), match="size"):
        rt.Pool(connect, size)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
def test_forked_child_connects_anew(pool):
    """A child process does not use its parent's connections."""
    server, its = pool()
    its.sendmail(SENDER, ONE, raw(0))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            its.sendmail(SENDER, ONE, raw(1))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    its.sendmail(SENDER, ONE, raw(2))
    assert connections(server) == 2
    assert subjects(server, its) == [0, 1, 2]
