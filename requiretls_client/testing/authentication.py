"""AUTH PLAIN, LOGIN and CRAM-MD5 for the test server. RFC 4954, 4616, 2195.

No I/O of its own: it asks through a function. Answers are compared as they are; this server
keeps secrets in the clear and is for tests only.
"""

from __future__ import annotations

import base64
import binascii
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


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    return base64.b64decode(text.encode(), validate=True).decode()


_EXCHANGES = {"PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5}
