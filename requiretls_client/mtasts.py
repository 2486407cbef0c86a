"""MTA-STS as text: the TXT record, the policy, and which MX names a policy permits. Pure.

RFC 8461 sections 3.1, 3.2 and 4.1. Strict where the grammar is: a record or a policy with bad
syntax is none, because what its author meant is a guess. Errata 6253 (LF ends a line as well as
CRLF) and 6285 (a record begins exactly with ``v=STSv1;``) are followed, and the empty lines that
editors leave at the end of a policy are forgiven. A wider name than the grammar's: underscores,
which some MX hosts have.

Fetching and storing policies happens elsewhere, and so does the judgement on when one counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from requiretls_client.facts import STSPolicy
from requiretls_client.syntax import printable

MAX_AGE = 31557600  # seconds, about a year: RFC 8461 s3.2

_MODES = ("enforce", "testing", "none")
_FIELD_NAME = r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,31}"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?"

_MARK = "v=STSv1;"
_TXT_FIELD = re.compile(rf"({_FIELD_NAME})=([!-:<>-~]+)")  # its value has no "=", ";" or blank
_ID = re.compile(r"[A-Za-z0-9]{1,32}")

_LINE = re.compile(rf"({_FIELD_NAME}):[ \t]*(.*)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SECONDS = re.compile(r"[0-9]{1,10}")
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAX_DOMAIN = 253  # RFC 1035 s2.3.4


class PolicyError(ValueError):
    """A record or policy that is published but cannot count; the text is one clause."""


def policy_id(records: Iterable[str]) -> str | None:
    """Return the id of the MTA-STS record among the TXT records of ``_mta-sts.<domain>``.

    RFC 8461 s3.1. Records for other purposes are ignored.

    Args:
        records: the TXT records, the strings of one record joined without blanks.

    Returns:
        The id, or None when there is no MTA-STS record.

    Raises:
        PolicyError: several MTA-STS records, or one with bad syntax: no new policy then.
    """
    found = [record for record in records if record.startswith(_MARK)]
    if not found:
        return None
    if len(found) > 1:
        raise PolicyError(f"{len(found)} MTA-STS records are published where one is allowed")
    fields: dict[str, str] = {}
    parts = [part.strip(" \t") for part in found[0].split(";")[1:]]
    if not parts[-1]:
        parts.pop()  # the semicolon at the end may be left out
    for part in parts:
        field = _TXT_FIELD.fullmatch(part)
        if not field:
            raise PolicyError(f"the MTA-STS record has bad syntax at '{printable(part, 60)}'")
        fields.setdefault(field[1], field[2])  # RFC 8461 s3.2: the first counts
    if "id" not in fields:
        raise PolicyError("the MTA-STS record has no id")
    if not _ID.fullmatch(fields["id"]):
        raise PolicyError("the id of the MTA-STS record is not 1 to 32 letters and digits")
    return fields["id"]


def parse_policy(body: bytes) -> STSPolicy:
    """Return the policy that a policy host served.

    RFC 8461 s3.2. Unknown fields are ignored, and of a repeated one other than ``mx`` all but
    the first. A ``max_age`` beyond the permitted year is taken as that year.

    Args:
        body: as served, decoded; the caller limits its size.

    Raises:
        PolicyError: bad syntax, or a field that is missing or has a bad value.
    """
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for name, value in _lines(body):
        if name == "mx":
            patterns.append(_checked_pattern(value))
        else:
            fields.setdefault(name, value)
    for name in ("version", "mode", "max_age"):
        if name not in fields:
            raise PolicyError(f"the policy has no {name}")
    if fields["version"] != "STSv1":
        raise PolicyError(f"the version of the policy is '{_shown(fields['version'])}', not STSv1")
    mode, max_age = fields["mode"], fields["max_age"]
    if mode not in _MODES:
        raise PolicyError(f"the mode of the policy, '{_shown(mode)}', is not one of the three")
    if not _SECONDS.fullmatch(max_age):
        raise PolicyError(f"the max_age of the policy, '{_shown(max_age)}', is not 1 to 10 digits")
    if not patterns and mode != "none":
        raise PolicyError(f"the policy has mode {mode} and no mx")
    return STSPolicy(mode, tuple(patterns), min(int(max_age), MAX_AGE))


def permits(policy: STSPolicy, mx_host: str) -> bool:
    """Tell whether the policy lists this host, whatever its mode.

    RFC 8461 s4.1: equal without regard to case, or ``*.`` in place of one whole left-most label.

    Args:
        policy: as :func:`parse_policy` returned it.
        mx_host: the name in the MX record, never its CNAME target: A-labels.
    """
    host = mx_host.removesuffix(".").lower()
    if not _is_domain(host):  # also "*.example.com", which equals a pattern and is no host
        return False
    _, _, parent = host.partition(".")
    return host in policy.mx or (bool(parent) and f"*.{parent}" in policy.mx)


def _lines(body: bytes) -> Iterable[tuple[str, str]]:
    """Yield the name and value of each line of a policy."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError(f"the policy is not UTF-8 at octet {error.start}") from None
    # Not splitlines(): that would break lines at a lone CR, a form feed or U+2028 as well.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line)
        value = found[2].rstrip(" \t") if found else ""
        if not found or not value or _CONTROL.search(value):
            raise PolicyError(f"line {number} of the policy is not 'name: value'")
        yield found[1], value


def _checked_pattern(value: str) -> str:
    if not _is_domain(value.removeprefix("*.")):
        raise PolicyError(f"the mx '{_shown(value)}' is neither a host name nor '*.' and a domain")
    return value.lower()


def _is_domain(name: str) -> bool:
    return len(name) <= _MAX_DOMAIN and bool(_DOMAIN.fullmatch(name))


def _shown(value: str) -> str:
    return printable(value, 60)
