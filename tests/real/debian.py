"""Fetch Debian packages and unpack them into a folder, leaving the machine's own alone.

apt-get runs with its own state, cache and source list inside the folder, so nothing is
installed and no other file is written. Archive signatures are checked as ever.
Standard library only; works without root.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .cache import BuildError, Cache

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# `#clear` works only in a file given with -c, which is read last: hooks that the machine's
# configuration adds to `apt-get update` must not run, its proxy settings must stay.
APT_CONF = """\
#clear APT::Update;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Default-Release;
Dir::State "{apt}/state/";
Dir::State::status "{apt}/status";
Dir::Cache "{apt}/cache/";
Dir::Log "{apt}/log/";
Dir::Etc::sourcelist "{apt}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false"; // a frozen mirror's Release file expires
Acquire::http::Timeout "30";
Acquire::Retries "1";
Debug::NoLocking "true"; // the cache folder has its own lock
"""


def unpack(cache: Cache, folder: Path, suite: str, package: str, alone: bool = False) -> Path:
    """Unpack `package` of `suite` under `folder`; returns the root of what it contains.

    Several may be named, with blanks between them.
    Everything that it depends on comes too, unless `alone`. No maintainer script runs.
    """
    apt = folder / "apt"
    root = folder / "root"
    for each in (apt / "state/lists/partial", apt / "cache/archives/partial", apt / "log", root):
        each.mkdir(parents=True)
    (apt / "status").touch()
    (apt / "apt.conf").write_text(APT_CONF.format(apt=apt))
    source = f"deb [signed-by={KEYRING} target=Packages] {_mirror()} {suite} main\n"
    (apt / "sources.list").write_text(source)
    apt_get = ["apt-get", "-q", "-y", "-c", str(apt / "apt.conf")]
    cache.call([*apt_get, "update", "--error-on=any"])
    archives = apt / "cache/archives"
    if alone:
        cache.call([*apt_get, "download", *package.split()], cwd=archives)
    else:
        cache.call([*apt_get, "install", "--download-only", *package.split()])
    for deb in sorted(archives.glob("*.deb")):
        cache.call(["dpkg-deb", "-x", str(deb), str(root)])
    shutil.rmtree(apt)
    return root


def own_suite() -> str:
    """Return the code name of the Debian release that this machine runs."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise BuildError("/etc/os-release names no Debian release")


def _mirror() -> str:
    """Return the Debian mirror that this machine uses already."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise BuildError("there is no apt-get here")
    # Answers without a look at package lists, of which a new machine has none.
    command = ["apt-get", "update", "--print-uris"]
    listing = subprocess.run(command, text=True, check=False, capture_output=True)
    for line in listing.stdout.splitlines():
        mirror, _, rest = line.lstrip("'").partition("/dists/")
        if mirror.endswith("/debian") and "-" not in rest.partition("/")[0]:
            return mirror
    raise BuildError("apt's sources name no Debian mirror")
