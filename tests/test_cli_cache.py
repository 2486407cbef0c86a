"""``requiretls cache``: stored policies shown, fetched anew, and dropped only by name."""

from __future__ import annotations

import functools
import io
import json
import sqlite3
import time

import pytest
from nameserver import NameServer, reply
from policy_server import PolicyServer, answer, certificate_for, policy
from support import CA_AT_HAND

from requiretls_client import cli, fetch, policy_fetch
from requiretls_client.cache import SQLiteStore, default_path
from requiretls_client.facts import StoredPolicy, STSPolicy

DOMAIN, OTHER = "example.net", "example.org"
EVIL = "\x1b[31m\u202e<script>\n"


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """Return a store of the test's own, where the command looks for it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = SQLiteStore()
    yield kept
    kept.close()


def keep(store, domain=DOMAIN, mode="enforce", age=60.0, mx=("mx.example.net", "*.example.net")):
    """Put a policy into the store."""
    store.save(domain, StoredPolicy(STSPolicy(mode, mx, 86400), "old", time.time() - age))


def cache(*arguments):
    """Run the command in this process; return its status."""
    return cli.main(["cache", *map(str, arguments)])


def test_list(store, capsys):
    """Domain, mode, id, when fetched and until when, and the patterns; sorted, and aligned."""
    keep(store, OTHER, mode="testing", age=100_000)
    keep(store)
    assert cache("list") == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["DOMAIN", "MODE", "ID", "FETCHED", "(UTC)", "EXPIRES", "(UTC)", "MX"]
    assert first.split()[:3] == [DOMAIN, "enforce", "old"]
    assert first.endswith("  mx.example.net *.example.net")
    assert "(expired)" not in first
    assert second.split()[:3] == [OTHER, "testing", "old"]
    assert "(expired)" in second
    assert head.index("MX") == first.index("mx.example.net")


def test_list_where_the_encoding_lacks_a_character(store, monkeypatch):
    """What a domain wrote into its policy does not hide the policies of the others."""
    keep(store, mx=("\u00e9.example.net",))
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr("sys.stdout", out)
    assert cache("list") == 0
    out.flush()
    assert rb"\xe9.example.net" in out.buffer.getvalue()


def test_list_as_json(store, capsys):
    """One object a line, with times that programs can read."""
    keep(store, age=1e9)
    assert cache("list", "--json", DOMAIN) == 0
    (line,) = capsys.readouterr().out.splitlines()
    data = json.loads(line)
    assert sorted(data) == [
        "domain", "expired", "expires", "fetched", "mode", "mx", "policy_id", "schema",
    ]  # fmt: skip
    assert (data["schema"], data["expired"]) == ("requiretls-cache/1", True)
    assert data["mx"] == ["mx.example.net", "*.example.net"]


def test_list_of_what_is_not_there(store, capsys):
    """An empty store is no error, a domain that is named and missing is."""
    assert cache("list") == 0
    assert capsys.readouterr().err == "requiretls cache: no policy is stored\n"
    keep(store)
    assert cache("list", DOMAIN, OTHER) == 1
    printed = capsys.readouterr()
    assert DOMAIN in printed.out
    assert printed.err == f"requiretls cache: no policy of {OTHER} is stored\n"


def test_hostile_file(store, capsys):
    """What somebody wrote into the file is shown as text, of whatever time and whatever name."""
    keep(store)
    with sqlite3.connect(default_path()) as connection:
        row = (EVIL, "enforce", f"mx{EVIL}", 10**15, EVIL, 1e300)
        connection.execute("INSERT INTO policies VALUES (?, ?, ?, ?, ?, ?)", row)
    connection.close()
    assert cache("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert "9999-12-31" in lines[1]
    assert cache("list", "--json") == 0
    assert all(line.isascii() for line in capsys.readouterr().out.splitlines())
    assert cache("drop", "--all") == 0
    assert capsys.readouterr().err.count("\n") == 2


def test_drop(store, capsys):
    """A policy goes only by name or with --all, and what that opens is said."""
    keep(store)
    keep(store, OTHER)
    assert cache("drop") == 2
    assert "names of domains, or --all" in capsys.readouterr().err
    assert cache("drop", "--all", DOMAIN) == 2
    assert store.domains() == [DOMAIN, OTHER]
    capsys.readouterr()
    assert cache("drop", DOMAIN.upper()) == 0
    assert "whoever can suppress DNS" in capsys.readouterr().err
    assert store.domains() == [OTHER]
    assert cache("drop", DOMAIN) == 1
    assert cache("drop", "--all") == 0
    assert store.domains() == []


@pytest.mark.parametrize("arguments", [["list", "a..b"], ["drop", "\x1b"], ["refresh", "a b"]])
def test_bad_name(capsys, arguments):
    """What is no domain is status 2 and one clean sentence."""
    assert cache(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "\x1b" not in printed.err


@pytest.fixture
def web(monkeypatch, tmp_path):
    """Run a policy server and a name server; return the first, and the options to reach both."""
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(CA_AT_HAND.pem)
    zone = {
        (f"_mta-sts.{DOMAIN}", "TXT"): reply('"v=STSv1; id=new;"'),
        (f"mta-sts.{DOMAIN}", "A"): reply("127.0.0.1"),
    }
    with PolicyServer() as server, NameServer(zone) as names:
        there = functools.partial(fetch.fetch_policy, port=server.port)
        monkeypatch.setattr(policy_fetch, "fetch_policy", there)
        yield server, [
            "--nameserver", "127.0.0.1", "--nameserver-port", names.port, "--ca-file", ca_file,
            "--allow-private",
        ]  # fmt: skip


def publish(web):
    """Let the policy server publish a policy."""
    host = f"mta-sts.{DOMAIN}"
    body = policy(f"mx.{DOMAIN}", mode="testing")
    web.add(host, answer(body), certificate_for(CA_AT_HAND, host))


def test_refresh(web, store, capsys):
    """STS-27: a stored policy is fetched anew, through the very code of the look-ups."""
    server, options = web
    keep(store)
    publish(server)
    assert cache("refresh", *options) == 0
    assert capsys.readouterr().out.startswith(f"{DOMAIN}: fetched: testing, id new, valid until 20")
    assert store.load(DOMAIN).policy_id == "new"


def test_refresh_that_fails(web, store, capsys):
    """A fetch that fails leaves the old policy in the store, says so, and is status 1."""
    _, options = web
    keep(store)
    keep(store, OTHER)
    assert cache("refresh", DOMAIN, *options) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"{DOMAIN}: the old one is kept (enforce, id old, valid until 20")
    assert "could not be fetched" in said
    assert OTHER not in said
    assert store.load(DOMAIN).policy_id == "old"


def test_refresh_of_what_is_not_published(web, store, capsys):
    """Nothing stored and nothing published: no policy, and the reason."""
    _, options = web
    assert cache("refresh", OTHER, *options) == 1
    assert capsys.readouterr().out == f"{OTHER}: no policy: none is published\n"
    assert cache("refresh", *options) == 0
    assert capsys.readouterr().err == "requiretls cache: no policy is stored\n"
