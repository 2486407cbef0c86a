"""What is said in a login: the messages of each mechanism, and what the server's answers prove.

Pure: nonce, host and port come in as arguments, and secrets go round wrapped in :class:`Hidden`.
A mechanism is a generator: it yields :class:`Response` and is sent the challenges. The dialogue
that carries them is in :mod:`requiretls_client.login`.

RFC 4616 (PLAIN), 2195 (CRAM-MD5), 5802 and 7677 (SCRAM-SHA-256, without channel binding), 7628
(OAUTHBEARER); LOGIN and XOAUTH2 are not standards, and are done as everybody does them.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    Exchange = Generator["Response", bytes, None]

# What login() chooses from by itself, the best first. The others are for callers who ask.
PASSWORD_MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5")
TOKEN_MECHANISMS = ("OAUTHBEARER", "XOAUTH2")

MIN_ITERATIONS = 4096  # RFC 7677 s4
MAX_ITERATIONS = 1_000_000  # a third of a second or so; a server may not hold us longer
MAX_CHALLENGE = 12288  # octets of base64 (RFC 4954 s4)

_NAME = re.compile(r"[A-Z0-9_\-]{1,20}")  # RFC 4422 s3.1
_SERVER_FIRST = re.compile(
    r"r=(?P<nonce>[!-+\--~]+),s=(?P<salt>[A-Za-z0-9+/=]+),i=(?P<count>[1-9][0-9]{0,9})(?:,.*)?"
)
_UNSENDABLE = re.compile("[\0\ud800-\udfff]")
_TOKEN = re.compile(r"[!-~]+")  # wider than RFC 6750 s2.1, and nothing that ends a field
_PARTS = re.compile("[\0\1 ]|Bearer |,p=")
_LONG = 8  # octets that give a longer secret away
_SHORT = 4  # octets; anything shorter is a secret only where it stands as a word


class Hidden:
    """A secret on its way through the program: nothing that prints it shows it."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        """Wrap the text."""
        self.value = value

    def __repr__(self) -> str:
        """Show that there is something."""
        return "[hidden]"

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise TypeError("a secret is not pickled")


class Response(NamedTuple):
    """What the client says next.

    Attributes:
        text: as the mechanism has it, before base64; None leaves the first word to the server.
        final: whether the server may grant the login after it.
    """

    text: Hidden | None
    final: bool


class BadChallenge(Exception):
    """The server's part of the exchange is wrong; the text holds nothing that it sent."""


class Unproven(BadChallenge):
    """The server has our proof and does not give its own: it does not know the password."""


