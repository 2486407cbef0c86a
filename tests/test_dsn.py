"""``make_dsn()``: what the report says, to whom, in which form; and that it can be sent."""

from __future__ import annotations

import email
import quopri
import re
from dataclasses import replace
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage

import pytest
from small_internet import DOMAIN, WITHOUT
from support import RAW, connect

import requiretls_client as rt
from requiretls_client.reports import Attempt, DeliveryReport, RecipientResult
from requiretls_client.testing import close
from requiretls_client.verdict import Finding, Verdict

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
MTA = "app.example.org"
ALICE, BOB = "alice@example.org", "bob@example.net"
HOST = "mx.example.net"
STRICT = policy.default.clone(raise_on_defect=True)


def verdict(step, status, *, host=HOST, text="canary-finding", fix="canary-fix"):
    """Return a refusal by one finding."""
    finding = Finding(step, False, f"{host} {text}", "RFC 8689 s4.2.1", fix, host, status)
    code = 451 if status.startswith("4") else 550
    return Verdict(
        False, True, False, (finding,), host, "none", code=code, status=status, temporary=code < 500
    )  # fmt: skip


def result(address=BOB, state="refused", code=550, status="5.7.30", **options):
    """Return a result; by default what a host without the keyword gets."""
    seen = options.pop("verdict", None) or verdict("requiretls", status or "5.7.30")
    options = {
        "text": f"{seen.failed.text} ({seen.failed.rfc})",
        "mx_host": HOST,
        "mx_level": "dnssec",
        "tls_level": "authenticated",
        "attempts": (Attempt(HOST, 10, "192.0.2.1", seen),),
        "findings": seen.findings,
        "temporary": state == "deferred",
        **options,
    }
    return RecipientResult(address=address, state=state, code=code, status=status, **options)


def rejected(address=BOB, code=550, text="5.1.1 no such user", host=HOST, **options):
    """Return the result of a recipient whom a server rejects."""
    fine = Verdict(True, True, True, (), host, "authenticated")
    return result(
        address, "refused" if code >= 500 else "deferred", code, text.split(" ")[0],
        **{"text": text, "remote": True, "mx_host": host, "findings": (),
           "attempts": (Attempt(host, 10, "192.0.2.1", fine, (code, text)),), **options},
    )  # fmt: skip


def report_of(*results, require_tls=True, from_addr=ALICE):
    """Return a report of ``deliver()``."""
    return DeliveryReport(from_addr, require_tls, results or (result(),))


def dsn(message, failure=None, **options):
    """Return the report, after a round trip through bytes and the strict parser."""
    options = {"reporting_mta": MTA, "now": NOW, **options}
    made = rt.make_dsn(message, failure or report_of(), **options)
    assert made is not None
    utf8 = made.policy.utf8  # RFC 6533: else bytes() of the parsed one would encode it
    return email.message_from_bytes(bytes(made), policy=STRICT.clone(utf8=utf8))


def text_of(report):
    """Return the part for people, with its lines joined."""
    return " ".join(report.get_payload(0).get_content().split())


def groups(report):
    """Return the blocks of the part for programs, as lists of (name, value), unfolded."""
    raw = report.get_payload(1).as_bytes(policy=policy.compat32)
    body = re.sub(r"\n[ \t]+", " ", raw.decode().split("\n\n", 1)[1])
    blocks = [block for block in body.split("\n\n") if block.strip()]
    return [
        [tuple(line.split(": ", 1)) for line in block.strip().split("\n")] for block in blocks
    ]  # fmt: skip


# -- form ----------------------------------------------------------------------------------------


def test_three_parts(message):
    """DSN-08, DSN-09: multipart/report, text, delivery-status, then the header as text."""
    report = dsn(message)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in report.get_payload()] == [
        "text/plain", "message/delivery-status", "text/rfc822-headers"
    ]  # fmt: skip
    assert report["MIME-Version"] == "1.0"
    assert bytes(report).isascii()


def test_header_of_the_report(message):
    """DSN-05, DSN-12, RFC 3464 s2: to the author, of a postmaster, auto-replied."""
    report = dsn(message)
    assert report["To"] == ALICE
    assert report["From"] == f"Mail Delivery System <postmaster@{MTA}>"
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["Date"].datetime == NOW
    assert re.fullmatch(rf"<[0-9a-f]{{32}}@{re.escape(MTA)}>", report["Message-ID"])
    assert "Return-Path" not in report
    assert "TLS-Required" not in report
    assert dsn(message, sender="help@example.org")["From"].addresses[0].addr_spec == (
        "help@example.org"
    )


