"""``requiretls init``: find the submission server of a mail address, and write the configuration.

Asks the DNS and the server, sends nothing, and writes one file that only its owner can read.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from requiretls_client import syntax
from requiretls_client.cli import config_text, exit_status
from requiretls_client.cli.config_text import Value
from requiretls_client.cli.discovery import AT_ONCE, STARTTLS, Found, Offer, submission_servers
from requiretls_client.facts import Answer

STATUS = """\
The server is found by SRV records (RFC 6186, RFC 8314): one with TLS at once before one with
STARTTLS. If it is not below the address's own domain, and the DNS does not prove the record
(DNSSEC), anybody who can forge DNS could have named it; then it is shown, and used only with --yes
or when you name it with --host.

exit status:
  0   the configuration is written, and the server can be used
  64  the command line is wrong
  65  FILE of --msmtp is not one
  68  the domain names no submission server: see --host
  69  nothing vouches for the server: look at it, then say --yes
  73  there is a configuration already (see --force), or it cannot be written
  75  the DNS does not answer now; or all is written, and the server cannot be used now
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("address", nargs="?", help="mail address to send from")
    parser.add_argument("--msmtp", metavar="FILE", help="take over this .msmtprc instead")
    parser.add_argument("--host", metavar="HOST[:PORT]", help="submission server; look nothing up")
    parser.add_argument("--user", help="to log in with (default: the address)")
    parser.add_argument(
        "--password-command", metavar="COMMAND",
        help="prints the password (default: the keyring where it is installed, else pass)",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="use a server that nothing vouches for")
    parser.add_argument("--force", action="store_true", help="replace a configuration")
    parser.add_argument("--config", metavar="FILE", help="write it there")
    parser.add_argument("--nameserver", action="append", metavar="IP", help="ask it")
    parser.add_argument(
        "--nameserver-port", type=int, metavar="PORT", help="where name servers listen"
    )
    parser.add_argument("--trust-ad", action="store_true", default=None,
                        help="believe the name servers' word on DNSSEC")  # fmt: skip
    parser.add_argument("--ca-file", metavar="FILE", help="PEM file to trust instead of certifi's")


