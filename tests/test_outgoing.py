"""A message before it goes anywhere: arguments, addresses, content."""

from __future__ import annotations

import json
from email.message import EmailMessage, Message

import pytest
from small_internet import DOMAIN, FIRST, GOOD, SECOND, WITHOUT, send
from support import RAW
from test_dropin import PYTHONS, run

import requiretls_client as rt

BOOK = "xn--bcher-kva.example"  # bücher.example

# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tls_optional": True}, "cannot both"),
        ({"to_addrs": ["bob"]}, "no domain"),
        ({"to_addrs": []}, "no recipient"),
        ({"to_addrs": ["bob@example.net\r\nRCPT TO:<eve@example.net>"]}, "control"),
        ({"to_addrs": ["bob@exa mple.net"]}, "mailbox"),
        ({"to_addrs": ["bob@[300.1.1.1]"]}, "to_addrs"),
        ({"from_addr": "a@b\0.example"}, "control"),
    ],
    ids=["contradiction", "no-domain", "nobody", "C05-crlf", "blank", "bad-literal", "nul"],
)
def test_bad_argument(net, message, options, text):
    """Ruling 15: a bad argument is a ValueError before anything is looked up."""
    with pytest.raises(ValueError, match=text):
        send(net, message, **options)
    assert net.resolver.queries == []


CONNECTING = [
    ("port-0", {"port": 0}, ValueError, "port"),
    ("port-too-big", {"port": 65536}, ValueError, "port"),
    ("port-negative", {"port": -1}, ValueError, "port"),
    ("port-str", {"port": "25"}, TypeError, "port"),
    ("port-bool", {"port": True}, TypeError, "port"),
    ("timeout-0", {"timeout": 0}, ValueError, "timeout"),
    ("timeout-negative", {"timeout": -1.0}, ValueError, "timeout"),
    ("timeout-str", {"timeout": "5"}, TypeError, "timeout"),
]
NAMING = [
    ("grammar", "bad name", "EHLO name"),
    ("C05-crlf", "a\r\nMAIL FROM:<x@y.example>", "local_hostname"),
]


def by_deliver(lookups, options):
    """Send a message."""
    rt.deliver(RAW, "alice@example.org", f"bob@{DOMAIN}", lookups=lookups, **options)


def by_to_domain(lookups, options):
    """Make a session."""
    rt.SMTP.to_domain(DOMAIN, lookups=lookups, **options)


def by_check(lookups, options):
    """Check the domain."""
    rt.check(DOMAIN, lookups=lookups, **options)


def by_check_relay(lookups, options):
    """Check a server."""
    rt.check_relay(f"smtp.{DOMAIN}", lookups=lookups, **options)


@pytest.mark.parametrize("way", [by_deliver, by_to_domain, by_check, by_check_relay])
@pytest.mark.parametrize(
    ("options", "cls", "text"), [pytest.param(*row[1:], id=row[0]) for row in CONNECTING]
)
def test_nobody_could_connect_with_that(net, way, options, cls, text):
    """Ruling 15: a bad port or time-out is the caller's mistake, before anything is asked."""
    lookups = net.lookups()
    with pytest.raises(cls, match=text):
        way(lookups, options)
    assert net.resolver.queries == []


@pytest.mark.parametrize("way", [by_deliver, by_to_domain])
@pytest.mark.parametrize(("name", "text"), [pytest.param(*row[1:], id=row[0]) for row in NAMING])
def test_nobody_is_called_that(net, way, name, text):
    """Ruling 15: a bad EHLO name is the caller's mistake, before anything is asked."""
    lookups = net.lookups()
    with pytest.raises(ValueError, match=text):
        way(lookups, {"local_hostname": name})
    assert net.resolver.queries == []


# -- whom the header names -----------------------------------------------------------------------


@pytest.mark.parametrize("cls", [EmailMessage, Message])
@pytest.mark.parametrize("value", ["undisclosed:;", "(nobody)", ""])
def test_sender_without_an_address(net, cls, value):
    """RT-13, ruling 11: a From without an address makes no bounce, which RFC 8689 s5 lets off."""
    message = cls()
    message["From"], message["To"] = value, f"bob@{DOMAIN}"
    message.set_payload("canary-body\n")
    server = net.host(GOOD, tls_extensions=WITHOUT)
    net.mx(GOOD)
    with pytest.raises(ValueError, match="the From of the message has no address"):
        send(net, message)
    assert net.resolver.queries == []
    assert not server.transcript