def test_same_arguments_same_report(message):
    """Pure: the same arguments make the same bytes, others another Message-ID."""
    options = {"reporting_mta": MTA, "now": NOW}
    first, again = (bytes(rt.make_dsn(message, report_of(), **options)) for _ in range(2))
    assert first == again
    options["now"] = NOW.replace(second=7)
    other = rt.make_dsn(message, report_of(), **options)
    assert other["Message-ID"] != email.message_from_bytes(first)["Message-ID"]


def test_message_is_left_alone(message):
    """The caller's message is the same before and after."""
    before = bytes(message)
    dsn(message)
    assert bytes(message) == before


def test_fields(message):
    """DSN-10: per-message and per-recipient fields, each once, in the grammar of RFC 3464."""
    about, *recipients = groups(dsn(message, envelope_id="job-42"))
    assert about == [("Original-Envelope-Id", "job-42"), ("Reporting-MTA", f"dns; {MTA}")]
    assert recipients == [[
        ("Final-Recipient", f"rfc822; {BOB}"), ("Action", "failed"), ("Status", "5.7.30"),
        ("Remote-MTA", f"dns; {HOST}"),
    ]]  # fmt: skip


def test_parser_of_the_email_package(message):
    """DSN-08, DSN-10: the standard library's parser finds the same blocks."""
    report = dsn(message, report_of(result(), result("carol@example.net")))
    blocks = report.get_payload(1).get_payload()
    assert [block["Final-Recipient"] for block in blocks[1:]] == [
        f"rfc822; {BOB}", "rfc822; carol@example.net"
    ]  # fmt: skip


# -- actions -------------------------------------------------------------------------------------

UNKNOWN = result(
    state="unknown", code=None, status=None, text="canary-lost",
    attempts=(Attempt(HOST, 10, "192.0.2.1", Verdict(True, True, True, (), HOST, "none")),),
    findings=(),
)  # fmt: skip
DEFERRED = result(state="deferred", code=451, status="4.4.3", verdict=verdict("dns", "4.4.3"))
TEMPORARY = result(temporary=True, status="5.7.10")


@pytest.mark.parametrize(
    ("one", "retrying", "action", "status", "says"),
    [
        (result(), False, "failed", "5.7.30", "Not delivered (550 5.7.30)."),
        (result(), True, "failed", "5.7.30", "Not delivered (550 5.7.30)."),
        (DEFERRED, False, "failed", "4.4.3", "It is not tried again by itself"),
        (DEFERRED, True, "delayed", "4.4.3", "it will be tried again"),
        (TEMPORARY, False, "failed", "5.7.10", "later may be better"),
        (TEMPORARY, True, "delayed", "4.7.10", "it will be tried again"),
        (UNKNOWN, False, "failed", "4.4.2", "not known whether this recipient has the message"),
        (UNKNOWN, True, "failed", "4.4.2", "ask whether it arrived before you send it again"),
        (rejected(), True, "failed", "5.1.1", f"{HOST} said: 550 5.1.1 no such user"),
    ],
    ids=[
        "3464-2.3.3-refused", "refused-is-not-retried", "3463-2-deferred-and-nobody-retries",
        "3464-2.3.3-deferred-and-retried", "temporary-refusal", "temporary-refusal-retried",
        "unknown", "unknown-is-not-retried", "rejected",
    ],
)  # fmt: skip
def test_action(message, one, retrying, action, status, says):
    """DSN-10: each state has one action and a status of the right class and grammar."""
    report = dsn(message, report_of(one), retrying=retrying)
    fields = dict(groups(report)[1])
    assert (fields["Action"], fields["Status"]) == (action, status)
    assert re.fullmatch(r"[45]\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})", fields["Status"])
    assert says in text_of(report)
    late = "Your message is delayed"
    assert report["Subject"] == (late if action == "delayed" else "Your message was not delivered")


def test_delivered_ones_are_left_out(message):
    """RFC 3464 s2.3: nobody who has the message is reported, and nobody twice."""
    delivered = result("dave@example.net", "delivered", 250, "2.0.0")
    report = dsn(message, report_of(delivered, result(), result()))
    assert [dict(block).get("Final-Recipient") for block in groups(report)] == [
        None, f"rfc822; {BOB}"
    ]  # fmt: skip
    assert "dave" not in text_of(report)


