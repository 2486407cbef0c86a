"""RFC 5321 s4.2: what is a reply, what is none, and how much of it is read."""

from __future__ import annotations

import random

import pytest

from requiretls_client.replies import MAX_LINE, MAX_LINES, Malformed, Parser, enhanced_status


def parse(data, step=None):
    """Feed the data, whole or in steps; return all replies: code, text and octets."""
    parser = Parser()
    replies = []
    for start in range(0, len(data), step or len(data)):
        parser.feed(data[start : start + (step or len(data))])
        while found := parser.take():
            replies += [(*found[0], parser.taken)]
    return replies, parser


GOOD = [
    ("plain", b"250 ok\r\n", [(250, b"ok")]),
    ("B19-code-only", b"250\r\n", [(250, b"")]),
    ("B19-empty-lines", b"250-\r\n250 \r\n", [(250, b"\n")]),
    ("SMTP-09-last-line-bare", b"250-a\r\n250\r\n", [(250, b"a\n")]),
    ("lf-only", b"250 ok\n", [(250, b"ok")]),
    ("multi", b"250-mx\r\n250-SIZE 5\r\n250 HELP\r\n", [(250, b"mx\nSIZE 5\nHELP")]),
    ("SMTP-08-unknown-codes", b"259 a\r\n499 b\r\n599 c\r\n",
     [(259, b"a"), (499, b"b"), (599, b"c")]),
    ("dashes-in-text", b"250-a-b\r\n250 -c\r\n", [(250, b"a-b\n-c")]),
    ("UTF-04-utf8", "250 grüß\r\n".encode(), [(250, "grüß".encode())]),
    ("cr-in-text", b"250 a\rb\r\n", [(250, b"a\rb")]),
    ("longest", b"250 " + b"x" * (MAX_LINE - 6) + b"\r\n", [(250, b"x" * (MAX_LINE - 6))]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "want"), [pytest.param(*r[1:], id=r[0]) for r in GOOD])
@pytest.mark.parametrize("step", [None, 1, 3], ids=["whole", "bytewise", "threes"])
def test_reply(data, want, step):
    """A well-formed reply comes out the same however it is cut into segments."""
    replies, parser = parse(data, step)
    assert [(code, text) for code, text, _ in replies] == want
    assert b"".join(octets for _, _, octets in replies) == data
    assert parser.waiting == b""


BAD = [
    ("B07-plus", b"+25 ok\r\n"),
    ("B07-blank-first", b" 250 ok\r\n"),
    ("B07-underscore", b"2_5 ok\r\n"),
    ("B07-two-digits", b"25 ok\r\n"),
    ("B07-four-digits", b"2500 ok\r\n"),
    ("B07-199", b"199 ok\r\n"),
    ("B07-600", b"600 ok\r\n"),
    ("B07-000", b"000 ok\r\n"),
    ("B07-arabic-digits", "٢٥٠ ok\r\n".encode()),
    ("B07-tab", b"250\tok\r\n"),
    ("B07-equals", b"250=ok\r\n"),
    ("B07-text", b"hello\r\n"),
    ("B07-empty-line", b"\r\n"),
    ("B07-nul", b"25\0 ok\r\n"),
    ("B05-mixed-codes", b"550-no\r\n250 ok\r\n"),
    ("B05-mixed-behind", b"250-ok\r\n550 no\r\n"),
    ("SMTP-09-text-inside", b"250-a\r\nb\r\n250 c\r\n"),
    ("B16-long-line", b"250 " + b"x" * MAX_LINE + b"\r\n"),
    ("L05-endless-line", b"250 " + b"x" * 9000),
    ("L01-endless-lines", b"250-x\r\n" * (MAX_LINES + 1)),
    ("B16-large-reply", (b"250-" + b"x" * 1500 + b"\r\n") * 60),
]


@pytest.mark.parametrize("data", [pytest.param(r[1], id=r[0]) for r in BAD])
@pytest.mark.parametrize("step", [None, 1], ids=["whole", "bytewise"])
def test_malformed(data, step):
    """What is no reply is an error with the bytes concerned, not a guess."""
    with pytest.raises(Malformed) as caught:
        parse(data, step)
    assert len(caught.value.raw) <= MAX_LINE


def in_groups(data, most, step):
    """Feed the data in steps, and return what take() gives, group by group."""
    parser, groups = Parser(), []
    for start in range(0, len(data), step):
        parser.feed(data[start : start + step])
        while found := parser.take(most):
            groups.append(found)
    return groups, parser


GROUPS = [
    ("all-of-one-line", b"250 a\r\n251 \r\n354 go\r\n"),
    ("one-of-several-lines", b"250 a\r\n250-b\r\n250 c\r\n354 go\r\n"),
    ("no-text", b"250 a\r\n250\r\n354 go\r\n"),
    ("lf-only", b"250 a\n250 b\r\n354 go\r\n"),
    ("blanks", b"250  a \t\r\n250 \t\r\n354 \xff\r\n"),
    ("long", b"250 " + b"x" * 600 + b"\r\n250 b\r\n354 go\r\n"),
    ("RFC 5321 s3.8", b"250 a\r\n421 bye\r\n250 c\r\n"),
    ("code-in-the-text", b"250 421 a\r\n250 x421 b\r\n250 c\r\n"),
]