class _Stop(Exception):
    """There will be no configuration; the sentence says why."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.text, self.status = text, status


def run(options: argparse.Namespace) -> int:
    """Write a configuration; return the exit status."""
    from requiretls_client.cli.config import user_file

    path = Path(options.config) if options.config else user_file()
    try:
        if bool(options.address) == bool(options.msmtp):
            raise _Stop("name a mail address, or a file with --msmtp", exit_status.USAGE)
        if path.exists() and not options.force:
            raise _Stop(f"{path} is there already; --force replaces it", exit_status.NO_SPOOL)
        if options.msmtp:
            return _take_over(Path(options.msmtp), path, options)
        return _find(path, options)
    except _Stop as stop:
        print(f"requiretls init: {syntax.printable(stop.text, 1000)}", file=sys.stderr)
        return stop.status


def _save(path: Path, text: str, options: argparse.Namespace) -> None:
    """Write the file, once it is known to be one that we can read."""
    from requiretls_client.cli.config import ConfigError, parse

    try:
        parse(str(path), text.encode(), private=True)
    except ConfigError as error:
        raise _Stop(f"nothing is written: {error}", exit_status.BAD_MESSAGE) from None
    try:
        config_text.save(path, text, force=options.force)
    except OSError as error:
        raise _Stop(f"{path}: {error.strerror}", exit_status.NO_SPOOL) from None
    print(f"{syntax.printable(str(path), 1000)} is written")


# -- from msmtp ----------------------------------------------------------------------------------


def _take_over(source: Path, path: Path, options: argparse.Namespace) -> int:
    from requiretls_client.cli import msmtp

    def read(name: str) -> str:
        return Path(name).expanduser().read_text(encoding="utf-8")

    try:
        converted = msmtp.convert(read(str(source)), read)
    except OSError as error:
        raise _Stop(f"{source}: {error.strerror}", exit_status.BAD_MESSAGE) from None
    except ValueError as error:  # UnicodeDecodeError is one
        raise _Stop(f"{source}: {error}", exit_status.BAD_MESSAGE) from None
    _save(path, converted.text, options)
    for note in converted.notes:
        print(f"not taken over: {syntax.printable(note)}")
    return exit_status.OK


# -- for an address ------------------------------------------------------------------------------


def _find(path: Path, options: argparse.Namespace) -> int:
    for name in ("user", "password_command", "ca_file"):
        if not (getattr(options, name) or "").isprintable():  # nor is what is no UTF-8
            option = f"--{name.replace('_', '-')}"
            raise _Stop(f"{option}: the configuration cannot hold it", exit_status.USAGE)
    try:
        address = syntax.mailbox(options.address, "the address")
        domain = syntax.domain_of(address, "the address")
        offer = _named(options.host) if options.host else _discovered(domain, options)
        usable, lines = _look_at(offer, options)
    except ValueError as error:
        raise _Stop(str(error), exit_status.USAGE) from None
    _save(path, _text(address, offer, options, lines), options)
    return exit_status.OK if usable else exit_status.LATER


def _named(text: str) -> Offer:
    """Return the server that the user names; without a port, TLS at once (RFC 8314 s3.3)."""
    try:
        host, port = syntax.split_host(text, 0)
    except OSError as error:
        raise ValueError(f"--host: {error}") from None
    syntax.reference_name(host, "--host")
    syntax.check_port(port or 465)
    return Offer(host, port or 465, (port or 465) == 465, trusted=True)


def _discovered(domain: str, options: argparse.Namespace) -> Offer:
    """Ask the DNS; show what it says, and return what may be used."""
    found = _ask(domain, options)
    for each in found.offers:
        how = "TLS at once" if each.implicit_tls else "STARTTLS"
        proof = "" if each.trusted else ", and nothing vouches for that"
        print(f"{domain} names {each.host}, port {each.port}, {how}{proof}")
    if not found.offers:
        if found.problem:
            raise _Stop(f"{domain}: {found.problem}; try again later", exit_status.LATER)
        what = "offers no submission" if found.refused else "names no submission server"
        raise _Stop(f"{domain} {what} (RFC 6186 s3.1); name one with --host", exit_status.NO_HOST)
    trusted = [each for each in found.offers if each.trusted]
    if trusted or options.yes:
        return (trusted or found.offers)[0]
    host = found.offers[0].host
    raise _Stop(
        f"{host} is not below {domain}, and its record is not secure: whoever forges DNS could "
        f"have named it (RFC 6186 s6). If it is your provider's, say --yes or --host {host}",
        exit_status.NOT_AVAILABLE,
    )


def _ask(domain: str, options: argparse.Namespace) -> Found:
    from requiretls_client.resolver import Resolver

    try:
        resolver = Resolver(options.nameserver, options.nameserver_port, options.trust_ad)
    except OSError as error:
        raise ValueError(str(error)) from None

    def ask(service: str) -> Answer:
        return resolver.query(f"{service}.{domain}", "SRV")

    return submission_servers(domain, ask(AT_ONCE), ask(STARTTLS), random.SystemRandom().randrange)


def _look_at(offer: Offer, options: argparse.Namespace) -> tuple[bool, list[str]]:
    """Connect to the server as a message would; return whether it can be used, and remarks."""
    from requiretls_client import tls
    from requiretls_client.checking import check_relay

    try:
        context = tls.trusting(options.ca_file or "certifi")
    except OSError as error:
        raise ValueError(f"{options.ca_file}: {error.strerror}") from None
    report = check_relay(
        offer.host, offer.port, context=context, timeout=30, implicit_tls=offer.implicit_tls
    )
    print(report.verdict.explain())
    failed = report.verdict.failed
    if failed is not None and failed.step != "requiretls":  # TLS comes before that
        return False, ["The server could not be used when this was written: see requiretls check"]
    offered = "offers" if report.verdict.allowed else "does not offer"
    asking = f"The server {offered} REQUIRETLS. For every message to ask for it (RFC 8689):"
    return True, [asking, "require_tls = true"]


def _text(address: str, offer: Offer, options: argparse.Namespace, lines: list[str]) -> str:
    """Return the file."""
    name = address.rpartition("@")[2]
    values: dict[str, Value] = {"host": offer.host, "port": offer.port}
    if offer.implicit_tls != (offer.port == 465):
        values["implicit_tls"] = offer.implicit_tls
    values |= {"from": address, "user": options.user or address}
    remarks = list(lines)
    if options.password_command:
        values["password_command"] = options.password_command
    elif _has_keyring():
        values["keyring"] = True
        remarks.append(f"Store the password with: keyring set {offer.host} {values['user']}")
    else:
        values["password_command"] = ["pass", "show", f"{offer.host}/{values['user']}"]
        remarks.append("password_command is a guess: name the command that prints the password.")
    if options.ca_file:
        values["ca_file"] = str(Path(options.ca_file).absolute())
    print("\n".join(remarks))
    lines = [*config_text.table(["accounts", name], values), *config_text.remarks(remarks)]
    return "\n".join([*lines, ""])


def _has_keyring() -> bool:
    import importlib.util

    return importlib.util.find_spec("keyring") is not None