@pytest.mark.parametrize(
    ("one", "host", "reply"),
    [
        (result(), HOST, None),
        (result(status="5.7.10", verdict=verdict("certificate", "5.7.10")), HOST, None),
        (result(status="5.7.10", verdict=verdict("mx", "5.7.10")), None, None),
        (result(status="5.1.10", verdict=verdict("domain", "5.1.10"), mx_host=None), None, None),
        (result(status="4.4.1", verdict=verdict("connect", "4.4.1")), None, None),
        (result(status="4.4.3", verdict=verdict("tlsa", "4.4.3")), None, None),
        (rejected(), HOST, "smtp; 550 5.1.1 no such user"),
        (UNKNOWN, HOST, None),
        (replace(rejected(), remote=False), HOST, None),
        (replace(DEFERRED, mx_host="mx1.example.net", attempts=(
            Attempt("mx1.example.net", 10, None, verdict("tlsa", "4.4.3")),
            Attempt(HOST, 20, "192.0.2.1", verdict("requiretls", "5.7.30")),
        )), None, None),
        (rejected(host="192.0.2.1"), "[192.0.2.1]", "smtp; 550 5.1.1 no such user"),
        (rejected(host="2001:db8::1"), "[IPv6:2001:db8::1]", "smtp; 550 5.1.1 no such user"),
    ],
    ids=[
        "DSN-11-keyword", "DSN-11-certificate", "DSN-11-A5-mx", "DSN-11-no-host", "DSN-11-dial",
        "DSN-11-tlsa", "DSN-11-reply", "DSN-11-lost", "DSN-11-our-own-words", "DSN-11-other-met",
        "3464-2.1.2-literal", "3464-2.1.2-literal-6",
    ],
)  # fmt: skip
def test_remote_mta(message, one, host, reply):
    """DSN-11: Remote-MTA only for a server that was met, Diagnostic-Code only for its own words."""
    fields = dict(groups(dsn(message, report_of(one)))[1])
    assert fields.get("Remote-MTA") == (host and f"dns; {host}")
    assert fields.get("Diagnostic-Code") == reply
    assert "Will-Retry-Until" not in fields


def test_text_for_people(message):
    """RT-10: what was asked, what was found at each host, the section, and what to change."""
    first = verdict("tls", "5.7.10", host="mx1.example.net", fix="enable STARTTLS")
    last = verdict("requiretls", "5.7.30", host="mx2.example.net", fix="enable REQUIRETLS")
    one = result(
        status="5.7.10", mx_host="mx1.example.net", findings=first.findings,
        attempts=(Attempt("mx1.example.net", 10, "192.0.2.1", first),
                  Attempt("mx2.example.net", 20, "192.0.2.2", last)),
    )  # fmt: skip
    text = text_of(dsn(message, report_of(one)))
    for said in (
        MTA, BOB, "asked for REQUIRETLS (RFC 8689)", "mx1.example.net canary-finding",
        "mx2.example.net canary-finding", "(RFC 8689 s4.2.1)", "What to do: enable STARTTLS.",
        "What to do: enable REQUIRETLS.",
    ):  # fmt: skip
        assert said in text
    ordinary = text_of(dsn(message, report_of(require_tls=False)))
    assert "REQUIRETLS (RFC 8689)" not in ordinary


def test_no_advice_beside_a_reply(message):
    """What to do about a host that was passed over is no advice where another one rejects."""
    first = Attempt("mx1.example.net", 10, "192.0.2.9", verdict("requiretls", "5.7.30"))
    one = rejected()
    text = text_of(dsn(message, report_of(replace(one, attempts=(first, *one.attempts)))))
    assert "canary-finding" in text
    assert f"{HOST} said: 550" in text
    assert "What to do" not in text


# -- what is returned ----------------------------------------------------------------------------


@pytest.mark.parametrize("ret", ["HDRS", "FULL", "full"])
@pytest.mark.parametrize("raw", [False, True], ids=["object", "raw"])
def test_no_body_of_a_requiretls_message(message, ret, raw):
    """RT-14, RFC 8689 s5: all header fields, no body, whatever RET says."""
    report = dsn(RAW if raw else message, report_of(), ret=ret)
    returned = report.get_payload(2)
    assert returned.get_content_type() == "text/rfc822-headers"
    assert "Subject: canary-subject" in returned.get_payload()
    assert b"canary-body" not in bytes(report)


