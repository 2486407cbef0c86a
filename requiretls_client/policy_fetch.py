"""The one fetch of a policy: of all threads and processes that want it, one goes.

Does I/O (HTTPS, the store), judges nothing. What is fetched is kept; what fails is noted, so that
nobody tries again at once (RFC 8461 section 3.3).
"""

from __future__ import annotations

import logging
import ssl
import time

from requiretls_client import mtasts, syntax
from requiretls_client.cache import PolicyStore
from requiretls_client.facts import StoredPolicy
from requiretls_client.fetch import FetchError, fetch_policy
from requiretls_client.route import Fetch, Fetched

FETCH_SECONDS = 60.0  # RFC 8461 s3.3
CLAIM_SECONDS = 90.0  # longer than any fetch: only a process that was killed leaves it to time
_AHEAD = 86400.0  # seconds; a policy "fetched" later than that was kept while the clock was wrong
_JUST_NOW = 60.0  # seconds in which a policy that somebody else fetched serves us too
_WAIT = 0.05  # seconds between two looks at whether he has

_log = logging.getLogger("requiretls_client")


def fetch_once(wanted: Fetch, store: PolicyStore, context: ssl.SSLContext) -> Fetched:
    """Fetch a policy and keep it, or take what somebody else has just fetched.

    Args:
        wanted: domain, id, and the addresses of its policy host.
        store: also arbitrates between processes.
        context: verifies the policy host.
    """
    domain, policy_id = wanted.domain, wanted.policy_id
    deadline = time.monotonic() + CLAIM_SECONDS
    while not store.claim(domain, time.time(), CLAIM_SECONDS):
        if time.monotonic() > deadline:
            return Fetched(None, "another process is fetching it, and does not end")
        time.sleep(_WAIT)
    try:
        now = time.time()
        before = store.load(domain)
        if before and before.policy_id == policy_id and 0 <= now - before.fetched < _JUST_NOW:
            return Fetched(before)
        failure = store.failure(domain)
        if failure and failure[0] == policy_id and 0 <= now - failure[1] < _JUST_NOW:
            return Fetched(None, "somebody else's fetch has just failed")
        return _fetch_now(wanted, store, context, before)
    finally:
        store.release(domain)


def _fetch_now(
    wanted: Fetch, store: PolicyStore, context: ssl.SSLContext, before: StoredPolicy | None
) -> Fetched:
    domain, policy_id = wanted.domain, wanted.policy_id
    try:
        body = fetch_policy(domain, wanted.addresses, context, timeout=FETCH_SECONDS)
        policy = mtasts.parse_policy(body)
    except (FetchError, mtasts.PolicyError) as error:
        store.note_failure(domain, policy_id, time.time())
        problem = syntax.printable(str(error))
        if before and before.policy.mode != "none":  # RFC 8461 s10.2
            _log.warning("the MTA-STS policy of %s could not be refreshed: %s", domain, problem)
        return Fetched(None, problem)
    stored = StoredPolicy(policy, policy_id, time.time())
    if before and before.fetched > stored.fetched + _AHEAD:
        store.drop(domain)  # or it would outlive every newer one
    store.save(domain, stored)
    if before and before.policy.mode == "enforce" and policy.mode != "enforce":
        _log.warning(
            "the MTA-STS policy of %s was enforced and is now in mode %s", domain, policy.mode
        )
    return Fetched(stored)
