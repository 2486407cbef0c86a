"""A process of its own that looks a domain up in many threads; started by test_lookups.

usage: lookup_worker.py STORE CAFILE PORT DOMAIN,... THREADS [down]

Prints one JSON object: the id of each policy that was found, and the errors. With ``down`` both the
DNS answer about the policy and its web server fail.
"""

from __future__ import annotations

import functools
import json
import sys
import threading

from requiretls_client import fetch, lookups, policy_fetch
from requiretls_client.cache import SQLiteStore
from requiretls_client.testing.resolver import FakeResolver


def main(store, cafile, port, domains, threads, *down):
    """Look all domains up in each thread."""
    records, fail = {}, {}
    for domain in domains.split(","):
        records |= {
            f"{domain} MX": [f"10 mx.{domain}"],
            f"mx.{domain} A": ["127.0.0.1"],
            f"_mta-sts.{domain} TXT": ["v=STSv1; id=2026;"],
            f"mta-sts.{domain} A": ["127.0.0.1"],
        }
        if down:
            fail[f"_mta-sts.{domain} TXT"] = "servfail"
            fail[f"mta-sts.{domain} A"] = "servfail"
    policy_fetch.fetch_policy = functools.partial(fetch.fetch_policy, port=int(port))
    looking = lookups.Lookups(
        FakeResolver(records, fail=fail, insecure=True), SQLiteStore(store),
        trust=cafile, allow_private=True,
    )  # fmt: skip
    found, errors = [], []

    def work():
        try:
            for domain in domains.split(","):
                facts = looking.route(domain).policy
                found.append(facts.stored.policy_id if facts.stored else facts.problem)
        except Exception as error:
            errors.append(repr(error))

    workers = [threading.Thread(target=work) for _ in range(int(threads))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    looking.close()
    print(json.dumps({"found": found, "errors": errors}))


if __name__ == "__main__":
    main(*sys.argv[1:])
