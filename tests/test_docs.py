"""The documents keep to the code: test ids exist, the README renders, examples are whole."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from email.message import EmailMessage
from pathlib import Path

import pytest

import requiretls_client as rt
from requiretls_client.testing import trust

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"


def test_every_test_named_in_the_standards_exists():
    """docs/standards.rst names tests by file and function, and they are there."""
    text = (ROOT / "docs/standards.rst").read_text()
    named = re.findall(r"``([\w/]+\.py)::(\w+)``", text)
    assert len(named) > 40
    for file, function in named:
        tree = ast.parse((TESTS / file).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in functions, f"{file}::{function}"


RULES = {
    "RT": 22, "STS": 34, "DANE": 29, "TLSA": 10, "DNS": 4, "RPT": 16, "NMX": 3, "SMTP": 23,
    "STLS": 6, "SUB": 13, "BCP": 9, "SID": 6, "DSN": 14, "ESC": 3, "PIPE": 4, "CHK": 4, "UTF": 4,
    "AUTH": 4, "OAB": 2, "SCR": 3, "CB": 2,
}  # fmt: skip


def test_every_rule_is_in_the_standards():
    """docs/standards.rst says of each of the 215 rules of a sender what became of it."""
    text = (ROOT / "docs/standards.rst").read_text()
    heads = "\n".join(re.findall(r"^[A-Z]{2,4}-\d\d.*$", text, re.M))
    found = set(re.findall(r"[A-Z]{2,4}-\d\d", heads))
    for kind, first, last in re.findall(r"([A-Z]{2,4})-(\d\d) to [A-Z]{2,4}-(\d\d)", heads):
        found |= {f"{kind}-{number:02d}" for number in range(int(first), int(last) + 1)}
    expected = {f"{kind}-{n:02d}" for kind, count in RULES.items() for n in range(1, count + 1)}
    assert len(expected) == 215
    assert sorted(expected - found) == []


def test_every_test_has_a_sentence():
    """Each test function says in a docstring which rule it is about."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path.name}::{node.name}"


def test_readme_example_sends(serve, monkeypatch):
    """The first example of the README runs as it stands, but for the server's address."""
    text = (ROOT / "README.rst").read_text()
    block = re.search(r"code-block:: python\n\n((?:    .*\n|\n)+)", text)[1]
    code = re.sub(r"^    ", "", block, flags=re.M).strip()
    assert len(code.splitlines()) <= 10
    server = serve(users={"alice": "secret"})

    class Here(rt.SMTP):
        def __init__(self, host, port, **options):
            assert (host, port) == ("smtp.example.org", 587)
            super().__init__(server.host, server.port, context=server.client_context(), **options)

    monkeypatch.setattr(rt, "SMTP", Here)
    exec(compile(code, "README.rst", "exec"), {})
    assert "REQUIRETLS" in server.ledger[0].parameters


def test_distribution(tmp_path):
    """The sdist and the wheel build, twine takes the README, the wheel has the data files."""
    pytest.importorskip("build")
    pytest.importorskip("twine")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    check = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    import zipfile

    with zipfile.ZipFile(next(file for file in files if file.suffix == ".whl")) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(n for n in names if n.endswith("METADATA"))).decode()
    assert {"requiretls_client/py.typed", "requiretls_client/cli/check.schema.json"} <= set(names)
    assert not [name for name in names if name.startswith("tests")]
    assert "License-Expression: MIT" in metadata
    assert {"demo", "test"} <= set(re.findall(r"^Provides-Extra: (\S+)", metadata, re.M))


def test_revocation_is_not_claimed():
    """F19: the README says plainly that revocation is not checked."""
    assert "not checked for revocation" in (ROOT / "README.rst").read_text()


def test_many_messages(serve):
    """The examples of docs/many.rst run as they stand, but for the server's address."""
    server = serve(users={"alice": "secret"})
    text = (ROOT / "docs/many.rst").read_text()
    blocks = re.findall(r":name: [\w-]+\n\n((?:   .*\n|\n)+)", text)
    message = EmailMessage()
    message["From"], message["To"] = "alice@example.org", "bob@example.net"
    names = {"password": "secret", "messages": [message] * 3, "message": message}
    with trust(server.ca):
        for block in map(textwrap.dedent, blocks):
            here = block.replace('"smtp.example.org", 587', f'"{server.host}", {server.port}')
            assert here != block
            exec(here, dict(names))
    server.wait_idle()
    assert len(server.ledger) == 3 + 3 + 1


def test_large_messages(serve, tmp_path, monkeypatch):
    """The examples of docs/large.rst run as they stand, but for the server's address."""
    extensions = ["PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME"]
    server = serve(extensions=extensions)
    text = (ROOT / "docs/large.rst").read_text()
    blocks = re.findall(r":name: [\w-]+\n\n((?:   .*\n|\n)+)", text)
    of_file, of_binary = map(textwrap.dedent, blocks)
    of_file = of_file.replace('"mail.example.org", 587', f'"{server.host}", {server.port}')
    monkeypatch.chdir(tmp_path)
    large, scan = b"Subject: s\r\n\r\n" + b"a line\r\n" * 100_000, bytes(range(256))
    Path("message.eml").write_bytes(large)
    with trust(server.ca):
        exec(of_file, {})
        with rt.SMTP(server.host, server.port, require_tls=True) as smtp:
            exec(of_binary, {"smtp": smtp, "scan": scan})
    first, second = server.ledger
    assert first.content == large
    assert second.content.count(scan) == 1
