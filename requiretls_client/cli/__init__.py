"""The ``requiretls`` command. Each subcommand loads its own module only when it is called."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None means ``sys.argv``.

    Returns:
        Exit status: 0 when everything went as it must, 1 when not; argparse exits with 2.
    """
    parser = argparse.ArgumentParser(
        prog="requiretls", description="Send mail with REQUIRETLS (RFC 8689), or know why not."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "demo",
        help="send real messages through an embedded server on loopback and show what happened",
    )
    parser.parse_args(argv)

    from requiretls_client.cli.demo import run

    return run()
