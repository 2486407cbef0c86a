"""What tests/run keeps in its cache beside the Python environment, and how each is made.

Standard library only.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import debian
from .cache import BuildError, Cache
from .places import POSTDROP_GID, POSTFIX_UID

SYSTEM_PYTHON = Path("/usr/bin/python3")
PASSWD = f"""\
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
postfix:x:{POSTFIX_UID}:{POSTFIX_UID}:postfix:/nonexistent:/bin/false
"""
GROUP = f"""\
root:x:0:
nogroup:x:65534:
postfix:x:{POSTFIX_UID}:
postdrop:x:{POSTDROP_GID}:
"""

# Programs that call sendmail, and msmtp to compare with; dma because bsd-mailx wants an MTA.
MAILERS = "bsd-mailx s-nail php8.2-cli git-email libmailtools-perl msmtp dma"
SHELLS = "zsh fish coreutils"

Recipe = Callable[[Path], None]


def take(cache: Cache, kind: str, recipe: Recipe) -> Path:
    """Take the folder for `kind`, made anew whenever the text of the recipes has changed."""
    sources = b"".join(Path(module).read_bytes() for module in (__file__, debian.__file__))
    name = f"{kind}-{hashlib.sha256(sources).hexdigest()[:12]}"
    path = cache.take(name, recipe)
    cache.prune(kind, name, lambda note: True)
    return path


def server_recipes(cache: Cache) -> dict[str, Recipe]:
    """Return a recipe for every real server, under the name by which fixtures ask for it."""
    return {
        "postfix311": partial(_unpacked, cache, "forky", "postfix"),
        "postfix37": partial(_unpacked, cache, "bookworm", "postfix"),
        "mailers": partial(_unpacked, cache, "bookworm", MAILERS),
        "shells": partial(_unpacked, cache, "bookworm", SHELLS),
        "smtp_server": partial(_smtp_server, cache),
        "cron": partial(_files, cache, "cron"),
        "unbound": partial(_unpacked, cache, "bookworm", "unbound"),
    }


def debian_testsuite(cache: Cache) -> Path | None:
    """Return a folder from which Debian's own python3 can import test.test_smtplib.

    None when there is no such python3, or when it needs no help.
    """
    if not SYSTEM_PYTHON.exists() or not Path("/etc/debian_version").exists():
        return None
    ask = "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_path('stdlib'))"
    major, minor, stdlib = _system_python(ask).stdout.split()
    if _system_python("import test.test_smtplib").returncode == 0:
        return None
    recipe = partial(_testsuite, cache, f"libpython{major}.{minor}-testsuite", Path(stdlib))
    return take(cache, f"testsuite{major}{minor}", recipe) / "python"


def _system_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in the machine's own Python, whatever environment this one is."""
    command = [str(SYSTEM_PYTHON), "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _unpacked(cache: Cache, suite: str, package: str, folder: Path) -> None:
    """Make a root folder in which the programs of a Debian package start with chroot(8)."""
    root = debian.unpack(cache, folder, suite, package)
    for name in ("doc", "man", "locale", "info", "zoneinfo"):
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)
    for name in ("bin", "sbin", "lib", "lib64"):  # base-files would bring these
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("dev", "mnt"):  # mount points, see isolation.py
        (root / name).mkdir(exist_ok=True)
    (root / "etc/resolv.conf").touch()  # the same
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)


def _files(cache: Cache, package: str, folder: Path) -> None:
    """Unpack a package whose programs start outside of a root folder: all it needs is there."""
    debian.unpack(cache, folder, debian.own_suite(), package, alone=True).rename(folder / "files")


def _smtp_server(cache: Cache, folder: Path) -> None:
    """Install smtp-server from npm."""
    if not shutil.which("npm") or not shutil.which("node"):
        raise BuildError("there is no node or no npm here")
    options = ["--no-audit", "--no-fund", "--silent", "--cache", str(folder / "npm-cache")]
    cache.call(["npm", "install", *options, "--prefix", str(folder), "smtp-server@3"])
    shutil.rmtree(folder / "npm-cache", ignore_errors=True)


def _testsuite(cache: Cache, package: str, stdlib: Path, folder: Path) -> None:
    """Put Debian's separately packed `test` package together with what python3 has of it."""
    root = debian.unpack(cache, folder, debian.own_suite(), package, alone=True)
    shutil.copytree(root / stdlib.relative_to("/") / "test", folder / "python/test")
    shutil.copytree(stdlib / "test", folder / "python/test", dirs_exist_ok=True)
    shutil.rmtree(root)