@pytest.mark.parametrize("body", ["canary-body\n", "canary-body é\n"], ids=["7bit", "8bit"])
@pytest.mark.parametrize(
    ("ret", "kind"), [("HDRS", "text/rfc822-headers"), ("FULL", "message/rfc822")]
)
def test_ordinary_message(message, ret, kind, body):
    """RFC 3461 s4.3: of ordinary mail the header, or the whole where FULL was asked."""
    message.set_content(body, cte="7bit" if body.isascii() else "8bit")
    report = dsn(message, report_of(require_tls=False), ret=ret)
    returned = report.get_payload(2)
    assert returned.get_content_type() == kind
    assert (b"canary-body" in bytes(report)) is (ret == "FULL")
    if ret == "FULL":
        assert returned.get_payload(0).get_content() == body
        assert report["Content-Transfer-Encoding"] == (None if body.isascii() else "8bit")
    assert ("It is returned below." in text_of(report)) is (ret == "FULL")


def test_all_header_fields():
    """DSN-09: every field as it was sent, in its order, folding and spelling included."""
    fields = (
        b"Received: from a\r\n\tby b\r\nX-Long: " + b"x" * 300 + b"\r\nfrom: alice@example.org\r\n"
        b"TLS-Required: No\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n"
    )
    report = dsn(fields + b"\r\nX-Body: canary-body\r\n", report_of(require_tls=False))
    returned = report.get_payload(2).get_payload()
    assert returned.encode() == fields.replace(b"\r\n", b"\n")


def test_blind_copies_stay_blind(message):
    """The header is the one that was sent: without the Bcc of a message object."""
    message["Bcc"] = "secret@example.net"
    assert b"secret@" not in bytes(dsn(message))


@pytest.mark.parametrize(
    "raw",
    [
        b"canary-body\r\ncanary-body\r\n",
        b"\r\ncanary-body: x\r\n",
        b"Subject: x\r\ncanary-body without a blank line\r\n",
        b"From alice Mon Jan  1\r\nSubject: x\r\n\r\ncanary-body\r\n",
        b"Subject: x",
    ],
    ids=["no-header", "empty-header", "no-blank-line", "mbox", "no-line-end"],
)
def test_body_that_looks_like_a_header(raw):
    """RT-14: what begins with no field is body, and is not returned."""
    report = dsn(raw)
    assert b"canary-body" not in bytes(report)
    returned = report.get_payload(2).get_payload()
    assert returned == ("Subject: x\n" if b"Subject" in raw else "")


# -- who gets one --------------------------------------------------------------------------------


@pytest.mark.parametrize("null", ["", "<>"])
def test_no_report_about_a_report(message, null):
    """DSN-06: a message with an empty reverse path gets none."""
    options = {"reporting_mta": MTA, "now": NOW}
    assert rt.make_dsn(message, report_of(from_addr=null), **options) is None
    error = rt.RequireTLSNotOffered("no", verdict("requiretls", "5.7.30"))
    assert rt.make_dsn(message, error, from_addr=null, **options) is None


def test_no_report_about_success(message):
    """RFC 3464 s2.3.3: where all have it, there is nothing to report."""
    done = report_of(result(state="delivered", code=250, status="2.0.0"))
    assert rt.make_dsn(message, done, reporting_mta=MTA, now=NOW) is None


