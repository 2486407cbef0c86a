"""AUTH PLAIN, LOGIN and CRAM-MD5 for the test server. RFC 4954, 4616, 2195.

SCRAM-SHA-256, OAUTHBEARER (RFC 5802, 7677, 7628) and XOAUTH2 too, where ``tls_extensions`` list
them; a user's token is then the password.

No I/O of its own: it asks through a function. Answers are compared as they are; this server
keeps secrets in the clear and is for tests only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping

MECHANISMS = "PLAIN LOGIN CRAM-MD5"

Ask = Callable[[str], str]


def authenticate(argument: str, users: Mapping[str, str], ask: Ask) -> str:
    """Run one AUTH exchange.

    Args:
        argument: behind the verb: the mechanism and, for PLAIN and LOGIN, an initial response.
        users: user name -> password.
        ask: sends ``334 `` with the given base64 text and returns the client's line without CRLF.

    Returns:
        The final reply: 235, 501 (cancelled or not base64), 504 (mechanism) or 535.
    """
    mechanism, _, initial = argument.partition(" ")
    exchange = _EXCHANGES.get(mechanism.upper())
    if exchange is None:
        return "504 5.5.4 Mechanism not offered"
    try:
        granted = exchange(initial, users, ask)
    except (binascii.Error, UnicodeDecodeError):  # "*" too: it is not base64
        return "501 5.5.2 Not base64, or cancelled"
    return "235 2.7.0 Welcome" if granted else "535 5.7.8 User or password wrong"


def _plain(initial: str, users: Mapping[str, str], ask: Ask) -> bool:
    _, user, password = f"{_decode(initial or ask(''))}\0\0".split("\0")[:3]
    return users.get(user) == password


def _login(initial: str, users: Mapping[str, str], ask: Ask) -> bool:
    user = _decode(initial or ask(_encode("Username:")))
    return users.get(user) == _decode(ask(_encode("Password:")))


def _cram_md5(_initial: str, users: Mapping[str, str], ask: Ask) -> bool:
    challenge = f"<{secrets.token_hex(8)}@localhost>"
    user, _, digest = _decode(ask(_encode(challenge))).rpartition(" ")
    secret = users.get(user, "").encode()
    return user in users and digest == hmac.new(secret, challenge.encode(), "md5").hexdigest()


def _scram_sha_256(initial: str, users: Mapping[str, str], ask: Ask) -> bool:
    bare = _decode(initial or ask("")).removeprefix("n,,")
    name, _, nonce = bare.removeprefix("n=").partition(",r=")
    user = name.replace("=2C", ",").replace("=3D", "=")
    nonce, salt = nonce + secrets.token_hex(8), secrets.token_bytes(16)
    first = f"r={nonce},s={base64.b64encode(salt).decode()},i=4096"
    bound, _, proof = _decode(ask(_encode(first))).rpartition(",p=")
    salted = hashlib.pbkdf2_hmac("sha256", users.get(user, "").encode(), salt, 4096)
    message = f"{bare},{first},{bound}".encode()
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    mask = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    right = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, mask, strict=True)))
    if user not in users or bound != f"c=biws,r={nonce}" or proof != right.decode():
        ask(_encode("e=invalid-proof"))
        return False
    key = hmac.digest(salted, b"Server Key", "sha256")
    signature = base64.b64encode(hmac.digest(key, message, "sha256")).decode()
    return ask(_encode(f"v={signature}")) == ""


def _bearer(initial: str, users: Mapping[str, str], ask: Ask) -> bool:
    head, *fields = _decode(initial or ask("")).split("\1")
    user = head.removeprefix("n,a=").removeprefix("user=").removesuffix(",")
    token = users.get(user)
    if token is not None and f"auth=Bearer {token}" in fields:
        return True
    ask(_encode('{"status":"invalid_token","scope":"mail"}'))
    return False


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    return base64.b64decode(text.encode(), validate=True).decode()


_EXCHANGES = {
    "PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5, "SCRAM-SHA-256": _scram_sha_256,
    "OAUTHBEARER": _bearer, "XOAUTH2": _bearer,
}  # fmt: skip
