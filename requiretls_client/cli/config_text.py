"""Write a configuration: accounts as TOML, with remarks for people.

Pure, but for :func:`save`, which puts the text where nobody else can read it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

Value: TypeAlias = "str | int | bool | float | list[str]"

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def table(name: Iterable[str], values: Mapping[str, Value]) -> list[str]:
    """Return the lines of a table; without a name, of the top of the file."""
    head = ".".join(_key(each) for each in name)
    lines = [f"[{head}]"] if head else []
    return [*lines, *(f"{_key(key)} = {_value(value)}" for key, value in values.items())]


def remarks(lines: Iterable[str]) -> list[str]:
    """Return lines as comments: printable, each one line."""
    return ["# " + "".join(c if c.isprintable() else " " for c in line) for line in lines]


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Value) -> str:
    # A string of JSON is one of TOML, if what is beyond ASCII stays and DEL is escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")


def save(path: Path, text: str, *, force: bool) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Args:
        path: where; its folders are made.
        text: what.
        force: replace one that is there.

    Raises:
        FileExistsError: there is one, and ``force`` is not set.
        OSError: it was not written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(file, "w", encoding="utf-8") as output:
            output.write(text)
            output.flush()
            os.fsync(output.fileno())
        if force:
            os.replace(new, path)
        else:
            os.link(new, path)  # fails if there is one, without a gap
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
