"""``requiretls-sendmail``: what cron, at, mail, git send-email and PHP call as /usr/sbin/sendmail.

A success is what every sendmail means by it: the message is sent, or it is safe in the spool and
this program's business from now on. Installed or linked under another name it does what that name
says: ``mailq`` lists the queue, ``newaliases`` has nothing to do.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from requiretls_client.cli import print_anything
from requiretls_client.cli.send import Program

_BY_NAME = {"mailq": ["-bp"], "newaliases": ["-bi"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: arguments without the program's name; None means ``sys.argv``.

    Returns:
        Exit status, see ``requiretls-sendmail --help``; 130 and 141 for ^C and for output that
        nobody reads.
    """
    print_anything()
    name = os.path.basename(sys.argv[0])
    arguments = [*_BY_NAME.get(name, []), *(sys.argv[1:] if argv is None else argv)]
    try:
        return Program(name or "sendmail", sendmail=True).run(arguments)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 128 + 13  # SIGPIPE
