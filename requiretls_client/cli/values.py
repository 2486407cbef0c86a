"""A table of a TOML file, and the checks of its values.

What is asked for is checked, and what is left over is an error. Errors name the file and the key,
never the value: it may be a secret in the wrong place.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from typing import Any

from requiretls_client import syntax


class ConfigError(ValueError):
    """The configuration cannot be used; the sentence names the file and the key."""


class Table:
    """A table of the file.

    Attributes:
        raw: what stands in it.
    """

    def __init__(self, path: str, name: str, raw: Any) -> None:
        """Take a table; ``path`` and ``name`` ("" for the whole file) are for errors.

        Raises:
            ConfigError: it is none.
        """
        self._path, self._name = path, name
        self._asked: list[str] = []
        if not isinstance(raw, dict):
            raise ConfigError(f"{path}: {syntax.printable(name)}: must be a table")
        self.raw: dict[str, Any] = raw

    def get(self, key: str, check: Callable[[Any], Any], default: Any) -> Any:
        """Return what ``check`` makes of a value, or the default where the key is missing.

        Raises:
            ConfigError: ``check`` refused the value.
        """
        self._asked.append(key)
        if key not in self.raw:
            return default
        try:
            return check(self.raw[key])
        except (OverflowError, TypeError, ValueError) as error:
            raise self.error(key, str(error)) from None

    def error(self, key: str, problem: str) -> ConfigError:
        """Make the sentence about one key."""
        name = f"{self._name}.{key}" if self._name else key
        return ConfigError(f"{self._path}: {syntax.printable(f'{name}: {problem}', 500)}")

    def refuse_others(self) -> None:
        """Refuse keys that nobody asked for.

        Raises:
            ConfigError: with the nearest key that is known.
        """
        for key in self.raw:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, 1)
                known = f"did you mean {near[0]}?" if near else f"known: {', '.join(self._asked)}"
                raise self.error(key, f"there is no such key; {known}")


# -- values: each returns what it was given, in its final form, or raises TypeError or ValueError --


def _kind(value: Any, *kinds: type, what: str) -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"must be {what}")
    return value


def text(value: Any) -> str:
    """Check a string: printable, and not empty."""
    found: str = _kind(value, str, what="a string")
    if not found or not found.isprintable():
        raise ValueError("must be a string of printable characters, and not empty")
    return found


def name(value: Any) -> str:
    """Check the name of a thing that may be none: an empty string."""
    return "" if value == "" else text(value)


def flag(value: Any) -> bool:
    """Check a truth value."""
    return bool(_kind(value, bool, what="true or false"))


def true(value: Any) -> bool:
    """Check a key that can only be switched on."""
    if not flag(value):
        raise ValueError("must be true, or left out")
    return True


def table(value: Any) -> dict[str, Any]:
    """Check a table."""
    return dict(_kind(value, dict, what="a table"))


def positive(value: Any) -> float:
    """Check a number of seconds or days."""
    number = float(_kind(value, int, float, what="a number"))
    if not 0 < number < 1e6:
        raise ValueError("must be a number above 0 and below a million")
    return number


def port(value: Any) -> int:
    """Check a TCP or UDP port."""
    syntax.check_port(_kind(value, int, what="a number"))
    return int(value)


def path(value: Any) -> str:
    """Check the path of a file or folder; ``~`` is the home of whoever runs us.

    It must not depend on where a job happens to run.
    """
    found = os.path.expanduser(text(value))
    if not os.path.isabs(found):
        raise ValueError("must be an absolute path")
    return found


def host(value: Any) -> str:
    """Check the name or address of a server."""
    syntax.reference_name(text(value), "it")
    return str(value)


def domain(value: Any) -> str:
    """Check a mail domain."""
    return syntax.mail_domain(text(value), "it")


def address(value: Any) -> str:
    """Check a mail address with its domain."""
    mailbox = syntax.mailbox(text(value), "it")
    syntax.domain_of(mailbox, "it")
    return mailbox


def mailboxes(value: Any) -> tuple[str, ...]:
    """Check one or several addresses or local names."""
    several = value if isinstance(value, list) else [value]
    found = tuple(syntax.mailbox(text(each), "it") for each in several)
    if not found:
        raise ValueError("names nobody")
    return found


def ip_addresses(value: Any) -> tuple[str, ...]:
    """Check a list of IP addresses."""
    import ipaddress

    found = tuple(str(ipaddress.ip_address(each)) for each in _kind(value, list, what="a list"))
    if not found:
        raise ValueError("is empty")
    return found


def command(value: Any) -> str | tuple[str, ...]:
    """Check a command: a list of words, which is run as it is, or a line for the shell."""
    if isinstance(value, list) and value:
        return tuple(text(each) for each in value)
    return text(value)


def credential(value: Any) -> str:
    """Check the name of a systemd credential, which is a file name."""
    found = text(value)
    if "/" in found or found in (".", ".."):
        raise ValueError("is the name of a credential, and no path")
    return found
