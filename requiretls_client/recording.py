"""The facts of checks as a file: what ``requiretls check`` keeps with ``--save``.

Pure: text in, facts out, and back. The form is read off the records of
:mod:`requiretls_client.facts` and :mod:`requiretls_client.evidence`: an object with their fields,
bytes in base64, sets as sorted lists; where a field may hold one of several records, the object
names its own under ``is``. A file comes from strangers (it is made to be sent around with a bug
report), so that every value is held against the type of its field, and nothing is ever made but
those records. What a text holds is not looked at: whoever shows it escapes it, as he must with what
servers say.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from requiretls_client import evidence, facts
from requiretls_client.evidence import CheckFacts
from requiretls_client.syntax import printable

SCHEMA = "requiretls-facts/1"
MAX_CHARACTERS = 64 * 1024 * 1024  # a check of a domain takes some 50 KB
LATEST = 253402300799.0  # Unix time of the end of the year 9999: no calendar goes further


class RecordingError(ValueError):
    """The text is no recording, or one of another version."""


def dump(checks: Iterable[CheckFacts]) -> str:
    """Return the text of a file with the facts of several checks."""
    data = {"schema": SCHEMA, "checks": [_plain(each) for each in checks]}
    return json.dumps(data, indent=1) + "\n"


def load(text: str) -> tuple[CheckFacts, ...]:
    """Return the facts in a file.

    Raises:
        RecordingError: in one sentence, where it is wrong.
    """
    if len(text) > MAX_CHARACTERS:
        raise RecordingError(f"the recording has more than {MAX_CHARACTERS} characters")
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"the recording is no JSON: {error}") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise RecordingError(f'the recording has no "schema": "{SCHEMA}"')
    if set(data) != {"schema", "checks"} or not isinstance(data["checks"], list):
        raise RecordingError('the recording needs "checks", a list, and nothing else')
    checks = tuple(
        _record(CheckFacts, each, f"checks[{number}]") for number, each in enumerate(data["checks"])
    )
    for number, each in enumerate(checks):
        _hold_together(each, f"checks[{number}]")
    return checks


def _hold_together(check: CheckFacts, where: str) -> None:
    """Refuse facts of which no check could consist, however well each is formed."""
    if not 0 <= check.started <= LATEST:
        raise RecordingError(f"{where}.started is no time")
    hosts = check.route.hosts if check.route else ()
    if not all(host.addresses or host.address_problem for host in hosts):
        raise RecordingError(f"{where}.route has a host without address, and without a reason")
    stored = check.route.policy.stored if check.route else None
    if stored and not (0 <= stored.fetched <= LATEST and 0 <= stored.policy.max_age <= 1e8):
        raise RecordingError(f"{where}.route.policy.stored holds no times")
    if check.named:
        one_each = all(len(each) == 1 for each in (check.strict, check.ordinary, check.optional))
        if not one_each or (check.route is not None and len(check.route.hosts) != 1):
            raise RecordingError(f"{where} is about a named server, and not about one")
    elif check.route is None or not (check.route.mx or hosts):
        raise RecordingError(f"{where} is about a domain, and has no route")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


# -- records to plain data -----------------------------------------------------------------------


def _plain(value: Any, *, named: bool = False) -> Any:
    """Return a record as plain data; with its own name where others could stand there too."""
    if is_dataclass(value):
        hints = _hints(type(value))
        made = {"is": type(value).__name__} if named else {}
        for field in fields(value):
            several = len(_records_in(hints[field.name])) > 1
            made[field.name] = _plain(getattr(value, field.name), named=several)
        return made
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_plain(each, named=named) for each in value]
    return value


# -- plain data to records -----------------------------------------------------------------------


def _record(cls: Any, data: Any, where: str) -> Any:
    """Return the record that an object describes; every field must be there, and no other."""
    if not isinstance(data, dict):
        raise RecordingError(f"{where} must be an object")
    hints = _hints(cls)
    names = {field.name for field in fields(cls)}
    wrong = (set(data) ^ names) - {"is"}
    if wrong:
        raise RecordingError(
            f"{where} has too much or too little: {printable(', '.join(sorted(wrong)), 80)}"
        )
    return cls(**{name: _value(hints[name], data[name], f"{where}.{name}") for name in names})


def _value(kind: Any, data: Any, where: str) -> Any:
    """Return a value of the type that a field has."""
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(inside, data, where)
    if origin in (tuple, frozenset):
        if not isinstance(data, list):
            raise RecordingError(f"{where} must be a list")
        return origin(_value(inside[0], each, f"{where}[{n}]") for n, each in enumerate(data))
    if is_dataclass(kind):
        return _record(kind, data, where)
    return _simple(kind, data, where)


def _one_of(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    """Return a value of one of several types: None, text, or a record that says which it is."""
    if data is None and type(None) in kinds:
        return None
    if isinstance(data, str) and str in kinds:
        return data
    others = [kind for kind in kinds if kind not in (type(None), str)]
    if len(others) > 1:
        word = data.get("is") if isinstance(data, dict) else None
        others = [kind for kind in others if kind.__name__ == word]
    if not others:
        raise RecordingError(f"{where} holds none of the records that may stand there")
    return _value(others[0], data, where)


def _simple(kind: Any, data: Any, where: str) -> Any:
    if kind is bytes and isinstance(data, str):
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise RecordingError(f"{where} must be base64") from None
    if kind is float and type(data) in (int, float):
        with contextlib.suppress(OverflowError):
            if math.isfinite(float(data)):
                return float(data)
    if kind is str and isinstance(data, str):
        return data
    if kind in (bool, int) and type(data) is kind and abs(data) < 1 << 63:
        return data
    raise RecordingError(f"{where} must be {_WORDS[kind]}")


_WORDS = {
    bytes: "base64", float: "a finite number", bool: "true or false", int: "a whole number",
    str: "text",
}  # fmt: skip


def _hints(cls: Any) -> dict[str, Any]:
    """Return the types of a record's fields."""
    return typing.get_type_hints(cls, {**vars(facts), **vars(evidence)})


def _records_in(kind: Any) -> list[Any]:
    """Return the kinds of records that a field may hold."""
    if is_dataclass(kind):
        return [kind]
    return [found for each in typing.get_args(kind) for found in _records_in(each)]
