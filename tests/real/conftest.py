"""Fixtures: real mail servers, each started on first use and kept for the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import oracle, peers, places, postfix
from .certificates import RealCA
from .internet import Internet, running
from .server import Server


@pytest.fixture(scope="session")
def real_ca(tmp_path_factory: pytest.TempPathFactory) -> RealCA:
    """Return the authority behind every real server's certificate."""
    return RealCA(tmp_path_factory.mktemp("real-ca"))


@pytest.fixture(scope="session")
def postfix311(real_ca: RealCA) -> Iterator[postfix.Postfix311]:
    """Run Postfix 3.11, which offers REQUIRETLS."""
    with postfix.running_311(folder_of("postfix311") / "root", real_ca) as server:
        yield server


@pytest.fixture(scope="session")
def postfix37(real_ca: RealCA) -> Iterator[postfix.Postfix]:
    """Run Postfix 3.7, which does not know REQUIRETLS."""
    with postfix.running_37(folder_of("postfix37") / "root", real_ca) as server:
        yield server


@pytest.fixture(scope="session")
def smtp_sink() -> Iterator[Server]:
    """Run smtp-sink, which has no TLS and takes MAIL with any parameter."""
    with peers.running_smtp_sink(folder_of("postfix37") / "root") as server:
        yield server


@pytest.fixture(scope="session")
def smtp_server(real_ca: RealCA) -> Iterator[peers.SMTPServer]:
    """Run npm's smtp-server, which offers REQUIRETLS and AUTH."""
    with peers.running_smtp_server(folder_of("smtp_server"), real_ca) as server:
        yield server


@pytest.fixture(scope="session")
def internet(
    real_ca: RealCA,
    postfix311: postfix.Postfix311,
    postfix37: postfix.Postfix,
    smtp_server: peers.SMTPServer,
) -> Iterator[Internet]:
    """Run the small internet: the domains of zones.py and everything that they need."""
    real = {"postfix311": postfix311, "postfix37": postfix37, "smtp_server": smtp_server}
    with running(folder_of("unbound") / "root", real_ca, real) as world:
        yield world


@pytest.fixture(scope="session")
def judge(internet: Internet) -> Iterator[oracle.Judge]:
    """Run the Postfix 3.11 that relays into the small internet."""
    with oracle.running_judge(folder_of("postfix311") / "root", internet.ca) as relay:
        yield relay


def folder_of(name: str) -> Path:
    """Return where server `name` was unpacked; skip the test, or fail it in CI, if nowhere."""
    path, reason = places.lookup(name)
    if path is not None:
        return path
    text = f"left out: {name}: {reason}"
    if os.environ.get("REQUIRETLS_REAL_REQUIRED") == "1":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
