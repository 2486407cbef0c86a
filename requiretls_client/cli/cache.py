"""``requiretls cache``: the MTA-STS policies that are kept, and what may be done with them.

A policy that was fetched once protects later mail although an attacker suppresses DNS and HTTPS
(RFC 8461 section 10), so that nothing here forgets one by the way: a fetch that fails leaves the
old one, and dropping takes the domain's name.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from requiretls_client.cli.options import add_lookups, lookups_of

if TYPE_CHECKING:
    from requiretls_client.cache import SQLiteStore
    from requiretls_client.facts import PolicyFacts, StoredPolicy

SCHEMA = "requiretls-cache/1"
DONE, NOT_ALL, USAGE = range(3)
STATUS = """exit status:
  0  done
  1  not for every domain: a policy is not there, could not be fetched or not be dropped
  2  the command line was wrong

Policies are kept in $XDG_CACHE_HOME/requiretls-client/mta-sts.sqlite3, else below ~/.cache.
For a daily job: requiretls cache refresh
"""
_LATEST = 253402300799.0  # Unix time of the end of the year 9999
_WARNING = (
    "until its policy is fetched again, whoever can suppress DNS and HTTPS answers can lead mail "
    "for {} elsewhere or off TLS (RFC 8461 section 10.2)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the three actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = _action(actions, "list", "show stored policies", _list)
    listing.add_argument("--json", action="store_true", help="a JSON object a line for each policy")
    refresh = _action(
        actions, "refresh", "fetch policies anew; one whose fetch fails is kept", _refresh
    )
    add_lookups(refresh)
    drop = _action(
        actions, "drop", "forget policies, which reopens the window for downgrades", _drop
    )
    drop.add_argument("--all", action="store_true", help="every domain's")


def _action(
    actions: Any, name: str, text: str, act: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    parser.add_argument("domains", nargs="*", metavar="DOMAIN", help="of these domains")
    parser.set_defaults(act=act)
    return parser


def run(options: argparse.Namespace) -> int:
    """Do what was asked; return the exit status."""
    from requiretls_client import syntax

    try:
        options.domains = [syntax.mail_domain(each, "DOMAIN") for each in options.domains]
        status: int = options.act(options)
    except (ValueError, OSError) as error:
        _say(str(error))
        return USAGE
    return status


# -- list ----------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    store = _store()
    found = {name: store.load(name) for name in options.domains or store.domains()}
    there = {name: stored for name, stored in found.items() if stored is not None}
    now = time.time()
    if options.json:
        for name, stored in there.items():
            print(json.dumps(_as_dict(name, stored, now)))
    elif there:
        print(_table([_columns(name, stored, now) for name, stored in there.items()]))
    missing = sorted(set(found) - set(there))
    for name in missing:
        _say(f"no policy of {name} is stored")
    if not found:
        _say("no policy is stored")
    return NOT_ALL if missing else DONE


def _as_dict(name: str, stored: StoredPolicy, now: float) -> dict[str, Any]:
    """Return a policy as data; times as RFC 3339 has them."""
    return {
        "schema": SCHEMA,
        "domain": name,
        "mode": stored.policy.mode,
        "policy_id": stored.policy_id,
        "fetched": _moment(stored.fetched, "%Y-%m-%dT%H:%M:%SZ"),
        "expires": _moment(_end(stored), "%Y-%m-%dT%H:%M:%SZ"),
        "expired": now >= _end(stored),
        "mx": list(stored.policy.mx),
    }


def _columns(name: str, stored: StoredPolicy, now: float) -> tuple[str, ...]:
    end = _moment(_end(stored), "%Y-%m-%d %H:%M")
    return (
        name,
        stored.policy.mode,
        stored.policy_id,
        _moment(stored.fetched, "%Y-%m-%d %H:%M"),
        f"{end} (expired)" if now >= _end(stored) else end,
        " ".join(stored.policy.mx) or "-",
    )


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows under their headings, the columns aligned; times are UTC."""
    from requiretls_client.cli.words import shown

    head = ("DOMAIN", "MODE", "ID", "FETCHED (UTC)", "EXPIRES (UTC)", "MX")
    cells = [head, *(tuple(map(shown, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    return "\n".join(lines)


def _end(stored: StoredPolicy) -> float:
    return stored.fetched + stored.policy.max_age


def _moment(seconds: float, form: str) -> str:
    """Return a Unix time as text; the file may hold any number."""
    return datetime.fromtimestamp(min(max(seconds, 0.0), _LATEST), UTC).strftime(form)


# -- refresh -------------------------------------------------------------------------------------


def _refresh(options: argparse.Namespace) -> int:
    lookups = lookups_of(options)
    try:
        found = lookups.refresh(options.domains or None)
    finally:
        lookups.close()
    for name, policy in found.items():
        print(_outcome(name, policy))
    if not found:
        _say("no policy is stored")
    return DONE if all(each.source == "fetched" for each in found.values()) else NOT_ALL


def _outcome(name: str, policy: PolicyFacts) -> str:
    """Say what became of one policy."""
    from requiretls_client.cli.words import shown

    stored, why = policy.stored, policy.problem or "none is published"
    if stored is None:
        return shown(f"{name}: no policy: {why}")
    what = f"{stored.policy.mode}, id {stored.policy_id}, valid until "
    what += _moment(_end(stored), "%Y-%m-%d %H:%M UTC")
    if policy.source == "fetched":
        return shown(f"{name}: fetched: {what}")
    return shown(f"{name}: the old one is kept ({what}): {why}")


# -- drop ----------------------------------------------------------------------------------------


def _drop(options: argparse.Namespace) -> int:
    if bool(options.domains) == options.all:
        raise ValueError("drop needs the names of domains, or --all")
    store, status = _store(), DONE
    for name in options.domains or store.domains():
        if store.load(name) is None:
            _say(f"no policy of {name} is stored")
            status = NOT_ALL
            continue
        store.drop(name)
        if store.load(name) is not None:
            _say(f"the policy of {name} could not be dropped")
            status = NOT_ALL
            continue
        _say(f"dropped; {_WARNING.format(name)}")
    return status


def _store() -> SQLiteStore:
    from requiretls_client.cache import SQLiteStore

    return SQLiteStore()


def _say(text: str) -> None:
    from requiretls_client.cli.words import shown

    print(f"requiretls cache: {shown(text)}", file=sys.stderr)
