"""From standard input to a job: the configuration, the account, the people, the message.

Does I/O on standard input and asks for this machine's name; what follows from them is decided in
:mod:`requiretls_client.cli.compose` and :mod:`requiretls_client.cli.people`.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from requiretls_client import header, syntax
from requiretls_client.cli import compose, fields
from requiretls_client.cli.config import Account, Config
from requiretls_client.cli.job import Job
from requiretls_client.cli.people import People
from requiretls_client.cli.send_options import Options, UsageError


@dataclass(frozen=True, slots=True)
class Machine:
    """Where we run, and for whom.

    Attributes:
        domain: what completes local names: that of the configuration, or the machine's name.
        names: of this machine, lower case.
        user: who runs us.
    """

    domain: str
    names: tuple[str, ...]
    user: str


def this_machine(config: Config) -> Machine:
    """Look around."""
    names = [socket.getfqdn(), socket.gethostname()]
    domain = config.domain or next((each for each in names if _is_domain(each)), "localhost")
    here = dict.fromkeys([*(each.lower() for each in names), "localhost"])
    return Machine(domain, tuple(here), _user())


def _is_domain(name: str) -> bool:
    try:
        syntax.mail_domain(name)
    except ValueError:
        return False
    return "." in name


def _user() -> str:
    try:
        name = getpass.getuser()
        syntax.mailbox(name, "user")
    except (KeyError, OSError, ValueError):  # a user without a name, or with a strange one
        return f"uid{os.geteuid()}"
    return name


def read_message(lines: Iterable[bytes], *, dot_ends: bool) -> bytes:
    """Return what is piped in, up to its end or, if that counts, to a line with a dot alone."""
    if not dot_ends:
        return b"".join(lines)
    found = []
    for line in lines:
        if line.rstrip(b"\r\n") == b".":
            break
        found.append(line)
    return b"".join(found)


def make_job(options: Options, config: Config, raw: bytes) -> tuple[Job, list[str]]:
    """Make the job of a message.

    Returns:
        The job, and sentences about what had to be decided for the user.

    Raises:
        UsageError: nobody is named.
        ConfigError: the account does not exist.
        UnknownPerson: a local recipient that leads to nobody.
        ValueError: the message cannot be sent.
    """
    machine = this_machine(config)
    given, body = fields.split(raw)
    author = compose.author(given)
    account = _account(options, config, options.sender or author)
    sender = _sender(options, account, machine, author)
    names = [*options.recipients, *(compose.recipients(given) if options.from_header else ())]
    if not names:
        where = "in To, Cc and Bcc" if options.from_header else "on the command line; -t reads them"
        raise UsageError(f"there is no recipient {where}")
    people = People(config.aliases, config.default_recipient, config.domain, machine.names)
    message = compose.compose(given, body, _origin(options, account, sender, machine))
    required = options.require_tls or (account.require_tls if account else config.require_tls)
    optional = options.tls_optional or header.in_raw(message)
    notes = []
    if required and optional:
        message, optional = _stricter(options, message), False
        notes.append("the configuration has every message require TLS, so its TLS-Required: No "
                     "does not hold and is left out (RFC 8689 s4.1)")  # fmt: skip
    if required and options.ret == "FULL":
        raise UsageError("-R full contradicts require_tls of the configuration (RFC 8689 s5); "
                         "say -R hdrs")  # fmt: skip
    job = Job(
        message, sender, people.resolve(names), required, optional,
        account=account.name if account else "",
        notify=options.notify, ret=options.ret, envelope_id=options.envelope_id,
    )  # fmt: skip
    return job, notes


def _origin(
    options: Options, account: Account | None, sender: str, machine: Machine
) -> compose.Origin:
    """Return who writes, where and when."""
    now = datetime.now().astimezone()
    return compose.Origin(
        author=sender or (account and account.from_addr) or f"{machine.user}@{machine.domain}",
        full_name=options.full_name,
        domain=machine.domain,
        now=now,
        unique=f"{now:%Y%m%d%H%M%S}.{os.urandom(8).hex()}",
        cron=options.full_name == "CronDaemon",
    )


def _stricter(options: Options, message: bytes) -> bytes:
    """Return a message that must not say what its call, or the configuration, overrules.

    Raises:
        ValueError: the call itself wants both.
    """
    if options.require_tls:
        raise ValueError(
            "the message says TLS-Required: No, and --require-tls asks for the contrary "
            "(RFC 8689 s4.1); leave one of them out"
        )
    return compose.without(message, header.NAME)


def _account(options: Options, config: Config, sender: str | None) -> Account | None:
    """Return the account: the one that is named, or the sender's own, or the default one."""
    if options.account is not None:
        return config.account(options.account) if options.account else None
    for each in config.accounts.values():
        if sender and each.from_addr and each.from_addr.lower() == sender.lower():
            return each
    return config.account(config.default_account) if config.default_account else None


def _sender(options: Options, account: Account | None, machine: Machine, author: str | None) -> str:
    """Return the reverse path; a name without a domain means whoever the account speaks for."""
    given = options.sender
    if given == "" or (given and "@" in given):
        return given
    if account and account.from_addr:
        return account.from_addr
    if given is None and author:
        return syntax.mailbox(author, "the author in the header")
    return f"{given or machine.user}@{machine.domain}"
