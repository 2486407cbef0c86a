"""Turn a ``.msmtprc`` into a configuration.

Pure. What cannot be taken over is listed, so that nothing is left out silently: least of all what
would make the new configuration laxer, or stricter, than the old one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from requiretls_client import syntax
from requiretls_client.cli import config_text
from requiretls_client.cli.config_text import Value

_TAKEN = frozenset({"host", "port", "from", "auth", "user", "password", "passwordeval", "tls",
                    "tls_starttls", "tls_trust_file", "tls_certcheck", "tls_host_override",
                    "timeout", "aliases"})  # fmt: skip
# Ours does the same by itself.
_SAME = frozenset({"set_date_header", "set_msgid_header", "remove_bcc_headers",
                   "add_missing_from_header", "add_missing_date_header"})  # fmt: skip


@dataclass(slots=True)
class Converted:
    """A configuration.

    Attributes:
        text: TOML.
        notes: what could not be taken over, a sentence each.
    """

    text: str
    notes: list[str] = field(default_factory=list)


def convert(text: str, read: Callable[[str], str]) -> Converted:
    """Return the configuration that does what an msmtp configuration does.

    Args:
        text: of the ``.msmtprc``.
        read: returns the text of another file, which ``aliases`` names; may raise OSError.

    Raises:
        ValueError: a line that msmtp would not understand.
    """
    accounts, default = _read(text)
    notes: list[str] = []
    top: dict[str, Value] = {"default_account": default} if default else {}
    tables: list[str] = []
    files = dict.fromkeys(each["aliases"] for each in accounts.values() if "aliases" in each)
    aliases = [pair for file in files for pair in _aliases(file, read, notes)]
    for name, value in aliases:
        if name == "default":
            top["default_recipient"] = value[0]
            notes += [f"alias default: {each} is left out, there can be one" for each in value[1:]]
    named: dict[str, Value] = {name: value for name, value in aliases if name != "default"}
    if named:
        tables += ["", *config_text.table(["aliases"], named)]
    for name, settings in accounts.items():
        remarks: list[str] = []
        values = _account(settings, remarks)
        notes += [f"account {name}: {each}" for each in remarks]
        tables += ["", *config_text.table(["accounts", name], values)]
        tables += config_text.remarks(remarks)
    return Converted("\n".join([*config_text.table([], top), *tables, ""]).lstrip("\n"), notes)


def _read(text: str) -> tuple[dict[str, dict[str, str]], str]:
    """Return the accounts with what they inherit, and the default one's name."""
    accounts: dict[str, dict[str, str]] = {}
    defaults: dict[str, str] = {}
    current: dict[str, str] | None = None
    default = ""
    for number, line in enumerate(text.splitlines(), 1):
        word, *more = line.split(None, 1) or [""]
        if not word or word.startswith("#"):
            continue
        rest = more[0].strip() if more else ""
        if len(rest) > 1 and rest[0] == rest[-1] == '"':
            rest = rest[1:-1]
        if word == "defaults":
            current = defaults
        elif word == "account":
            name, _, bases = (each.strip() for each in rest.partition(":"))
            if name == "default" and bases and "," not in bases:
                default, current = _known(bases, accounts, number), {}
                continue
            current = accounts[name] = dict(defaults)
            for base in (each.strip() for each in bases.split(",") if each.strip()):
                current.update(accounts[_known(base, accounts, number)])
            default = "default" if name == "default" else default
        elif current is None:
            raise ValueError(f"line {number}: {syntax.printable(word)} stands before any account")
        else:
            current[word] = rest
    if not accounts:
        raise ValueError("it has no account")
    return accounts, default or next(iter(accounts), "")


def _known(name: str, accounts: dict[str, dict[str, str]], number: int) -> str:
    if name not in accounts:
        raise ValueError(f"line {number}: there is no account {syntax.printable(name)} above it")
    return name


def _account(given: dict[str, str], remarks: list[str]) -> dict[str, Value]:
    """Return the table of an account; what has no place in it goes to ``remarks``."""
    at_once = _is_on(given.get("tls")) and given.get("tls_starttls") == "off"
    values: dict[str, Value] = {"host": given.get("host", "localhost")}
    port = int(given["port"]) if given.get("port", "").isdigit() else 465 if at_once else 25
    values["port"] = port
    if at_once != (port == 465):
        values["implicit_tls"] = at_once
    if "@" in given.get("from", "") and "%" not in given["from"]:  # %U is a pattern
        values["from"] = given["from"]
    elif "from" in given:
        remarks.append(f"from {given['from']} is no address; say which one")
    _login(given, values, remarks)
    _trust(given, values, remarks)
    if given.get("timeout", "").isdigit() and given["timeout"] != "0":
        values["timeout"] = int(given["timeout"])
    remarks += _left_over(given)
    return values


def _login(given: dict[str, str], values: dict[str, Value], remarks: list[str]) -> None:
    if given.get("auth", "off") == "off":
        return
    if given["auth"] != "on":
        remarks.append(f"auth {given['auth']}: the best mechanism that the server offers is used")
    if "user" not in given:
        remarks.append("auth without user: say user and a password_command")
        return
    values["user"] = given["user"]
    if "passwordeval" in given:
        values["password_command"] = given["passwordeval"]
    elif "password" in given:
        values["password"] = given["password"]
    else:
        values["keyring"] = True
        remarks.append("no password: it is asked of the keyring; a netrc file is not read")


def _trust(given: dict[str, str], values: dict[str, Value], remarks: list[str]) -> None:
    trust = given.get("tls_trust_file", "system")
    if trust != "system":  # for which certifi stands in
        values["ca_file"] = trust
    if "tls_host_override" in given:
        values["server_hostname"] = given["tls_host_override"]
    if not _is_on(given.get("tls")):
        remarks.append("tls off: here TLS is started, unless the server is on this machine")
    if given.get("tls_certcheck") == "off":
        remarks.append("tls_certcheck off: here the certificate is always verified")


def _left_over(given: dict[str, str]) -> list[str]:
    # Without the values: who knows what stands behind a misspelt word.
    return [f"{key}: there is nothing like it here" for key in given if key not in _TAKEN | _SAME]


def _is_on(value: str | None) -> bool:
    return value == "on" or value == ""


def _aliases(
    path: str, read: Callable[[str], str], notes: list[str]
) -> list[tuple[str, list[str]]]:
    """Return the aliases of a file; those that are no addresses are noted."""
    try:
        text = read(path)
    except OSError as error:
        notes.append(f"aliases {path}: cannot be read: {error.strerror}")
        return []
    found = []
    for line in text.splitlines():
        name, colon, rest = line.partition("#")[0].partition(":")
        targets = [each.strip() for each in rest.split(",") if each.strip()]
        if not colon or not targets:
            continue
        if any(each[0] in '|/":' for each in targets) or " " in name.strip():
            notes.append(f"alias {name.strip()}: leads to no address")
        else:
            found.append((name.strip().lower(), targets))
    return found