@pytest.mark.parametrize(
    ("notify", "retrying", "reported"),
    [
        (None, False, ["failed", "failed"]),
        (None, True, ["failed", "delayed"]),
        ("NEVER", False, []),
        ("never", True, []),
        ("SUCCESS", False, []),
        ("DELAY", False, []),
        ("DELAY", True, ["delayed"]),
        ("FAILURE", True, ["failed"]),
        ("FAILURE", False, ["failed", "failed"]),
        ("SUCCESS,FAILURE,DELAY", True, ["failed", "delayed"]),
    ],
)
def test_notify(message, notify, retrying, reported):
    """DSN-07: no report unless NOTIFY asks for it; without NOTIFY there is one."""
    deferred = replace(DEFERRED, address="carol@example.net")
    made = rt.make_dsn(
        message, report_of(result(), deferred), reporting_mta=MTA, now=NOW, notify=notify,
        retrying=retrying,
    )  # fmt: skip
    if not reported:
        assert made is None
    else:
        assert [dict(block)["Action"] for block in groups(made)[1:]] == reported


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"notify": "NEVER,DELAY"}, "notify"),
        ({"notify": ""}, "notify"),
        ({"ret": "ALL"}, "ret"),
        ({"now": datetime(2026, 1, 1)}, "time zone"),
        ({"reporting_mta": "a\r\nb"}, "reporting_mta"),
        ({"reporting_mta": ""}, "reporting_mta"),
        ({"sender": "a@b\r\nBcc: c"}, "sender"),
        ({"sender": ""}, "sender"),
        ({"envelope_id": "a b"}, "envelope_id"),
        ({"envelope_id": "a\r\nAction: delivered"}, "envelope_id"),
        ({"envelope_id": "x" * 101}, "envelope_id"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_arguments(message, options, match):
    """DSN-02, ruling 15: what would not go out as it stands is a ValueError."""
    with pytest.raises(ValueError, match=match):
        dsn(message, **options)


# -- errors of a session -------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True], ids=["object", "raw"])
def test_error_of_a_session(serve, message, raw):
    """RT-10: what SMTP raised at a relay makes a report, headers only."""
    server = serve(tls_extensions=WITHOUT)
    with connect(server) as smtp, pytest.raises(rt.RequireTLSNotOffered) as caught:
        smtp.send_message(message, require_tls=True)
    envelope = {"from_addr": ALICE, "to_addrs": [BOB, "carol@example.net"]} if raw else {}
    report = dsn(RAW if raw else message, caught.value, ret="FULL", **envelope)
    assert report["To"] == ALICE
    about = dict(groups(report)[1])
    assert (about["Final-Recipient"], about["Status"]) == (f"rfc822; {BOB}", "5.7.30")
    assert about["Remote-MTA"] == f"dns; {server.host}"
    assert len(groups(report)) == (3 if raw else 2)
    assert b"canary-body" not in bytes(report)
    assert "REQUIRETLS" in text_of(report)
    assert "What to do: " in text_of(report)


def test_error_without_a_verdict(message):
    """An error made by hand has a sentence at least; DeliveryFailed without a report too."""
    for error in (rt.RequireTLSError("canary-sentence"), rt.DeliveryFailed("canary-sentence")):
        report = dsn(message, error)
        assert dict(groups(report)[1])["Status"] == "5.7.10"
        assert "canary-sentence" in text_of(report)


def test_error_about_ordinary_mail(message):
    """What an error says nobody asked for is not claimed; the text still stays out (RT-14)."""
    ordinary = replace(verdict("tls", "5.7.10"), require_tls=False)
    report = dsn(message, rt.TLSNotEstablished("no", ordinary), ret="FULL")
    assert "asked for REQUIRETLS" not in text_of(report)
    assert b"canary-body" not in bytes(report)


@pytest.mark.parametrize(
    ("failure", "options", "error"),
    [
        (rt.RequireTLSError("x"), {}, ValueError),
        (rt.RequireTLSError("x"), {"from_addr": ALICE}, ValueError),
        (rt.RequireTLSError("x"), {"from_addr": ALICE, "to_addrs": []}, ValueError),
        (OSError("x"), {"from_addr": ALICE, "to_addrs": BOB}, TypeError),
    ],
    ids=["no-envelope", "no-recipients", "empty-recipients", "another-error"],
)
def test_failure_that_tells_too_little(failure, options, error):
    """A raw message has no envelope, and other exceptions are not ours to read."""
    with pytest.raises(error):
        dsn(RAW, failure, **options)


# -- hostile and foreign text --------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "5.1.1 x\r\nAction: delivered",
        "5.1.1 x\n\nFinal-Recipient: rfc822; eve@example.com",
        "5.1.1 x\r\n--=_boundary--",
        "5.1.1 \x1b[31m\x00\u202e\ud800",
        "5.1.1 " + "word " * 400,
        "5.1.1 " + "x" * 3000,
        "5.1.1 kein Anschluß",
        "5.1.1 \u2028Action: delivered",
    ],
    ids=["field", "block", "boundary", "control", "long", "long-word", "8bit", "separator"],
)
def test_hostile_reply(message, said):
    """K02: a server's words stay inside their field and paragraph, printable and folded."""
    made = rt.make_dsn(message, report_of(rejected(text=said)), reporting_mta=MTA, now=NOW)
    raw = bytes(made)
    report = email.message_from_bytes(raw, policy=STRICT)
    assert [name for name, _ in groups(report)[1]] == [
        "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code"
    ]  # fmt: skip
    assert len(groups(report)) == 2
    assert raw.isascii()
    assert re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", raw) is None
    assert max(map(len, raw.split(b"\n"))) <= 998
    assert "Action: delivered" not in report.get_payload(0).get_content().splitlines()


