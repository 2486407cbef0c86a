"""RFC 2033: one reply for each accepted recipient."""

from __future__ import annotations

import smtplib

import pytest
from support import RAW, connect

import requiretls_client as rt
from requiretls_client.testing import close, stall


def test_lmtp_reports_each_recipient(serve):
    """RFC 2033 s4.2: one reply per accepted recipient, and the refused ones are returned."""
    server = serve(lmtp=True, script={".": ["250 2.0.0 ok", "452 4.2.2 full", "250 2.0.0 ok"]})
    with connect(server, rt.LMTP) as smtp:
        refused = smtp.sendmail("a@b.c", ["one@x.y", "two@x.y", "three@x.y"], RAW)
        assert refused == {"two@x.y": (452, b"4.2.2 full")}
        assert smtp.noop()[0] == 250, "no reply is left over"
    assert [item.recipients for item in server.ledger] == [("one@x.y",), ("three@x.y",)]


def test_lmtp_first_reply_refuses(serve):
    """The first reply is not the message's: the second recipient has it all the same."""
    server = serve(
        lmtp=True, script={"RCPT": ["550 5.1.1 no"], ".": ["552 5.2.2 full", "250 2.0.0 ok"]}
    )
    with connect(server, rt.LMTP) as smtp:
        refused = smtp.sendmail("a@b.c", ["zero@x.y", "one@x.y", "two@x.y"], RAW)
    assert refused == {"zero@x.y": (550, b"5.1.1 no"), "one@x.y": (552, b"5.2.2 full")}
    assert [item.recipients for item in server.ledger] == [("two@x.y",)]


def test_lmtp_all_refused_after_the_dot(serve):
    """When nobody has it the caller gets SMTPRecipientsRefused with every reply."""
    server = serve(lmtp=True, script={".": "552 5.2.2 full", "RCPT": ["550 5.1.1 no"]})
    with connect(server, rt.LMTP) as smtp:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            smtp.sendmail("a@b.c", ["zero@x.y", "one@x.y", "two@x.y"], RAW)
        assert {to: code for to, (code, _) in caught.value.recipients.items()} == {
            "zero@x.y": 550, "one@x.y": 552, "two@x.y": 552,
        }  # fmt: skip
    assert server.ledger == []


def test_lmtp_data_refused(serve):
    """DATA refused before the content stays smtplib's SMTPDataError."""
    server = serve(lmtp=True, script={"DATA": "451 4.3.0 later"})
    with connect(server, rt.LMTP) as smtp, pytest.raises(smtplib.SMTPDataError):
        smtp.sendmail("a@b.c", ["one@x.y"], RAW)


def test_lmtp_by_hand(serve):
    """With the single commands too, data() reads as many replies as there are recipients."""
    server = serve(lmtp=True, script={".": ["250 2.0.0 ok", "550 5.7.1 no"]})
    with connect(server, rt.LMTP) as smtp:
        smtp.ehlo()
        smtp.mail("a@b.c")
        smtp.rcpt("one@x.y")
        smtp.rset()
        smtp.mail("a@b.c")
        assert [smtp.rcpt(f"{name}@x.y")[0] for name in ("one", "two")] == [250, 250]
        assert smtp.data(RAW)[0] == 250
        assert smtp.noop()[0] == 250, "no reply is left over"


def test_lmtp_reconnecting_subclass(serve):
    """A subclass that reconnects in mail() gets the replies of its own message."""

    class Again(rt.LMTP):
        def mail(self, *args):
            self.connect(server.host, server.port)
            self.ehlo()
            return super().mail(*args)

    server = serve(lmtp=True, script={".": ["250 2.0.0 ok", "550 5.7.1 no"]})
    with connect(server, Again) as smtp:
        assert set(smtp.sendmail("a@b.c", ["one@x.y", "two@x.y"], RAW)) == {"two@x.y"}


@pytest.mark.parametrize("form", ["{}:{}", "{}"])
def test_lmtp_port_in_the_host(serve, form):
    """LMTP's own default port does not get in the way of a port in the host."""
    server = serve(lmtp=True)
    host = form.format(server.host, server.port)
    port = [] if ":" in host else [server.port]
    with rt.LMTP(host, *port, timeout=5) as smtp:
        assert smtp.noop()[0] == 250


@pytest.mark.parametrize("reply", ["251 2.0.0 now", "354 2.0.0 more"])
def test_lmtp_answer_that_is_neither(serve, reply):
    """B09, O4: a later answer that is neither 250 nor a refusal leaves that recipient unknown."""
    server = serve(lmtp=True, script={".": ["550 5.7.1 no", reply, "250 2.0.0 ok"]})
    smtp = connect(server, rt.LMTP)
    with pytest.raises(rt.DeliveryUnknown) as caught:
        smtp.sendmail("a@b.c", ["one@x.y", "two@x.y", "three@x.y"], RAW)
    assert caught.value.recipients == ("two@x.y",)
    assert caught.value.accepted == ("three@x.y",)
    assert set(caught.value.refused) == {"one@x.y"}
    assert smtp.sock is None


@pytest.mark.parametrize(("end", "in_step"), [(close, True), (stall, False)])
def test_lmtp_answer_that_is_missing(serve, end, in_step):
    """RFC 2033 s4.2: answers count by their number, unless the server may count otherwise."""
    server = serve(lmtp=True, script={".": ["250 2.0.0 ok", "550 5.7.1 no", end]})
    smtp = connect(server, rt.LMTP)
    smtp.sock.settimeout(0.4)
    with pytest.raises(rt.DeliveryUnknown) as caught:
        smtp.sendmail("a@b.c", ["one@x.y", "two@x.y", "three@x.y"], RAW)
    unknown = ("three@x.y",) if in_step else ("one@x.y", "two@x.y", "three@x.y")
    assert caught.value.recipients == unknown
    assert caught.value.accepted == (("one@x.y",) if in_step else ())
    assert set(caught.value.refused) == ({"two@x.y"} if in_step else set())
    assert smtp.sock is None


def test_rcpt_answer_that_is_neither(serve):
    """O4: RCPT answered 252 is neither yes nor no; the session ends before the content."""
    server = serve(lmtp=True, script={"RCPT": ["252 2.1.5 perhaps"]})
    smtp = connect(server, rt.LMTP)
    with pytest.raises(rt.ReplyError, match="neither yes nor no"):
        smtp.sendmail("a@b.c", ["one@x.y", "two@x.y"], RAW)
    server.wait_idle()
    assert server.ledger == []


def test_lmtp_second_message_starts_anew(serve):
    """What was refused of one message is not reported with the next."""
    server = serve(lmtp=True, script={".": ["550 5.7.1 no", "250 2.0.0 ok"]})
    with connect(server, rt.LMTP) as smtp:
        assert set(smtp.sendmail("a@b.c", ["one@x.y", "two@x.y"], RAW)) == {"one@x.y"}
        assert smtp.sendmail("a@b.c", ["one@x.y", "two@x.y"], RAW) == {}
