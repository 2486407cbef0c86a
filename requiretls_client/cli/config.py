"""The configuration file of ``requiretls send``, ``flush`` and ``init``: read and checked.

TOML. The first of these that exists is read, and no other: the one that the command line names,
``$XDG_CONFIG_HOME/requiretls-client/config.toml`` (``~/.config`` without that variable),
``/etc/requiretls-client/config.toml``. Without any there is no account, and mail goes straight to
the mail hosts of its recipients.

What is wrong is said with the file and the key. A key that nobody knows is an error: a misspelt
``require_tls`` must not be taken for its absence.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from requiretls_client import syntax
from requiretls_client.cli import values
from requiretls_client.cli.values import ConfigError as ConfigError
from requiretls_client.cli.values import Table

NAME = "requiretls-client/config.toml"
SYSTEM = Path("/etc") / NAME
IMPLICIT_TLS_PORT = 465  # RFC 8314 s3.3


@dataclass(frozen=True, slots=True)
class Account:
    """A submission server, and who we are there.

    Attributes:
        name: of its table.
        host: name or address.
        port: TCP port.
        implicit_tls: TLS at once, as on port 465 (RFC 8314 s3.3), and not by STARTTLS.
        from_addr: envelope sender, and From of messages that have none; None: whoever runs us.
        require_tls: every message through it asks for RFC 8689.
        user: name to log in with; None: no login.
        secret: where the password comes from: (key of the table, its value); None: nowhere.
        ca_file: PEM file to trust instead of certifi's roots.
        server_hostname: the name to verify, where it is not ``host``.
        timeout: seconds for each wait on the server.
    """

    name: str
    host: str
    port: int = 587
    implicit_tls: bool = False
    from_addr: str | None = None
    require_tls: bool = False
    user: str | None = None
    secret: tuple[str, Any] | None = field(default=None, repr=False)
    ca_file: str | None = None
    server_hostname: str | None = None
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class LookupSettings:
    """How domains are looked up when there is no account: what ``Lookups`` and ``Resolver`` take.

    Attributes:
        nameservers: IP addresses; None: the system's.
        nameserver_port: their port; None: 53.
        trust_ad: whether to believe their word on DNSSEC; None: where that may be.
        ca_file: PEM file to trust instead of certifi's roots.
        allow_private: domains may lead to private addresses.
        port: TCP port of mail hosts.
    """

    nameservers: tuple[str, ...] | None = None
    nameserver_port: int | None = None
    trust_ad: bool | None = None
    ca_file: str | None = None
    allow_private: bool = False
    port: int = 25


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file.

    Attributes:
        path: where it was read; None without a file.
        accounts: by name.
        default_account: name of the one that is used unless told otherwise; "" for none. Where
            there is only one account, it need not be said.
        aliases: local name in lower case -> addresses, or other local names.
        default_recipient: gets the mail of local names that ``aliases`` does not have; or None.
        domain: completes local names; None: this machine's name.
        require_tls: every message asks for RFC 8689, unless its account says otherwise.
        spool_folder: where messages wait; None: the default place.
        spool_deadline: days after which a message is given up.
        lookups: of domains.
    """

    path: str | None = None
    accounts: Mapping[str, Account] = field(default_factory=dict)
    default_account: str = ""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default_recipient: str | None = None
    domain: str | None = None
    require_tls: bool = False
    spool_folder: str | None = None
    spool_deadline: float = 5.0
    lookups: LookupSettings = LookupSettings()

    def account(self, name: str) -> Account:
        """Return an account by its name.

        Raises:
            ConfigError: there is none.
        """
        if name not in self.accounts:
            known = ", ".join(sorted(self.accounts)) or "none"
            where = self.path or "no configuration file was found, so"
            shown = syntax.printable(name)
            raise ConfigError(f"{where}: there is no account {shown!r}; there are: {known}")
        return self.accounts[name]


def load(path: str | None = None) -> Config:
    """Read the configuration.

    Args:
        path: the file to read; None searches for it.

    Raises:
        ConfigError: it cannot be read or understood, or it holds a password and others may read it.
    """
    chosen = Path(path) if path is not None else _search()
    if chosen is None:
        return Config()
    shown = syntax.printable(str(chosen), 1000)
    try:
        with open(chosen, "rb") as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read()
    except OSError as error:
        raise ConfigError(f"{shown}: cannot be read: {error.strerror}") from None
    return parse(shown, text, private=not mode & (stat.S_IRWXG | stat.S_IRWXO))


