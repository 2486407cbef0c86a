"""The structure: a module imports from lower floors only, and rules do no I/O."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "requiretls_client"

FLOORS = {
    "errors": 0, "facts": 0, "session_facts": 0, "evidence": 0, "verdict": 0,
    "dsn": 1, "dsn_form": 1, "assessment": 1, "descent": 1, "recording": 1,
    "certificate": 1, "content": 1, "dane": 1, "header": 1, "mtasts": 1, "path": 1, "policy": 1,
    "lines": 1, "objects": 1, "outgoing": 1, "reports": 1, "replies": 1, "route": 1, "sasl": 1,
    "syntax": 1,
    "cache": 2, "cache_file": 2, "fetch": 2, "policy_fetch": 2, "lookups": 2, "nameserver": 2,
    "resolvconf": 2, "resolver": 2, "tls": 2,
    "wire": 3, "starttls": 3, "connection": 3, "pipelining": 3, "sending": 3,
    "batch": 3, "flight": 3, "pool": 3, "streaming": 3,
    "login": 3, "session": 3, "lmtp": 3, "smtps": 3,
    "mxwalk": 3, "transaction": 3, "delivery": 3, "checking": 3,
    "testing": 4, "pytest_plugin": 4, "cli": 4, "__init__": 4, "__main__": 4,
}  # fmt: skip
WITHIN = {
    ("errors", "verdict"), ("facts", "session_facts"), ("verdict", "facts"), ("evidence", "facts"),
    ("dsn", "reports"),
    ("reports", "syntax"), ("assessment", "reports"), ("descent", "reports"),
    ("dane", "certificate"), ("mtasts", "syntax"), ("route", "mtasts"), ("route", "syntax"),
    ("path", "dane"), ("path", "mtasts"), ("path", "route"), ("path", "syntax"),
    ("policy", "syntax"), ("outgoing", "content"), ("outgoing", "header"), ("outgoing", "path"),
    ("outgoing", "syntax"), ("policy", "path"), ("policy", "dane"),
    ("descent", "path"), ("descent", "policy"), ("assessment", "certificate"),
    ("assessment", "dane"), ("assessment", "descent"), ("assessment", "path"),
    ("assessment", "mtasts"), ("recording", "syntax"),
    ("dsn", "content"), ("dsn", "dsn_form"), ("dsn", "header"), ("dsn", "syntax"),
    ("dsn_form", "syntax"),
    ("cache", "cache_file"), ("fetch", "tls"), ("nameserver", "tls"), ("resolver", "nameserver"),
    ("resolver", "resolvconf"), ("resolver", "tls"), ("lookups", "cache"),
    ("lookups", "policy_fetch"), ("policy_fetch", "cache"), ("policy_fetch", "fetch"),
    ("lookups", "resolver"), ("lookups", "tls"),
    ("content", "lines"), ("objects", "content"), ("objects", "lines"), ("outgoing", "objects"),
    ("dsn", "objects"), ("starttls", "wire"), ("connection", "starttls"), ("session", "starttls"),
    ("session", "streaming"),
    ("smtps", "starttls"), ("mxwalk", "starttls"), ("session", "connection"),
    ("session", "login"), ("session", "pipelining"), ("session", "sending"),
    ("sending", "pipelining"),
    ("session", "batch"), ("batch", "connection"), ("batch", "pipelining"), ("batch", "flight"),
    ("pool", "batch"), ("pool", "flight"),
    ("flight", "pipelining"), ("batch", "sending"),
    ("batch", "session"),
    ("pipelining", "connection"),
    ("pipelining", "lines"), ("pipelining", "session"), ("pipelining", "wire"), ("lmtp", "session"),
    ("smtps", "session"), ("smtps", "connection"),
    # to_domain() and lookups= of a session begin in mxwalk, which makes sessions: both late.
    ("mxwalk", "connection"), ("mxwalk", "session"), ("mxwalk", "lmtp"), ("mxwalk", "smtps"),
    ("session", "mxwalk"), ("connection", "mxwalk"),
    ("transaction", "mxwalk"), ("transaction", "session"), ("delivery", "transaction"),
    ("delivery", "mxwalk"), ("delivery", "session"), ("checking", "mxwalk"),
    ("checking", "session"), ("checking", "smtps"),
    ("cli", "testing"), ("cli", "__init__"), ("pytest_plugin", "testing"), ("__main__", "cli"),
}  # fmt: skip
NO_IO = {"socket", "ssl", "dns", "requests", "sqlite3", "asyncio", "threading", "subprocess",
         "time", "os"}  # fmt: skip


def imports(path):
    """Yield the modules that a file imports, also inside functions; type hints do not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "requiretls_client":
            yield from (f"requiretls_client.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


MODULES = [(path, path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
           for path in sorted(PACKAGE.rglob("*.py"))]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "room"), MODULES, ids=[str(path.relative_to(PACKAGE)) for path, _ in MODULES]
)
def test_imports_go_down(path, room):
    """A module imports from a lower floor, or within the few pairs that are named."""
    for name in imports(path):
        package, _, inside = name.partition(".")
        if package != "requiretls_client":
            continue
        target = inside.partition(".")[0] or "__init__"
        target = target if target in FLOORS else "__init__"
        if target != room:
            lower = FLOORS[target] < FLOORS[room]
            assert lower or (room, target) in WITHIN, f"{room} imports {target}"


@pytest.mark.parametrize("rule", [name for name, floor in FLOORS.items() if floor == 1])
def test_rules_do_no_io(rule):
    """A rule module imports nothing that could look at the world."""
    used = {name.partition(".")[0] for name in imports(PACKAGE / f"{rule}.py")}
    assert not used & NO_IO
