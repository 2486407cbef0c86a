"""The ``requiretls`` command. Each subcommand loads its own module only when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence

_COMMANDS = {
    "check": "find out whether mail to a domain can go with REQUIRETLS, and why not; sends nothing",
    "send": "send a message from standard input, or keep it and try again later",
    "flush": "try again what could not be sent: for a timer",
    "queue": "list what waits to be sent and what could not be",
    "init": "find the submission server of a mail address and write the configuration",
    "cache": "list, refresh and drop stored MTA-STS policies",
    "completion": "print completion for a shell",
    "demo": "send real messages through an embedded server on loopback and show what happened",
}


def print_anything() -> None:
    """Escape on standard output what its encoding lacks, as standard error does by itself.

    A subject, a policy or a certificate need not fit the locale that cron runs in.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None means ``sys.argv``.

    Returns:
        Exit status: 0 when everything went as it must; 2, from argparse too, for a wrong call;
        130 and 141 for ^C and for output that nobody reads, as a shell has them.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    print_anything()
    parser = argparse.ArgumentParser(
        prog="requiretls", description="Send mail with REQUIRETLS (RFC 8689), or know why not."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in _COMMANDS.items():
        command = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if argv[:1] == [name]:
            module = importlib.import_module(f"requiretls_client.cli.{name}")
            module.add_arguments(command)
            command.epilog = getattr(module, "STATUS", None)
            command.set_defaults(run=module.run)
    options = parser.parse_args(argv)
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read our output has gone, as ``head`` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 128 + 13  # SIGPIPE, which Windows does not have
    return status