def begin(
    mechanism: str, user: str, secret: Hidden, *, nonce: str = "", host: str = "", port: int = 0
) -> Exchange:
    """Return the exchange of a mechanism.

    Args:
        mechanism: one of the names above, upper case.
        user: the user name, or "" where a token says it all.
        secret: password, or OAuth token.
        nonce: for SCRAM: fresh, random, printable ASCII without a comma.
        host: for OAUTHBEARER: the name of the server that the client means; "" for none.
        port: for OAUTHBEARER: the port it dialled; 0 for none.

    Raises:
        ValueError: no such mechanism. From the first step on: user or secret cannot be sent
            by this mechanism.
    """
    if mechanism == "OAUTHBEARER":
        return _oauthbearer(user, secret, host, port)
    if mechanism == "SCRAM-SHA-256":
        return _scram_sha_256(user, secret, nonce)
    exchange = {"PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5, "XOAUTH2": _xoauth2}
    return exchange[known(mechanism)](user, secret)


def known(mechanism: str) -> str:
    """Return the name in upper case.

    Raises:
        ValueError: not one that is done here.
    """
    name = mechanism.upper()
    if name not in PASSWORD_MECHANISMS + TOKEN_MECHANISMS:
        raise ValueError(
            f"mechanism is none of {', '.join(PASSWORD_MECHANISMS + TOKEN_MECHANISMS)}"
        )
    return name


def check_name(mechanism: str) -> str:
    """Return the name of any mechanism in upper case.

    Raises:
        ValueError: bad grammar (RFC 4422 s3.1).
    """
    if not _NAME.fullmatch(mechanism.upper()):
        raise ValueError("mechanism is not a sasl-mech of RFC 4422 s3.1")
    return mechanism.upper()


def check_credentials(user: str, secret: Hidden) -> None:
    """Refuse what no mechanism can carry; the messages do not show it.

    Raises:
        TypeError: not a str.
        ValueError: a NUL, or half a surrogate pair.
    """
    for argument, value in (("user", user), ("password", secret.value)):
        if not isinstance(value, str):
            del value
            raise TypeError(f"{argument} must be a str")
        bad = _UNSENDABLE.search(value) is not None  # the match would hold the value
        del value  # what formats a traceback may show local variables
        if bad:
            raise ValueError(f"{argument} holds a NUL or half a surrogate pair")


def by_caller(answer: Callable[[bytes | None], Hidden | None], *, at_once: bool) -> Exchange:
    """Return the exchange of a mechanism that the caller of ``auth()`` brings.

    Args:
        answer: returns what to say to a challenge; asked with None for an initial response.
        at_once: whether an initial response is wanted.
    """
    text = answer(None) if at_once else None
    while True:
        challenge = yield Response(text, final=True)
        text = answer(challenge)


# -- base64 ------------------------------------------------------------------------------------


def encode(text: Hidden) -> Hidden:
    """Return the base64 of a response (RFC 4954 s4)."""
    return Hidden(_base64(text.value.encode()).decode())


def decode(challenge: bytes) -> bytes:
    """Return what a challenge says.

    Raises:
        BadChallenge: it is too long, or not base64 to the letter (RFC 4954 s4).
    """
    if len(challenge) > MAX_CHALLENGE:
        raise BadChallenge(f"the challenge is longer than {MAX_CHALLENGE} octets (RFC 4954 s4)")
    found = _strictly(challenge)
    if found is None:
        raise BadChallenge("the challenge is not base64 (RFC 4954 s4)")
    return found


def _strictly(text: bytes) -> bytes | None:
    try:
        found = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    return found if _base64(found) == text else None  # nor are stray bits base64


def _base64(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False)


# -- passwords ---------------------------------------------------------------------------------


def _plain(user: str, secret: Hidden) -> Exchange:
    yield Response(Hidden(f"\0{user}\0{secret.value}"), final=True)


def _login(user: str, secret: Hidden) -> Exchange:
    yield Response(Hidden(user), final=True)
    yield Response(secret, final=True)


def _cram_md5(user: str, secret: Hidden) -> Exchange:
    hmac.new(b"", b"", "md5")  # a ValueError now, where MD5 is not to be had
    challenge = yield Response(None, final=False)
    digest = hmac.new(secret.value.encode(), challenge, "md5").hexdigest()
    yield Response(Hidden(f"{user} {digest}"), final=True)


def _scram_sha_256(user: str, secret: Hidden, nonce: str) -> Exchange:
    name = _prepared(user).replace("=", "=3D").replace(",", "=2C")
    password = Hidden(_prepared(secret.value))
    client_first = f"n={name},r={nonce}"
    # "n": no channel binding. The ssl module gives no tls-exporter (RFC 9266).
    challenge = yield Response(Hidden(f"n,,{client_first}"), final=False)
    server_first = _text(challenge)
    combined, salt, count = _read_server_first(server_first, nonce)
    client_final = f"c=biws,r={combined}"
    message = f"{client_first},{server_first},{client_final}".encode()
    proof, signature = _proofs(password, salt, count, message)
    challenge = yield Response(Hidden(f"{client_final},p={proof.value}"), final=False)
    # After "e=" nothing is granted; the server's last word is the reply to the empty response.
    yield Response(Hidden(""), final=_is_proof(_text(challenge), signature))


def _read_server_first(text: str, nonce: str) -> tuple[str, bytes, int]:
    """Return nonce, salt and iterations (RFC 5802 s5.1, RFC 7677 s4)."""
    if text.startswith("m="):
        raise BadChallenge("the server wants an extension that is not known (RFC 5802 s5.1)")
    found = _SERVER_FIRST.fullmatch(text)
    salt = _strictly(found["salt"].encode()) if found else None
    if not found or not salt:
        raise BadChallenge("the server's first message is none of RFC 5802 s7")
    if not found["nonce"].startswith(nonce) or found["nonce"] == nonce:
        raise BadChallenge("the server's nonce does not extend ours (RFC 5802 s5.1)")
    count = int(found["count"])
    if not MIN_ITERATIONS <= count <= MAX_ITERATIONS:
        raise BadChallenge(
            f"the server's iteration count is not within {MIN_ITERATIONS} and {MAX_ITERATIONS} "
            "(RFC 7677 s4)"
        )
    return found["nonce"], salt, count


def _proofs(password: Hidden, salt: bytes, count: int, message: bytes) -> tuple[Hidden, Hidden]:
    """Return the client's proof and the server's signature, base64 (RFC 5802 s3)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.value.encode(), salt, count)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    mask = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, mask, strict=True))
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    signature = hmac.digest(server_key, message, "sha256")
    return Hidden(_base64(proof).decode()), Hidden(_base64(signature).decode())


def _is_proof(server_final: str, signature: Hidden) -> bool:
    """Return whether the server knows the password; False when it says that we do not."""
    if server_final.startswith("e="):
        return False
    shown = server_final.partition(",")[0].encode()
    if not hmac.compare_digest(shown, f"v={signature.value}".encode()):
        raise Unproven("the server's signature is wrong: it does not know the password")
    return True


def _text(challenge: bytes) -> str:
    """Return a challenge that has to be text.

    Raises:
        BadChallenge: it is not UTF-8.
    """
    text = challenge.decode("utf-8", "replace")
    if "\ufffd" in text:
        raise BadChallenge("the challenge is not UTF-8")
    return text


def _prepared(text: str) -> str:
    """Return the text after SASLprep (RFC 4013), unassigned characters allowed.

    Raises:
        ValueError: it holds what the profile forbids.
    """
    if text.isascii() and text.isprintable():
        return text
    import stringprep as tables
    import unicodedata

    text = "".join(" " if tables.in_table_c12(c) else c for c in text if not tables.in_table_b1(c))
    text = unicodedata.normalize("NFKC", text)
    forbidden = (
        *(tables.in_table_c12, tables.in_table_c21_c22, tables.in_table_c3, tables.in_table_c4),
        *(tables.in_table_c5, tables.in_table_c6, tables.in_table_c7, tables.in_table_c8),
        tables.in_table_c9,
    )
    bad = any(test(c) for c in text for test in forbidden)
    if any(map(tables.in_table_d1, text)):  # RFC 3454 s6: right to left, and then throughout
        ends = tables.in_table_d1(text[0]) and tables.in_table_d1(text[-1])
        bad = bad or not ends or any(map(tables.in_table_d2, text))
    if bad:
        raise ValueError("user or password holds a character that SASLprep forbids (RFC 4013 s2)")
    return text


# -- tokens ------------------------------------------------------------------------------------


def _oauthbearer(user: str, secret: Hidden, host: str, port: int) -> Exchange:
    _check_token(user, secret)
    name = user.replace("=", "=3D").replace(",", "=2C")
    fields = [f"n,{name and 'a='}{name},"]
    fields += [f"host={host}"] if host else []
    fields += [f"port={port}"] if port else []
    fields += [f"auth=Bearer {secret.value}"]
    yield Response(Hidden("\1".join(fields) + "\1\1"), final=True)
    yield Response(Hidden("\1"), final=False)  # the server said why not (RFC 7628 s3.2.3)


def _xoauth2(user: str, secret: Hidden) -> Exchange:
    _check_token(user, secret)
    yield Response(Hidden(f"user={user}\1auth=Bearer {secret.value}\1\1"), final=True)
    yield Response(Hidden(""), final=False)


def _check_token(user: str, secret: Hidden) -> None:
    if not _TOKEN.fullmatch(secret.value):
        raise ValueError("the token is empty, or holds more than visible ASCII (RFC 6750 s2.1)")
    if "\1" in user:
        raise ValueError("user holds the character that ends a field (RFC 7628 s3.1)")


# -- what must not be shown --------------------------------------------------------------------


class Scrubber:
    """Knows the secrets of one login, and takes them out of what others wrote."""

    def __init__(self) -> None:
        """Know none."""
        self._secrets: set[str] = set()

    def learn(self, secret: Hidden) -> None:
        """Remember a secret: as it is, in base64, and as ``repr`` would show it."""
        self._secrets.add(secret.value)

    def learn_response(self, response: Hidden, user: object = None) -> None:
        """Remember a response, and the secret that is its last part; the user name is none."""
        last = _PARTS.split(response.value.rstrip("\1"))[-1]
        self._secrets |= {response.value, last} - {user}

    def clean(self, text: bytes) -> bytes:
        """Return the text with ``[hidden]`` in the place of each secret, or of its beginning."""
        lowered, found = text.lower(), set()
        for secret in self._secrets:
            raw = secret.encode("utf-8", "surrogatepass")
            for form in (raw, repr(raw)[2:-1].encode(), _base64(raw).rstrip(b"=")):
                if form and form[:_LONG].lower() in lowered:  # which few texts have
                    found.add(form)
        for form in sorted(found, key=len, reverse=True):
            text = _without(text, form)
        return text

    def clean_text(self, text: str) -> str:
        """Do the same with a str."""
        return self.clean(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


def _without(text: bytes, secret: bytes) -> bytes:
    """Hide a secret, in whatever case. Of a long one its beginning counts: echoes are cut off."""
    head = re.escape(secret[:_LONG])
    if len(secret) < _SHORT:
        head = rb"(?<![A-Za-z0-9])" + head + rb"(?![A-Za-z0-9])"
    pattern = re.compile(head, re.IGNORECASE)
    shown, at = b"", 0
    while found := pattern.search(text, at):
        shown += text[at : found.start()] + b"[hidden]"
        at = found.end()
        for octet in secret[_LONG:]:
            if text[at : at + 1].lower() != bytes([octet]).lower():
                break
            at += 1
    return shown + text[at:]