def test_hostile_finding(message):
    """K02: what a finding quotes breaks out of nothing either."""
    one = result(verdict=verdict("requiretls", "5.7.30", text="\r\n\r\nsays\x00", fix="a\nb"))
    text = dsn(message, report_of(one)).get_payload(0).get_content()
    assert "says\\x00" in text
    assert "\r" not in text


@pytest.mark.parametrize(
    "address",
    ["a" * 64 + "@" + ".".join(["b" * 60] * 3) + ".net", '"a  b"@example.net', "a@[192.0.2.1]"],
    ids=["long", "quoted", "literal"],
)
def test_awkward_addresses(message, address):
    """DSN-10: an address stands as it is, whatever its length; also as the author's."""
    report = dsn(message, report_of(result(f"Bob <{address}>"), from_addr=address))
    assert dict(groups(report)[1])["Final-Recipient"] == f"rfc822; {address}"
    assert report["To"].addresses[0].addr_spec == address


# -- beyond ASCII --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipient", "author", "subject"),
    [("böb@example.net", ALICE, "x"), (BOB, "älice@example.org", "x"), (BOB, ALICE, "Grüße")],
    ids=["recipient", "author", "header"],
)
def test_international(recipient, author, subject):
    """DSN-14, RFC 6533: global-delivery-status and -headers, the address type utf-8."""
    raw = f"From: {author}\r\nTo: {recipient}\r\nSubject: {subject}\r\n\r\ncanary-body\r\n".encode()
    report = dsn(raw, report_of(result(recipient), from_addr=author))
    assert report.get_param("report-type") == "global-delivery-status"
    assert [part.get_content_type() for part in report.get_payload()] == [
        "text/plain", "message/global-delivery-status", "message/global-headers"
    ]  # fmt: skip
    kind = "rfc822" if recipient.isascii() else "utf-8"
    assert dict(groups(report)[1])["Final-Recipient"] == f"{kind}; {recipient}"
    assert f"\nSubject: {subject}\n".encode() in bytes(report)
    assert f"\nTo: {author}\n".encode() in bytes(report)
    assert recipient in text_of(report)
    assert b"canary-body" not in bytes(report)


def test_international_message_object(message):
    """DSN-14: the header of a message object as SMTPUTF8 sends it; a From beyond ASCII."""
    message.replace_header("To", "böb@example.net")
    report = dsn(message, report_of(result("böb@example.net")), sender="hélp@example.org")
    assert b"\nTo: b\xc3\xb6b@example.net\n" in bytes(report)
    assert "<hélp@example.org>\n".encode() in bytes(report)
    report = dsn(RAW, sender="hélp@example.org")
    assert report.get_param("report-type") == "global-delivery-status"


def test_encoded_words_are_ascii(message):
    """DSN-14: a message object whose header was sent in ASCII needs no global types."""
    message.replace_header("Subject", "Grüße")
    report = dsn(message)
    assert report.get_payload(2).get_content_type() == "text/rfc822-headers"
    assert "=?utf-8?" in report.get_payload(2).get_payload()


# -- on its way ----------------------------------------------------------------------------------


def failed(net, message, **options):
    """Deliver, which must fail; returns the error."""
    with pytest.raises(rt.DeliveryFailed) as caught:
        rt.deliver(
            message, require_tls=True, lookups=net.lookups(), port=net.port, timeout=5, **options
        )
    return caught.value


