"""The library's texts for people who call a command: options instead of Python arguments.

Pure. What a finding says and advises is written for callers of the library; here its Python is
replaced, phrase by phrase. A test walks the modules that write those texts and fails on Python that
no phrase here replaces.
"""

from __future__ import annotations

import re
from typing import Any

from requiretls_client.syntax import printable

LIMIT = 1000  # characters of one text; a server or a recording may hold more

_PHRASES = {
    "say server_hostname= for the name that it has, or context= for the authority that signed it":
        "name the authority that signed it with --ca-file",
    "say Lookups(trust=...) for the authority that signed it":
        "name the authority that signed it with --ca-file",
    "say Lookups(allow_private=True) if": "say --allow-private if",
    "which only Lookups(allow_private=True) lets us use": "which only --allow-private lets us use",
    "or Resolver(trust_ad=True)": "or say --trust-ad if yours is one",
    "the caller says trust_ad=True": "--trust-ad was said",
    "the caller says trust_ad=False": "nobody said --trust-ad",
    "; so does starttls()": "",
    "sending with require_tls=True starts it": "asking for REQUIRETLS starts it",
    "this session was made for ordinary mail: use to_domain(..., require_tls=True)":
        "nothing: an ordinary message goes there as it is",
    "465 with SMTP_SSL": "465 with TLS at once",
    "without require_tls": "without REQUIRETLS",
    ": use to_domain() or deliver()": ": check it without --relay",
}  # fmt: skip
_SECTION = re.compile(r"\bs(?=\d)")
_SPOKEN = frozenset({"text", "fix", "reason", "problem"})


def spoken(text: str) -> str:
    """Return a text in the words of the command line; nothing else is changed."""
    for python, ours in _PHRASES.items():
        text = text.replace(python, ours)
    return text


def shown(text: str) -> str:
    """Return a text as it may stand on a terminal or a page: our words, nothing unprintable."""
    return printable(spoken(text), LIMIT)


def section(rfc: str) -> str:
    """Return ``RFC 8689 s4.2.1`` with the word spelt out."""
    return _SECTION.sub("section ", rfc)


def spoken_data(data: Any) -> Any:
    """Return the data of a report with its texts in the words of the command line."""
    if isinstance(data, dict):
        return {
            key: spoken(value) if key in _SPOKEN and isinstance(value, str) else spoken_data(value)
            for key, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [spoken_data(each) for each in data]
    return data
