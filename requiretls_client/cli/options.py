"""Options that several subcommands share: the settings of the look-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    import ssl

    from requiretls_client.lookups import Lookups


def add_lookups(parser: argparse.ArgumentParser) -> None:
    """Declare what mirrors :class:`~requiretls_client.lookups.Lookups`."""
    group = parser.add_argument_group("look-ups")
    group.add_argument(
        "--nameserver", action="append", metavar="IP", help="ask it, not the system's"
    )
    group.add_argument(
        "--nameserver-port", type=int, metavar="PORT", help="where name servers listen"
    )
    group.add_argument(
        "--trust-ad", action="store_true", default=None,
        help="believe the name servers' word on DNSSEC: they validate, and nobody is between",
    )  # fmt: skip
    group.add_argument("--ca-file", metavar="FILE", help="PEM file to trust instead of certifi's")
    group.add_argument(
        "--allow-private", action="store_true", help="domains may lead to private addresses"
    )


def lookups_of(options: argparse.Namespace) -> Lookups:
    """Return the look-ups that the options ask for.

    Raises:
        ValueError: a bad address or port.
        OSError: a file that cannot be read.
    """
    from requiretls_client.lookups import Lookups
    from requiretls_client.resolver import Resolver

    return Lookups(
        Resolver(options.nameserver, options.nameserver_port, options.trust_ad),
        trust=_roots(options.ca_file),
        allow_private=options.allow_private,
    )


def _roots(path: str | None) -> ssl.SSLContext | str:
    """Return whose certificates count: of the file, whatever its name is; without one certifi's.

    Raises:
        OSError: the file cannot be used; ssl itself does not say which one that was.
    """
    from requiretls_client import tls

    if path is None:
        return "certifi"
    try:
        return tls.client_context(path)
    except OSError as error:
        raise OSError(f"--ca-file {path}: {error.strerror or error}") from None