def user_file() -> Path:
    """Return where the user's own file is, or would be."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".config") / NAME


def _search() -> Path | None:
    try:
        places = [user_file(), SYSTEM]
    except RuntimeError:  # a user without a home
        places = [SYSTEM]
    # lexists: what is there and cannot be read is an error, and not as if it were absent.
    return next((each for each in places if os.path.lexists(each)), None)


def parse(path: str, text: bytes, *, private: bool) -> Config:
    """Return what a file says.

    Args:
        path: for errors.
        text: what the file holds.
        private: whether only its owner may read it.

    Raises:
        ConfigError: it cannot be understood, or it holds a password and others may read it.
    """
    import tomllib

    try:
        raw = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError
        raise ConfigError(f"{path}: is not TOML: {syntax.printable(str(error))}") from None
    table = Table(path, "", raw)
    require_tls = table.get("require_tls", values.flag, False)
    accounts = {
        name: _account(Table(path, f"accounts.{name}", each), name, require_tls)
        for name, each in table.get("accounts", values.table, {}).items()
    }
    if not private and any(_has_password(each) for each in accounts.values()):
        raise ConfigError(
            f"{path}: holds a password, and others than its owner may read it: chmod 600 it, or "
            "say password_command instead"
        )
    spool = Table(path, "spool", table.get("spool", values.table, {}))
    config = Config(
        path=path,
        accounts=accounts,
        default_account=_default_account(table, accounts),
        aliases=_aliases(Table(path, "aliases", table.get("aliases", values.table, {}))),
        default_recipient=table.get("default_recipient", values.address, None),
        domain=table.get("domain", values.domain, None),
        require_tls=require_tls,
        spool_folder=spool.get("folder", values.path, None),
        spool_deadline=spool.get("deadline", values.positive, 5.0),
        lookups=_lookups(Table(path, "lookups", table.get("lookups", values.table, {}))),
    )
    spool.refuse_others()
    table.refuse_others()
    return config


def _has_password(account: Account) -> bool:
    return account.secret is not None and account.secret[0] == "password"


def _default_account(table: Table, accounts: Mapping[str, Account]) -> str:
    """Return the account to use: the only one, if nothing else is said."""
    default: str | None = table.get("default_account", values.name, None)
    if default is None and len(accounts) > 1:
        raise table.error("default_account", 'is missing: one of the accounts, or "" for none')
    if default is None:
        return next(iter(accounts), "")
    if default and default not in accounts:
        raise table.error("default_account", f"there is no table [accounts.{default}]")
    return default


_SECRETS = {
    "password": values.text,
    "password_command": values.command,
    "password_env": values.text,
    "credential": values.credential,
    "keyring": values.true,
}


def _account(table: Table, name: str, require_tls: bool) -> Account:
    secrets = [(key, table.get(key, check, None)) for key, check in _SECRETS.items()]
    given = [each for each in secrets if each[1] is not None]
    user = table.get("user", values.text, None)
    if len(given) > 1:
        raise table.error(given[1][0], f"there is {given[0][0]} too; say one of them")
    if bool(user) != bool(given):
        have, need = ("user", "a password_command") if user else (given[0][0], "a user")
        raise table.error(have, f"needs {need} beside it")
    if "host" not in table.raw:
        raise table.error("host", "is missing: the name of the submission server")
    port = table.get("port", values.port, 587)
    account = Account(
        name=name,
        host=table.get("host", values.host, ""),
        port=port,
        implicit_tls=table.get("implicit_tls", values.flag, port == IMPLICIT_TLS_PORT),
        from_addr=table.get("from", values.address, None),
        require_tls=table.get("require_tls", values.flag, require_tls),
        user=user,
        secret=given[0] if given else None,
        ca_file=table.get("ca_file", values.path, None),
        server_hostname=table.get("server_hostname", values.host, None),
        timeout=table.get("timeout", values.positive, 60.0),
    )
    table.refuse_others()
    return account


def _lookups(table: Table) -> LookupSettings:
    settings = LookupSettings(
        nameservers=table.get("nameservers", values.ip_addresses, None),
        nameserver_port=table.get("nameserver_port", values.port, None),
        trust_ad=table.get("trust_ad", values.flag, None),
        ca_file=table.get("ca_file", values.path, None),
        allow_private=table.get("allow_private", values.flag, False),
        port=table.get("port", values.port, 25),
    )
    table.refuse_others()
    return settings


def _aliases(table: Table) -> dict[str, tuple[str, ...]]:
    """Read ``[aliases]``; every name in it may be used once on the way to an address."""
    found: dict[str, tuple[str, ...]] = {}
    for name in table.raw:
        found[name.lower()] = table.get(name, values.mailboxes, ())
    for name in found:
        _check_ends(table, name, found, ())
    return found


def _check_ends(
    table: Table, name: str, aliases: Mapping[str, tuple[str, ...]], seen: tuple[str, ...]
) -> None:
    """Refuse a local name that leads to nobody, or to itself."""
    if name in seen:
        raise table.error(name, "leads back to itself")
    for target in aliases.get(name, ()):
        if "@" not in target:
            if target.lower() not in aliases:
                raise table.error(name, f"{target} is neither an address nor an alias")
            _check_ends(table, target.lower(), aliases, (*seen, name))
