"""A process whose children deliver to a domain and are killed; started by test_lookup_faults.

usage: delivery_worker.py CAFILE DNS-PORT POLICY-PORT SMTP-PORT RECIPIENT CLAIM-SECONDS

Each line that it reads, STORE, a tab and STEP, makes a child that delivers one message. At the
steps MX and TXT (answered), FETCHED and SAVED (the policy) the child kills itself; at any other it
is somebody else's. The answer is its pid, and in the next line its exit status.
"""

from __future__ import annotations

import functools
import os
import signal
import sys

import requiretls_client as rt
from requiretls_client import fetch, policy_fetch
from requiretls_client.cache import SQLiteStore
from requiretls_client.lookups import Lookups
from requiretls_client.resolver import Resolver

RAW = b"From: alice@example.org\r\nSubject: canary-subject\r\n\r\ncanary-body\r\n"


def dying(call, when):
    """Return the call, behind which the process ends if ``when`` says so of its arguments."""

    @functools.wraps(call)
    def calling(*args, **options):
        result = call(*args, **options)
        if when(*args):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return calling


def arm(step):
    """Have this process die at a step."""
    Resolver.query = dying(Resolver.query, lambda _, __, rdtype: rdtype == step)
    policy_fetch.fetch_policy = dying(policy_fetch.fetch_policy, lambda *_: step == "FETCHED")
    SQLiteStore.save = dying(SQLiteStore.save, lambda *_: step == "SAVED")


def main(cafile, dns_port, policy_port, smtp_port, recipient, claim_seconds):
    """Make a child for each line."""
    policy_fetch.fetch_policy = functools.partial(fetch.fetch_policy, port=int(policy_port))
    policy_fetch.CLAIM_SECONDS = float(claim_seconds)
    for line in sys.stdin:
        store, step = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            arm(step)
            resolver = Resolver(["127.0.0.1"], port=int(dns_port), timeout=2)
            rt.deliver(
                RAW, "alice@example.org", recipient, require_tls=True, port=int(smtp_port),
                lookups=Lookups(resolver, SQLiteStore(store), trust=cafile, allow_private=True),
                local_hostname="client.example", timeout=10,
            )  # fmt: skip
            os._exit(0)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