# What Python 3.13.0, 3.12.6 and 3.11.10 say of a name that looks like an address: nobody, ("", "").
IN_ANY_PYTHON = """
import json, sys
from email.message import Message
from requiretls_client import header, objects
def read(what, **fields):
    message = Message()
    for name, value in fields.items():
        message[name] = value
    try:
        return what(message)
    except ValueError as error:
        return f"ValueError: {error}"
value = sys.argv[1]
print(json.dumps([
    read(header.recipients, To=value, Cc="carol@example.net"),
    read(objects.sender, From=value, To="carol@example.net"),
]))
"""


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
@pytest.mark.parametrize(
    ("value", "meant", "refusal"),
    [
        ("Bob <bob@example.net>", {"bob@example.net"}, False),
        ("bob@example.net <bob@example.net>", {"bob@example.net"}, None),
        ("a@example.net <b@example.net>, c@example.net", {"b@example.net", "c@example.net"}, None),
        ("(nobody)", set(), True),
    ],
    ids=["plain", "name-like-an-address", "one-of-them-in-a-list", "comment"],
)
def test_addresses_in_every_python(python, value, meant, refusal):
    """RT-13, E06: who cannot be told from the header is an error: not left out, no bounce."""
    done = run(python, IN_ANY_PYTHON, value)
    assert done.returncode == 0, done.stderr
    recipients, sender = json.loads(done.stdout)
    refused = isinstance(recipients, str)
    if refusal is not None:
        assert refused is refusal
    if refused:
        assert recipients.startswith("ValueError: the header field To names no address")
        assert sender.startswith("ValueError: from_addr was not given, and the From")
    else:
        assert set(recipients) >= meant | {"carol@example.net"}
        assert sender.endswith("@example.net")


def test_dropped_recipient_is_no_success(net, monkeypatch):
    """E06, ruling 13: a To that Python cannot tell apart is an error, not a report without it."""
    from requiretls_client import header

    def strict(fields):  # as the newest Pythons
        return [("", "") if "<" in field else ("", field) for field in fields]

    monkeypatch.setattr(header, "getaddresses", strict)
    message = Message()
    message["From"], message["Cc"] = "alice@example.org", "carol@example.net"
    message["To"] = "bob@example.net <bob@example.net>"
    message.set_payload("canary-body\n")
    with pytest.raises(ValueError, match="To names no address"):
        send(net, message)
    assert net.resolver.queries == []


# -- addresses and content -----------------------------------------------------------------------


def test_raw_message(net):
    """A raw message needs its envelope, and goes out as it is."""
    server = net.host(GOOD)
    net.mx(GOOD)
    with pytest.raises(ValueError, match="from_addr and to_addrs"):
        send(net, RAW)
    assert send(net, RAW, from_addr="alice@example.org", to_addrs=f"bob@{DOMAIN}").delivered
    assert server.ledger[0].content == RAW


def test_u_label_domain(net, message):
    """SID-03, UTF-03: a domain beyond ASCII is looked up as A-label."""
    net.host("mx.xn--bcher-kva.example")
    net.mx("mx.xn--bcher-kva.example", domain="xn--bcher-kva.example")
    assert send(net, message, to_addrs="bob@bücher.example").delivered
    assert "xn--bcher-kva.example MX" in net.resolver.queries


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "compat32"])
@pytest.mark.parametrize(
    ("to", "want", "utf8"),
    [
        ("jürgen@example.net", "jürgen@example.net", True),
        ("bob@bücher.example", f"bob@{BOOK}", False),
    ],
    ids=["UTF-02-local-part", "UTF-03-domain"],
)
def test_address_beyond_ascii(net, raw, to, want, utf8):
    """UTF-02: SMTPUTF8 where the local part needs it; a domain goes as A-label without."""
    message = RAW
    if not raw:
        message = Message()
        message["Subject"] = "canary-subject"
        message.set_payload("canary-body\n")
    server = net.host(GOOD)
    net.mx(GOOD)
    net.mx(GOOD, domain=BOOK)
    report = send(net, message, from_addr="alice@example.org", to_addrs=to)
    assert report.delivered == (to,)
    (accepted,) = server.ledger
    assert accepted.recipients == (want,)
    assert ("SMTPUTF8" in accepted.parameters) is utf8


def test_one_mailbox_in_several_forms(net, message):
    """E06: recipients that differ in form only are one RCPT, and each has its result."""
    to = ["bob@example.net", "<bob@example.net>", "Bob <bob@example.net>", "bob@EXAMPLE.net"]
    server = net.host(GOOD)
    net.mx(GOOD)
    assert send(net, message, to_addrs=to).delivered == tuple(to)
    assert server.ledger[0].recipients == ("bob@example.net",)


def test_content_that_nobody_takes(net):
    """SMTP-12: a signed message with a line that SMTP cannot carry is refused before look-ups."""
    message = Message()
    message["From"], message["To"] = "alice@example.org", f"bob@{DOMAIN}"
    message["DKIM-Signature"] = "v=1"
    message.set_payload("x" * 2000)
    with pytest.raises(ValueError, match="line"):
        send(net, message)
    assert net.resolver.queries == []


def test_the_same_bytes_for_every_host(net, message):
    """D08: a multipart message has one boundary, wherever it goes."""
    message.add_attachment(b"yy", maintype="application", subtype="octet-stream")
    first, second = net.host(GOOD), net.host("mx.example.com")
    net.mx(GOOD)
    net.mx("mx.example.com", domain="example.com")
    assert send(net, message, to_addrs=["bob@example.net", "eve@example.com"]).delivered
    assert first.ledger[0].content == second.ledger[0].content


def test_message_as_it_was_at_the_call(net, message):
    """D08: what the caller does to the object meanwhile changes nothing on the way."""

    def meddle(connection):
        message.replace_header("Subject", "changed")
        return "250 ok"

    first = net.host(FIRST, script={"RCPT": meddle, ".": "451 later"})
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    assert send(net, message).delivered
    assert b"changed" not in second.ledger[0].content
    assert not first.ledger