@pytest.mark.parametrize("data", [pytest.param(r[1], id=r[0]) for r in GROUPS])
@pytest.mark.parametrize("most", [1, 2, 3, 4])
@pytest.mark.parametrize("step", [1, 7, 9000])
def test_groups(data, most, step):
    """RFC 2920 s3.1: however they come, they are the same replies, never more than asked for."""
    groups, parser = in_groups(data, most, step)
    one_by_one, _ = parse(data)
    assert [reply for group in groups for reply in group] == [each[:2] for each in one_by_one]
    assert all(len(group) <= most for group in groups)
    assert all(code != 421 for group in groups for code, _ in group[:-1])
    assert parser.idle


@pytest.mark.parametrize("data", [pytest.param(r[1], id=r[0]) for r in BAD])
@pytest.mark.parametrize("before", [b"", b"250 ok\r\n"], ids=["first", "second"])
def test_malformed_in_a_group(data, before):
    """What is no reply is an error there too, and nothing of it is passed over."""
    with pytest.raises(Malformed):
        in_groups(before + data, 3, 9000)


def outcome(data, step):
    """Return what comes of the data: the replies, and what waits or the error."""
    parser, replies, problem = Parser(), [], None
    try:
        for start in range(0, len(data), step):
            parser.feed(data[start : start + step])
            while found := parser.take():
                replies += [(*found[0], parser.taken)]
    except Malformed as error:
        problem = str(error), error.raw
    return replies, problem, None if problem else parser.waiting


TEXTS = [b"", b"a", b"-a b", b" ", b"250 ", b"\0", b"\xff", b"\t", *(b"x" * n for n in (500, 501))]
FAULTS = [b"250-", b"250 ", b"250", b"550-", b"199 ", b"-", b"\r\n", b"\n", b"\r", b"x" * 2048]


def some_replies(source):
    """Return octets that are replies, or nearly so."""
    data = b""
    for _ in range(source.randrange(1, 5)):
        code = source.choice([b"250", b"250", b"250", b"550", b"334"])
        size = source.choice([1, 2, 3, 8, MAX_LINES] * 3 + [MAX_LINES + 1])
        texts = source.choices(source.choice([TEXTS, TEXTS[:-1]]), k=size)
        data += b"".join(code + b"-" + text + b"\r\n" for text in texts[1:])
        data += code + b" " + texts[0] + b"\r\n"
    for _ in range(source.choice([0, 1, 2])):  # and then something goes wrong
        at = source.randrange(len(data))
        data = data[:at] + source.choice(FAULTS) + data[at + source.randrange(3) :]
    return data


def test_whole_and_octet_by_octet():
    """A reply that has arrived whole is read as strictly as one that comes octet by octet."""
    source, outcomes = random.Random(4954), []
    for _ in range(300):
        data = some_replies(source)
        outcomes.append(outcome(data, len(data)))
        assert outcomes[-1] == outcome(data, 1), data[:2000]
    assert 50 < sum(problem is None for _, problem, _ in outcomes) < 250
    sizes = [octets.count(b"\n") for replies, _, _ in outcomes for _, _, octets in replies]
    assert max(sizes) == MAX_LINES


def test_incomplete():
    """B20: a reply that has not ended is none, and what has arrived can be seen."""
    replies, parser = parse(b"250-a\r\n250-b")
    assert replies == []
    assert parser.waiting == b"250-a\r\n250-b"


def test_bytes_behind_a_reply_wait():
    """B01: what arrives with a reply and behind it stays there to be found."""
    parser = Parser()
    parser.feed(b"250 ok\r\n354 go\r\n250 que")
    assert parser.take() == [(250, b"ok")]
    assert parser.waiting == b"354 go\r\n250 que"


def test_long_challenge():
    """AUTH-03: a line with 334 may hold 12,288 octets of base64, and not one more."""
    parser = Parser()
    parser.feed(b"334 " + b"A" * 12288 + b"\r\n")
    assert parser.take() == [(334, b"A" * 12288)]
    parser.feed(b"334 " + b"A" * 12289 + b"\r\n")
    with pytest.raises(Malformed, match="12294"):
        parser.take()


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (250, b"2.1.0 Ok", "2.1.0"),
        (550, b"5.7.30 REQUIRETLS is needed", "5.7.30"),
        (451, b"4.7.1\nmore", "4.7.1"),
        (550, b"4.7.1 later", "5.0.0"),
        (450, b"no code here", "4.0.0"),
        (550, b"5.1", "5.0.0"),
        (550, b"5.1.1.1 x", "5.0.0"),
        (550, b"5.01.1 x", "5.0.0"),
        (550, b"5.1.1000 x", "5.0.0"),
        (554, b"", "5.0.0"),
    ],
)
def test_enhanced_status(code, text, status):
    """ESC-01, B21: an enhanced code counts if it is one and of the reply's own class."""
    assert enhanced_status(code, text) == status
