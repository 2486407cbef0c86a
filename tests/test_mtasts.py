"""RFC 8461 s3.1, s3.2 and s4.1: the record, the policy, the match; each id names the rule."""

from __future__ import annotations

import random

import pytest

from requiretls_client.facts import STSPolicy
from requiretls_client.mtasts import MAX_AGE, PolicyError, parse_policy, permits, policy_id

GOOD_TXT = [
    ("STS-01-plain", ["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
    ("STS-01-strings-joined", ["v=STSv1; i" + "d=1;"], "1"),
    ("STS-02-none", [], None),
    ("STS-02-other-records-beside", ["v=spf1 -all", "v=STSv1; id=1", "verification=x"], "1"),
    ("STS-02-only-others", ["v=spf1 -all", "v=STSv10; id=1", " v=STSv1; id=1"], None),
    ("STS-03-version-is-case-sensitive", ["V=STSv1; id=1", "v=stsv1; id=1"], None),
    ("STS-02-erratum-6285-blank-before-semicolon", ["v=STSv1 ; id=1"], None),
    ("STS-02-version-alone", ["v=STSv1"], None),
    ("STS-03-order-is-free", ["v=STSv1; x=1; id=2"], "2"),
    ("STS-03-blanks-around-semicolons", ["v=STSv1; \tid=1 \t;  x=y  ; "], "1"),
    ("STS-03-no-blanks", ["v=STSv1;id=abc;x=1"], "abc"),
    ("STS-03-longest-id", ["v=STSv1; id=" + "a1" * 16], "a1" * 16),
    ("STS-04-first-id-counts", ["v=STSv1; id=1; id=2"], "1"),
    ("STS-04-a-bad-second-id-is-ignored", ["v=STSv1; id=1; id=a-b"], "1"),
    ("STS-04-unknown-field", ["v=STSv1; x-y_z.1=a:b,c/d!; id=1"], "1"),
]


@pytest.mark.parametrize(("records", "want"), [pytest.param(*r[1:], id=r[0]) for r in GOOD_TXT])
def test_policy_id(records, want):
    """K11: of exactly one MTA-STS record the id is returned; other records do not matter."""
    assert policy_id(records) == want
    assert policy_id(iter(records)) == want


BAD_TXT = [
    ("K11-two-records", ["v=STSv1; id=1", "v=STSv1; id=2"], "2 MTA-STS records"),
    ("K11-twice-the-same", ["v=STSv1; id=1", "v=STSv1; id=1"], "2 MTA-STS records"),
    ("STS-03-no-id", ["v=STSv1;"], "no id"),
    ("STS-03-other-fields-only", ["v=STSv1; x=1"], "no id"),
    ("STS-03-id-is-case-sensitive", ["v=STSv1; ID=1"], "no id"),
    ("STS-03-33-characters", ["v=STSv1; id=" + "a" * 33], "1 to 32"),
    ("STS-03-dash-in-id", ["v=STSv1; id=a-b"], "1 to 32"),
    ("STS-04-first-id-counts-also-a-bad-one", ["v=STSv1; id=a-b; id=1"], "1 to 32"),
    ("STS-03-empty-id", ["v=STSv1; id="], "bad syntax"),
    ("STS-03-arabic-digits", ["v=STSv1; id=٢"], "bad syntax"),
    ("STS-03-blank-inside", ["v=STSv1; id = 1"], "bad syntax"),
    ("STS-03-two-semicolons", ["v=STSv1;; id=1"], "bad syntax"),
    ("STS-03-no-equals-sign", ["v=STSv1; id=1; junk"], "bad syntax"),
    ("STS-03-two-equals-signs", ["v=STSv1; id=1; x=a=b"], "bad syntax"),
    ("STS-03-long-field-name", ["v=STSv1; id=1; " + "x" * 33 + "=1"], "bad syntax"),
    ("STS-03-control-character", ["v=STSv1; id=1; x=\x1b[2J"], "bad syntax"),
    ("STS-03-line-feed-at-the-end", ["v=STSv1; id=1\n"], "bad syntax"),
]


@pytest.mark.parametrize(("records", "match"), [pytest.param(*r[1:], id=r[0]) for r in BAD_TXT])
def test_bad_record(records, match):
    """K11: several records, or bad syntax, are an error with a text that can be printed."""
    with pytest.raises(PolicyError, match=match) as caught:
        policy_id(records)
    assert str(caught.value).isprintable()


def test_long_record():
    """A TXT record as long as DNS allows is read in linear time."""
    with pytest.raises(PolicyError, match="bad syntax"):
        policy_id(["v=STSv1; id=1; x=1" + " " * 65000 + "x"])


def text(*lines, end="\r\n"):
    """Return a policy of these lines."""
    return "".join(line + end for line in lines).encode()


HEAD = ("version: STSv1", "mode: enforce")
AGE = "max_age: 86400"
MX = "mx: mx.example.com"
FULL = (*HEAD, MX, AGE)
WANT = STSPolicy("enforce", ("mx.example.com",), 86400)

GOOD_POLICIES = [
    ("STS-13-crlf", text(*FULL), WANT),
    ("STS-13-lf", text(*FULL, end="\n"), WANT),
    ("STS-13-mixed", text(*HEAD) + text(MX, AGE, end="\n"), WANT),
    ("STS-13-no-final-terminator", text(*FULL)[:-2], WANT),
    ("STS-13-trailing-blanks", text(*(line + " \t" for line in FULL)), WANT),
    ("STS-13-empty-lines-at-the-end", text(*FULL, "", ""), WANT),
    ("STS-12-any-order", text(AGE, MX, "mode: enforce", "version: STSv1"), WANT),
    ("STS-12-no-blank-behind-the-colon", text(*(line.replace(" ", "") for line in FULL)), WANT),
    ("STS-12-tab-behind-the-colon", text(*(line.replace(" ", "\t") for line in FULL)), WANT),
    ("STS-12-mode-testing", text("version: STSv1", "mode: testing", MX, AGE),
     STSPolicy("testing", ("mx.example.com",), 86400)),
    ("STS-12-mode-none-needs-no-mx", text("version: STSv1", "mode: none", AGE),
     STSPolicy("none", (), 86400)),
    ("STS-12-mode-none-may-have-mx", text("version: STSv1", "mode: none", MX, AGE),
     STSPolicy("none", ("mx.example.com",), 86400)),
    ("STS-15-several-mx", text(*HEAD, "mx: *.Example.COM", MX, AGE),
     STSPolicy("enforce", ("*.example.com", "mx.example.com"), 86400)),
    ("STS-15-a-labels-and-underscores", text(*HEAD, "mx: xn--bcher-kva.example",
                                             "mx: mx_1.example", AGE),
     STSPolicy("enforce", ("xn--bcher-kva.example", "mx_1.example"), 86400)),
    ("STS-04-unknown-utf8-field", text(*FULL, "x-note: ünï cödé: 1"), WANT),
    ("STS-04-first-mode-counts", text(*FULL, "mode: none"), WANT),
    ("STS-04-first-max-age-counts", text(*FULL, "max_age: -1"), WANT),
    ("STS-04-first-version-counts", text(*FULL, "version: STSv2"), WANT),
    ("STS-14-zero", text(*HEAD, MX, "max_age: 0"), STSPolicy("enforce", WANT.mx, 0)),
    ("STS-14-leading-zeros", text(*HEAD, MX, "max_age: 0000086400"), WANT),
    ("STS-14-one-year", text(*HEAD, MX, f"max_age: {MAX_AGE}"),
     STSPolicy("enforce", WANT.mx, MAX_AGE)),
    ("STS-14-clamped", text(*HEAD, MX, "max_age: 31557601"),
     STSPolicy("enforce", WANT.mx, MAX_AGE)),
    ("STS-14-ten-digits", text(*HEAD, MX, "max_age: 9999999999"),
     STSPolicy("enforce", WANT.mx, 31557600)),
]  # fmt: skip


@pytest.mark.parametrize(("body", "want"), [pytest.param(*r[1:], id=r[0]) for r in GOOD_POLICIES])
def test_policy(body, want):
    """K15: a policy by the grammar comes out with its patterns in lower case."""
    assert parse_policy(body) == want


LONG_NAME = ".".join(["a" * 63] * 4)

BAD_POLICIES = [
    ("STS-12-empty", b"", "no version"),
    ("STS-12-no-version", text(HEAD[1], MX, AGE), "no version"),
    ("STS-12-no-mode", text(HEAD[0], MX, AGE), "no mode"),
    ("STS-12-no-max-age", text(*HEAD, MX), "no max_age"),
    ("STS-12-no-mx", text(*HEAD, AGE), "mode enforce and no mx"),
    ("STS-12-no-mx-testing", text(HEAD[0], "mode: testing", AGE), "mode testing and no mx"),
    ("STS-12-version-2", text("version: STSv2", HEAD[1], MX, AGE), "not STSv1"),
    ("STS-12-version-case", text("version: stsv1", HEAD[1], MX, AGE), "not STSv1"),
    ("STS-12-mode-case", text(HEAD[0], "mode: Enforce", MX, AGE), "'Enforce'"),
    ("STS-12-mode-unknown", text(HEAD[0], "mode: report", MX, AGE), "'report'"),
    ("STS-04-first-mode-counts-also-a-bad-one", text(HEAD[0], "mode: x", *FULL[1:]), "'x'"),
    ("STS-12-field-name-case", text("Version: STSv1", HEAD[1], MX, AGE), "no version"),
    ("STS-14-negative", text(*HEAD, MX, "max_age: -1"), "'-1'"),
    ("STS-14-plus", text(*HEAD, MX, "max_age: +1"), "digits"),
    ("STS-14-eleven-digits", text(*HEAD, MX, "max_age: 00000086400"), "digits"),
    ("STS-14-ten-to-the-forty", text(*HEAD, MX, "max_age: 1" + "0" * 40), "digits"),
    ("STS-14-fraction", text(*HEAD, MX, "max_age: 1.5"), "digits"),
    ("STS-14-underscore", text(*HEAD, MX, "max_age: 1_0"), "digits"),
    ("STS-14-arabic-digits", text(*HEAD, MX, "max_age: ٢"), "digits"),
    ("STS-15-comma-list", text(*HEAD, "mx: a.example, b.example", AGE), "the mx"),
    ("STS-15-comma-list-without-blank", text(*HEAD, "mx: a.example,b.example", AGE), "the mx"),
    ("STS-15-u-label", text(*HEAD, "mx: bücher.example", AGE), "the mx"),
    ("STS-15-asterisk-alone", text(*HEAD, "mx: *", AGE), "the mx"),
    ("STS-15-two-asterisks", text(*HEAD, "mx: *.*.example", AGE), "the mx"),
    ("STS-15-part-of-a-label", text(*HEAD, "mx: m*.example", AGE), "the mx"),
    ("STS-15-asterisk-inside", text(*HEAD, "mx: mx.*.example", AGE), "the mx"),
    ("STS-15-leading-dot", text(*HEAD, "mx: .example", AGE), "the mx"),
    ("STS-15-final-dot", text(*HEAD, "mx: mx.example.", AGE), "the mx"),
    ("STS-15-empty-label", text(*HEAD, "mx: mx..example", AGE), "the mx"),
    ("STS-15-long-label", text(*HEAD, f"mx: {'a' * 64}.example", AGE), "the mx"),
    ("STS-15-long-name", text(*HEAD, f"mx: {LONG_NAME}", AGE), "the mx"),
    ("STS-15-one-bad-mx-of-two", text(*HEAD, MX, "mx: -a.example", AGE), "the mx"),
    ("STS-15-empty-mx", text(*HEAD, "mx: ", MX, AGE), "line 3"),
    ("STS-13-lone-cr", "\r".join(FULL).encode(), "line 1"),
    ("STS-13-empty-line-inside", text(*HEAD, "", MX, AGE), "line 3"),
    ("STS-13-line-separator-ends-no-line", "\u2028".join(FULL).encode(), "no mode"),
    ("K15-nul", text(*HEAD, MX + "\0", AGE), "line 3"),
    ("K15-nul-in-unknown-field", text(*FULL, "x: a\0b"), "line 5"),
    ("K15-bom", b"\xef\xbb\xbf" + text(*FULL), "line 1"),
    ("K15-not-utf8", text(*FULL) + b"x: \xff\r\n", f"octet {len(text(*FULL)) + 3}"),
    ("K15-utf16", text(*FULL).decode().encode("utf-16-le"), "line 1"),
    ("K15-no-colon", text(*FULL, "hello"), "line 5"),
    ("K15-leading-blank", text(" version: STSv1", HEAD[1], MX, AGE), "line 1"),
    ("K15-blank-before-the-colon", text("version : STSv1", HEAD[1], MX, AGE), "line 1"),
    ("K06-html", b"<html><body>Sign in: here</body></html>\n", "line 1"),
    ("K15-text-is-escaped", text(HEAD[0], "mode: \u202e\u2066evil", MX, AGE), "u202e"),
]


@pytest.mark.parametrize(("body", "match"), [pytest.param(*r[1:], id=r[0]) for r in BAD_POLICIES])
def test_bad_policy(body, match):
    """K15: what is no policy is an error, in one printable line that says where."""
    with pytest.raises(PolicyError, match=match) as caught:
        parse_policy(body)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


PIECES = [
    b"version: STSv1", b"mode: enforce", b"mode: none", b"mx: a.example", b"mx: *.example",
    b"max_age: 1", b"max_age: 99999999999", b"x: y", b"\r\n", b"\n", b"\r", b":", b" ", b"\t",
    b"*", b".", b"\0", b"\xff", "ü".encode(), b"9" * 50, b"-", b"version:", b"mx:",
]  # fmt: skip


def test_fuzz():
    """K15: whatever is served, the parser returns a policy that holds its promises, or refuses."""
    chance = random.Random("8461")
    accepted = 0
    for _ in range(20_000):
        body = bytearray(text(*chance.sample(FULL, len(FULL)), end=chance.choice(["\n", "\r\n"])))
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(body) + 1)
            body[at : at + chance.randrange(3)] = chance.choice(PIECES)
        try:
            policy = parse_policy(bytes(body))
        except PolicyError:
            continue
        accepted += 1
        assert policy.mode in ("enforce", "testing", "none"), bytes(body)
        assert 0 <= policy.max_age <= MAX_AGE, bytes(body)
        assert policy.mx or policy.mode == "none", bytes(body)
        again = text("version: STSv1", f"mode: {policy.mode}",
                     *(f"mx: {pattern}" for pattern in policy.mx),
                     f"max_age: {policy.max_age}")  # fmt: skip
        assert parse_policy(again) == policy
    assert 4_000 < accepted < 16_000, "the cases are worth something"


MATCHES = [
    ("STS-16-equal", "mail.example.com", "mail.example.com", True),
    ("STS-16-case", "mail.example.com", "MAIL.Example.COM", True),
    ("STS-16-final-dot-of-the-host", "mail.example.com", "mail.example.com.", True),
    ("STS-16-other", "mail.example.com", "mx.example.com", False),
    ("STS-16-suffix-is-no-match", "example.com", "mail.example.com", False),
    ("STS-16-string-suffix-is-no-match", "example.com", "badexample.com", False),
    ("STS-16-a-label", "xn--bcher-kva.example", "xn--bcher-kva.example", True),
    ("STS-15-u-label-never", "bücher.example", "bücher.example", False),
    ("STS-17-one-label", "*.example.com", "a.example.com", True),
    ("STS-17-underscore", "*.example.com", "mx_1.example.com", True),
    ("STS-17-not-the-domain-itself", "*.example.com", "example.com", False),
    ("STS-17-not-two-labels", "*.example.com", "a.b.example.com", False),
    ("STS-17-not-an-empty-label", "*.example.com", ".example.com", False),
    ("STS-17-not-an-asterisk", "*.example.com", "*.example.com", False),
    ("STS-17-string-suffix-is-no-match", "*.example.com", "a.badexample.com", False),
    ("STS-17-only-left-most", "a.*.example.com", "a.b.example.com", False),
    ("STS-17-two-asterisks", "*.*.example.com", "a.b.example.com", False),
    ("STS-17-asterisk-alone", "*", "example", False),
    ("STS-17-asterisk-and-dot", "*.", "example", False),
    ("STS-17-part-of-a-label", "m*.example.com", "mx.example.com", False),
    ("K16-empty-host", "", "", False),
]


@pytest.mark.parametrize(
    ("pattern", "host", "want"), [pytest.param(*r[1:], id=r[0]) for r in MATCHES]
)
def test_permits(pattern, host, want):
    """K16: a host is permitted when it equals a pattern or ``*`` is its one left-most label."""
    assert permits(STSPolicy("enforce", (pattern,), 1), host) is want
    assert permits(STSPolicy("testing", ("other.test", pattern), 1), host) is want


def test_permits_nothing_without_patterns():
    """A policy without patterns permits no host."""
    assert not permits(STSPolicy("none", (), 1), "mail.example.com")