@pytest.mark.parametrize("offered", [True, False], ids=["offered", "not-offered"])
@pytest.mark.parametrize("recipient", [BOB, "böb@example.net"], ids=["ascii", "international"])
def test_report_is_sent(net, offered, recipient):
    """RT-13, DSN-05, ruling 11: null sender; the parameter where offered, and no loss where not."""
    net.host(HOST, tls_extensions=WITHOUT)
    net.mx(HOST)
    home = net.host("mx.example.org", **({} if offered else {"tls_extensions": WITHOUT}))
    net.mx("mx.example.org", domain="example.org")
    message = EmailMessage(policy=policy.SMTPUTF8)
    message["From"], message["To"], message["Subject"] = ALICE, recipient, "canary-subject"
    message.set_content("canary-body\n")
    report = rt.make_dsn(message, failed(net, message), reporting_mta=MTA, now=NOW)
    (sent,) = rt.deliver(
        report, from_addr="", require_tls=True, lookups=net.lookups(), port=net.port, timeout=5
    ).recipients
    assert (sent.address, sent.state) == (ALICE, "delivered")
    (accepted,) = home.ledger
    assert (accepted.sender, accepted.recipients, accepted.tls) == ("", (ALICE,), True)
    assert ("REQUIRETLS" in accepted.parameters) is offered
    assert not any(each.startswith(("RET", "ENVID")) for each in accepted.parameters)
    assert b"canary-subject" in accepted.content
    assert b"canary-body" not in accepted.content
    assert b"\n" not in accepted.content.replace(b"\r\n", b"")
    arrived = email.message_from_bytes(accepted.content, policy=STRICT)
    about = dict(groups(email.message_from_bytes(bytes(arrived).replace(b"\r", b"")))[1])
    assert about["Final-Recipient"].endswith(f"; {recipient}")
    assert (about["Status"], about["Remote-MTA"]) == ("5.7.30", f"dns; {HOST}")


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ({"RCPT": "550 5.1.1 no such user"}, "smtp; 550 5.1.1 no such user"),
        ({".": "554 5.6.0 canary"}, "smtp; 554 5.6.0 canary"),
        ({".": close}, None),
        ({"DATA": close}, None),
    ],
    ids=["DSN-11-rcpt", "DSN-11-end", "unknown", "lost"],
)
def test_diagnostics_of_real_failures(net, message, script, reply):
    """DSN-11: a server's reply is told from what we say about a server, in real sessions."""
    net.host(HOST, script=script)
    net.mx(HOST)
    about = dict(groups(dsn(message, failed(net, message)))[1])
    assert about["Remote-MTA"] == f"dns; {HOST}"
    assert about.get("Diagnostic-Code") == reply


def test_each_recipient_has_its_own_reply(net, message):
    """DSN-11: two recipients of one transaction, two replies."""
    replies = iter(["550 5.1.1 no bob", "550 5.2.1 no carol"])
    net.host(HOST, script={"RCPT": lambda *_: next(replies)})
    net.mx(HOST)
    error = failed(net, message, to_addrs=[BOB, f"carol@{DOMAIN}"])
    said = [dict(block)["Diagnostic-Code"] for block in groups(dsn(message, error))[1:]]
    assert said == ["smtp; 550 5.1.1 no bob", "smtp; 550 5.2.1 no carol"]


def test_international_report_to_a_server_for_ascii(net):
    """RFC 6533 s4: without 8BITMIME the parts get an encoding, and say the same."""
    home = net.host("mx.example.org", tls_extensions=["REQUIRETLS"])
    net.mx("mx.example.org", domain="example.org")
    raw = "Subject: Grüße\r\n\r\ncanary-body\r\n".encode()
    report = rt.make_dsn(raw, report_of(result("böb@example.net")), reporting_mta=MTA, now=NOW)
    rt.deliver(report, from_addr="", require_tls=True, lookups=net.lookups(), port=net.port)
    (accepted,) = home.ledger
    assert accepted.content.isascii()
    assert "REQUIRETLS" in accepted.parameters
    _, status, returned = accepted.content.split(b"\r\nContent-Type: message/global-")
    for part, said in ((status, "utf-8; böb@example.net\n"), (returned, "Subject: Grüße\n")):
        head, body = part.split(b"\r\n\r\n", 1)
        assert b"Content-Transfer-Encoding: quoted-printable" in head
        assert said in quopri.decodestring(body).decode().replace("\r\n", "\n")


def test_refusal_before_any_connection(net, message):
    """DSN-11, A5: an MX name that nobody vouches for: no Remote-MTA, and the text says why."""
    net.host(HOST)
    net.mx(HOST)
    net.trusted = False
    report = dsn(message, failed(net, message))
    about = dict(groups(report)[1])
    assert "Remote-MTA" not in about
    assert about["Status"] == "5.7.10"
    assert "RFC 8689 s4.2.1 step 2" in text_of(report)
