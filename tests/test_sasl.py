"""The messages of each mechanism, byte for byte, and what of the server's is believed."""

from __future__ import annotations

import copy
import pickle

import pytest

from requiretls_client import sasl
from requiretls_client.sasl import BadChallenge, Hidden, Scrubber, Unproven

NONCE = "rOprNGfwEbeRWgbNEkqO"
COMBINED = NONCE + "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
SERVER_FIRST = f"r={COMBINED},s={SALT},i=4096".encode()
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


def begin(mechanism, user="user", secret="pencil", **options):
    """Return an exchange and the text of its first step."""
    steps = sasl.begin(mechanism, user, Hidden(secret), **options)
    first = next(steps)
    return steps, first.text and first.text.value


def scram(**options):
    """Return an exchange of SCRAM-SHA-256 that waits for the server's first message."""
    return begin("SCRAM-SHA-256", nonce=NONCE, **options)[0]


def test_scram_vector():
    """SCR-01: the example of RFC 7677 section 3, with its nonce; success comes after the proof."""
    steps, first = begin("SCRAM-SHA-256", nonce=NONCE)
    assert first == f"n,,n=user,r={NONCE}"
    second = steps.send(SERVER_FIRST)
    assert second.text.value == (
        f"c=biws,r={COMBINED},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert not second.final
    last = steps.send(SERVER_FINAL)
    assert (last.text.value, last.final) == ("", True)


@pytest.mark.parametrize("final", [
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", b"v=", b"", b"nothing",
    b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
])  # fmt: skip
def test_scram_wrong_signature(final):
    """SCR-01: a server that does not give the right signature is not believed."""
    steps = scram()
    steps.send(SERVER_FIRST)
    with pytest.raises(Unproven, match="signature"):
        steps.send(final)


def test_scram_refusal():
    """SCR-01: after e= there is an empty response, and no success."""
    steps = scram()
    steps.send(SERVER_FIRST)
    last = steps.send(b"e=invalid-proof")
    assert (last.text.value, last.final) == ("", False)


def test_scram_extensions():
    """SCR-01: optional extensions behind the known fields are ignored."""
    steps = scram()
    # They are part of what both sides sign, so only the form can be checked here.
    assert steps.send(SERVER_FIRST + b",x=1").text.value.startswith("c=biws,r=")
    steps = scram()
    steps.send(SERVER_FIRST)
    assert steps.send(SERVER_FINAL + b",x=1").final


@pytest.mark.parametrize(("first", "why"), [
    (f"r={NONCE},s={SALT},i=4096", "nonce"),
    (f"r=other{COMBINED},s={SALT},i=4096", "nonce"),
    (f"r={COMBINED},s={SALT},i=1", "iteration"),
    (f"r={COMBINED},s={SALT},i=4095", "iteration"),
    (f"r={COMBINED},s={SALT},i=1000001", "iteration"),
    (f"r={COMBINED},s={SALT},i=1000000000", "iteration"),
    (f"r={COMBINED},s={SALT},i=99999999999999999999", "first message"),
    (f"r={COMBINED},s={SALT},i=04096", "first message"),
    (f"r={COMBINED},s={SALT}", "first message"),
    (f"r={COMBINED},s=,i=4096", "first message"),
    (f"r={COMBINED},s=W22Z=,i=4096", "first message"),
    (f"s={SALT},r={COMBINED},i=4096", "first message"),
    (f"m=ext,r={COMBINED},s={SALT},i=4096", "extension"),
    ("", "first message"),
    ("e=other-error", "first message"),
])  # fmt: skip
def test_scram_bad_server_first(first, why):
    """SCR-01, SCR-02: nonce, salt, iterations and m= are checked before any hash is made."""
    with pytest.raises(BadChallenge, match=why):
        scram().send(first.encode())


def test_scram_challenge_is_text():
    """SCR-01: a challenge that is not UTF-8 is refused."""
    with pytest.raises(BadChallenge, match="UTF-8"):
        scram().send(b"r=\xff")


def test_scram_names():
    """SCR-01: commas and equals signs of a user name are escaped (RFC 5802 s5.1)."""
    assert begin("SCRAM-SHA-256", "a,b=c", nonce="N")[1] == "n,,n=a=2Cb=3Dc,r=N"


@pytest.mark.parametrize(("given", "prepared"), [
    ("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"),
    ("a\u00a0b", "a b"), ("\u0627\u0628", "\u0627\u0628"),
])  # fmt: skip
def test_saslprep(given, prepared):
    """SCR-01: user and password go through SASLprep; the examples of RFC 4013 section 3."""
    assert begin("SCRAM-SHA-256", given, nonce="N")[1] == f"n,,n={prepared},r=N"


@pytest.mark.parametrize(
    "secret", ["\u0007", "\u06271", "\ue000", "canary\ncanary", "\u0627a\u0627"]
)
def test_saslprep_forbids(secret):
    """SCR-01: what SASLprep forbids is a ValueError that does not show it (RFC 4013 section 3)."""
    with pytest.raises(ValueError, match="SASLprep") as caught:
        scram(secret=secret)
    assert secret not in str(caught.value)


def test_plain():
    """AUTH-02: PLAIN is NUL, user, NUL, password in UTF-8 (RFC 4616)."""
    steps, first = begin("plain", "tim", "t\u00e4nst")
    assert first == "\0tim\0t\u00e4nst"
    assert sasl.encode(Hidden(first)).value == "AHRpbQB0w6Ruc3Q="
    with pytest.raises(StopIteration):
        steps.send(b"")


def test_login():
    """AUTH-02: LOGIN is the user, then the password."""
    steps, first = begin("LOGIN", "tim", "pw")
    assert (first, steps.send(b"Password:").text.value) == ("tim", "pw")


def test_cram_md5():
    """G04: the example of RFC 2195; the server speaks first."""
    steps, first = begin("CRAM-MD5", "tim", "tanstaaftanstaaf")
    assert first is None
    answer = steps.send(b"<1896.697170952@postoffice.reston.mci.net>")
    assert answer.text.value == "tim b913a602c7eda7a495b4e6e7334d3890"


def test_oauthbearer():
    """OAB-01: the example of RFC 7628 section 4.1, byte for byte."""
    first = begin(
        "OAUTHBEARER", "user@example.com", TOKEN, host="server.example.com", port=143
    )[1]  # fmt: skip
    assert first == (
        f"n,a=user@example.com,\1host=server.example.com\1port=143\1auth=Bearer {TOKEN}\1\1"
    )
    assert sasl.encode(Hidden(first)).value == (
        "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVy"
        "IHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )


def test_oauthbearer_without_the_rest():
    """OAB-01: user, host and port are left out where there are none; a user's comma is escaped."""
    assert begin("OAUTHBEARER", "", "t")[1] == "n,,\1auth=Bearer t\1\1"
    assert begin("OAUTHBEARER", "a,b", "t")[1] == "n,a=a=2Cb,\1auth=Bearer t\1\1"


def test_xoauth2():
    """OAB-01: XOAUTH2 as Google and Microsoft write it, byte for byte."""
    first = begin("XOAUTH2", "someuser@example.com", "ya29.token")[1]
    assert first == "user=someuser@example.com\1auth=Bearer ya29.token\1\1"


@pytest.mark.parametrize(("mechanism", "dummy"), [("OAUTHBEARER", "\1"), ("XOAUTH2", "")])
def test_oauth_dummy(mechanism, dummy):
    """OAB-02: the error challenge gets the dummy response, after which nothing is granted."""
    steps, _ = begin(mechanism)
    answer = steps.send(b'{"status":"invalid_token"}')
    assert (answer.text.value, answer.final) == (dummy, False)


@pytest.mark.parametrize("mechanism", sasl.TOKEN_MECHANISMS)
@pytest.mark.parametrize(("user", "token"), [
    ("u", ""), ("u", "canary token"), ("u", "canary\1x"), ("u", "can\u00e4ry"), ("u\1x", "canary"),
])  # fmt: skip
def test_oauth_bad_argument(mechanism, user, token):
    """OAB-01: what would end a field is a ValueError that does not show it."""
    with pytest.raises(ValueError, match="RFC") as caught:
        begin(mechanism, user, token)
    assert "can" not in str(caught.value).replace("cannot", "")


@pytest.mark.parametrize(
    "bad", ["!!", "YQ", "YQ==YQ==", "YR==", "Y Q==", "=", "YQ==\nYQ==", "\xff"]
)
def test_strict_base64(bad):
    """AUTH-03: a challenge is base64 to the letter, or it is refused without being shown."""
    with pytest.raises(BadChallenge, match="base64") as caught:
        sasl.decode(bad.encode("latin-1"))
    assert str(caught.value) == "the challenge is not base64 (RFC 4954 s4)"


def test_challenge_limit():
    """AUTH-03: challenges far beyond 512 octets are read, those beyond 12 KiB are not."""
    assert sasl.decode(b"YWFh" * 3072) == b"aaa" * 3072
    assert sasl.decode(b"") == b""
    with pytest.raises(BadChallenge, match="12288"):
        sasl.decode(b"YWFh" * 3073)


@pytest.mark.parametrize("user", [None, b"user", "u\0", "u\ud800"])
def test_bad_credentials(user):
    """G10: an argument that cannot be sent is named, and not shown."""
    with pytest.raises((TypeError, ValueError), match=r"^user ") as caught:
        sasl.check_credentials(user, Hidden("x"))
    assert not isinstance(caught.value, UnicodeError)
    with pytest.raises((TypeError, ValueError), match=r"^password "):
        sasl.check_credentials("u", Hidden(user))


def test_names():
    """AUTH-02: names are read in any case; those of others must be names (RFC 4422 s3.1)."""
    assert sasl.known("scram-sha-256") == "SCRAM-SHA-256"
    assert sasl.check_name("x-own") == "X-OWN"
    for name in ("GSSAPI", "SCRAM-SHA-256-PLUS", ""):
        with pytest.raises(ValueError, match="mechanism is none of"):
            sasl.known(name)
    for name in ("", "A B", "A\r\nRSET", "X" * 21):
        with pytest.raises(ValueError, match="mechanism is not"):
            sasl.check_name(name)


def test_hidden():
    """G09: a wrapped secret shows nothing, and is neither pickled nor copied."""
    secret = Hidden("canary")
    assert f"{secret} {secret!r} {[secret]}" == "[hidden] [hidden] [[hidden]]"
    for attempt in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="not pickled"):
            attempt(secret)


@pytest.mark.parametrize(("secret", "text", "clean"), [
    ("canary", "a canary b", "a [hidden] b"),
    ("canary", "CANARY", "[hidden]"),
    ("canary", "Y2FuYXJ5 Y2FuYXJ5", "[hidden] [hidden]"),
    ("canary!", "x Y2FuYXJ5IQ== x", "x [hidden]== x"),
    ("canary-password", "cut off: canary-pass", "cut off: [hidden]"),
    ("canary-password", "canary-passport", "[hidden]port"),
    ("aaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaa", "[hidden][hidden]a"),
    ("pw", "a pw, powpw", "a [hidden], powpw"),
    ("c\u00e4nary", "b'c\\xc3\\xa4nary'", "b'[hidden]'"),
    ("", "nothing - at all", "nothing - at all"),
    ("hidden", "aGlkZGVu", "[hidden]"),
])  # fmt: skip
def test_scrubber(secret, text, clean):
    """G08: a secret is found as it is, in base64, in repr and cut off; short ones as words."""
    scrubber = Scrubber()
    scrubber.learn(Hidden(secret))
    assert scrubber.clean_text(text) == clean
    assert scrubber.clean(text.encode()) == clean.encode()


@pytest.mark.parametrize(("response", "secret"), [
    ("\0user\0canary", "canary"),
    ("user d0b913a602c7eda7a495b4e6e7334d38", "d0b913a602c7eda7a495b4e6e7334d38"),
    ("n,a=user,\1host=h\1auth=Bearer canary\1\1", "canary"),
    ("c=biws,r=x,p=canary=", "canary="),
    ("user", None),
])  # fmt: skip
def test_scrubber_learns_responses(response, secret):
    """G08: a response and the secret in it are hidden; the user name is not."""
    scrubber = Scrubber()
    scrubber.learn_response(Hidden(response), "user")
    assert scrubber.clean_text(f"{secret} user") == ("[hidden] user" if secret else "None user")
