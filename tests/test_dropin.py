"""``import requiretls_client as smtplib``: names, signatures, cost, and CPython's own tests."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import smtplib
import subprocess
import sys
from pathlib import Path

import pytest
from support import CA_AT_HAND

import requiretls_client as rt

ROOT = Path(__file__).resolve().parent.parent
OURS = {"SMTP", "SMTP_SSL", "LMTP"}


def pythons():
    """Return every CPython from 3.11 up on this machine: version -> path."""
    shims = Path.home() / ".pyenv/versions"
    names = [*(f"python3.{minor}" for minor in range(11, 16)), "/usr/bin/python3"]
    candidates = [sys.executable, *map(str, shims.glob("3.*/bin/python3"))]
    candidates += [path for name in names if (path := shutil.which(name))]
    found = {}
    for path in candidates:
        probe = "import sys; print(sys.version_info >= (3, 11), sys.version.split()[0], sys.prefix)"
        done = subprocess.run([path, "-c", probe], capture_output=True, text=True, check=False)
        words = done.stdout.split()
        if done.returncode == 0 and words[0] == "True":
            found.setdefault(words[1], path)
    return found


PYTHONS = pythons()


def run(python, code, *arguments, **extra):
    """Run code in another interpreter with this checkout first on its path."""
    path = os.pathsep.join([str(ROOT), *filter(None, [extra.pop("path", "")])])
    return subprocess.run(
        [python, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        cwd="/",
        **extra,
    )


@pytest.mark.parametrize("name", sorted({n for n in dir(smtplib) if not n.startswith("__")} - OURS))
def test_same_object(name):
    """Every name of smtplib is here as the same object, but the three classes."""
    assert getattr(rt, name) is getattr(smtplib, name)


@pytest.mark.parametrize("name", sorted(OURS))
def test_subclasses(name):
    """The classes are subclasses of smtplib's, and SMTP is among the bases of the others."""
    ours = getattr(rt, name)
    assert issubclass(ours, getattr(smtplib, name))
    assert issubclass(ours, rt.SMTP)


def test_public_names():
    """__all__ holds smtplib's and ours, each of them exists, and nothing is missing from it."""
    assert set(smtplib.__all__) <= set(rt.__all__)
    assert sorted(rt.__all__) == sorted(set(rt.__all__))
    for name in rt.__all__:
        assert getattr(rt, name) is not None
        assert not name.startswith("_")


def test_unknown_name():
    """A name that neither has is an AttributeError of this module."""
    with pytest.raises(AttributeError, match="'requiretls_client' has no attribute 'nothing'"):
        _ = rt.nothing


# Printed by every interpreter: for each class and method the stock and our parameters.
SIGNATURES = """
import inspect, json, smtplib, requiretls_client as rt
def parameters(f):
    found = inspect.signature(f).parameters.values()
    return [(p.name, p.kind.name, repr(p.default)) for p in found]
rows = {}
for name in ("SMTP", "SMTP_SSL", "LMTP"):
    stock, ours = getattr(smtplib, name), getattr(rt, name)
    rows[name] = parameters(stock), parameters(ours)
    for method in sorted(n for n in dir(stock) if not n.startswith("_")):
        if callable(getattr(stock, method)):
            pair = parameters(getattr(stock, method)), parameters(getattr(ours, method))
            rows[f"{name}.{method}"] = pair
print(json.dumps(rows))
"""


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_signatures(python):
    """Every signature is the running smtplib's, with keyword-only additions behind it."""
    done = run(python, SIGNATURES)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {"SMTP", "SMTP_SSL", "LMTP", "SMTP.starttls", "SMTP_SSL.sendmail"} <= set(rows)
    for name, (stock, ours) in rows.items():
        added = [parameter for parameter in ours if parameter not in stock]
        assert [parameter for parameter in ours if parameter in stock] == stock, name
        assert all(kind == "KEYWORD_ONLY" for _, kind, _ in added), name


IMPORTS = """
import sys, smtplib
before = set(sys.modules)
import requiretls_client
requiretls_client.SMTP
print(*sorted(set(sys.modules) - before))
"""
HEAVY = {
    "asyncio", "certifi", "cryptography", "dataclasses", "dns", "logging", "requests", "sqlite3",
    "typing",
}  # fmt: skip


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_import_is_cheap(python):
    """SMTP from requiretls_client adds at most 8 modules to import smtplib, and no heavy one."""
    done = run(python, IMPORTS)
    assert done.returncode == 0, done.stderr
    added = done.stdout.split()
    assert "requiretls_client.session" in added
    assert len(added) <= 8
    assert not {name.partition(".")[0] for name in added} & HEAVY


ALERT = """
import ssl, sys
port, cafile = sys.argv[1:]
import requiretls_client as rt
context = ssl.create_default_context(cafile=cafile)
with rt.SMTP("localhost", int(port), require_tls=True, context=context) as smtp:
    smtp.login("u", "p")
    smtp.sendmail("a@example.org", "b@example.net", "Subject: s\\r\\n\\r\\nhi\\r\\n")
print(*sorted(sys.modules))
"""
OF_LOOKUPS = {"facts", "path", "route", "dane", "mxwalk", "lookups", "reports", "streaming"}


def test_alert_is_cheap(serve, tmp_path):
    """A message to a named server, from a new process, loads nothing that it has no use for."""
    server = serve(certificate=CA_AT_HAND.issue("localhost"), users={"u": "p"})
    (tmp_path / "ca.pem").write_bytes(CA_AT_HAND.pem)
    command = [sys.executable, "-c", ALERT, str(server.port), str(tmp_path / "ca.pem")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "requiretls_client.sending" in loaded
    assert not loaded & {f"requiretls_client.{name}" for name in OF_LOOKUPS}
    assert not loaded & (HEAVY - {"dataclasses", "typing"})
    assert len(server.ledger) == 1


# CPython's own tests with the three classes replaced before the test module looks at them.
OWN_TESTS = """
import smtplib, sys, unittest, warnings
warnings.simplefilter("ignore")
import requiretls_client as rt
smtplib.SMTP, smtplib.SMTP_SSL, smtplib.LMTP = rt.SMTP, rt.SMTP_SSL, rt.LMTP
import test.test_smtplib as own
assert own.SMTPGeneralTests.client is rt.SMTP
result = unittest.main(module=own, argv=["test_smtplib"], exit=False).result
print(result.testsRun, len(result.failures), len(result.errors), len(result.skipped))
"""


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_cpythons_own_tests(python):
    """N04: test.test_smtplib passes whole on our classes: nothing failed, nothing skipped."""
    path = ""
    if run(python, "import test.test_smtplib").returncode:
        path = os.environ.get("REQUIRETLS_DEBIAN_TESTSUITE", "")
        if not path:
            text = f"{python} has no test.test_smtplib (Debian: package libpython3.x-testsuite)"
            if os.environ.get("REQUIRETLS_REAL_REQUIRED") == "1":
                pytest.fail(text)
            pytest.skip(text)
    done = run(python, OWN_TESTS, path=path)
    assert done.stdout, done.stderr
    ran, *rest = map(int, done.stdout.split()[-4:])
    assert rest == [0, 0, 0], done.stderr
    assert ran >= 82


def test_audit_events(serve):
    """The audit events of smtplib still fire, once for each connection and each line."""
    code = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith("smtplib") else None)
import requiretls_client
with requiretls_client.SMTP("localhost", int(sys.argv[1])) as smtp:
    smtp.noop()
print(*seen)
"""
    server = serve(starttls=False)
    done = run(sys.executable, code, str(server.port))
    assert done.stdout.split() == ["smtplib.connect", "smtplib.send", "smtplib.send"], done.stderr


def test_command_line_module():
    """``python -m requiretls_client`` is the command."""
    done = subprocess.run(
        [sys.executable, "-m", "requiretls_client", "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0
    assert "demo" in done.stdout


def test_docstrings():
    """Every public name and method has a docstring."""
    for name in rt.__all__:
        thing = getattr(rt, name)
        if getattr(thing, "__module__", "").startswith("requiretls_client"):
            assert inspect.getdoc(thing), name
            for method, function in vars(thing).items() if inspect.isclass(thing) else ():
                if inspect.isfunction(function) and not method.startswith("_"):
                    assert function.__doc__, f"{name}.{method}"
