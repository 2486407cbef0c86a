"""Run a command in its own network, process and mount namespaces, as root on Linux.

Loopback and every port are private, no packet can leave, and when the command or this process
ends, however it ends, the kernel ends everything that the command started and drops its mounts.

Standard library only, and no program but the command: minimal images lack ip(8). Run as a
script, it only tries whether all this is permitted and prints the reason if not.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
GRACE = 5  # seconds that ^C leaves pytest to tidy up


class Layout:
    """What the private mount namespace looks like."""

    def __init__(
        self, scratch: Path, roots: list[Path], hosts: dict[str, str], resolver: str = ""
    ) -> None:
        """Make `scratch` and every root's /mnt empty and private.

        Args:
            scratch: a folder for the run's own files.
            roots: folders that servers are started in with chroot(8).
            hosts: name -> address, for /etc/hosts.
            resolver: address of the name server that /etc/resolv.conf names, in every root
                too; "" leaves the machine's own there.
        """
        self.scratch = scratch
        self.roots = roots
        self.hosts = hosts
        self.resolver = resolver

    def mount(self) -> None:
        """Make every mount; called in the new namespace."""
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        mount("proc", "/proc", "proc", 0)
        mount("tmpfs", self.scratch, "tmpfs", 0)
        for root in self.roots:
            mount("tmpfs", root / "mnt", "tmpfs", 0)
            mount("/dev", root / "dev", None, MS_BIND | MS_REC)  # with /dev/pts, for zsh
        lines = "".join(f"{address} {name}\n" for name, address in self.hosts.items())
        hosts = self.scratch / "hosts"
        hosts.write_text(Path("/etc/hosts").read_text() + "\n" + lines)
        mount(hosts, "/etc/hosts", None, MS_BIND)
        if self.resolver:
            self._mount_resolver()

    def _mount_resolver(self) -> None:
        """Make the resolver the one of every program; it validates, so its AD bit counts."""
        settings = self.scratch / "resolv.conf"
        settings.write_text(f"nameserver {self.resolver}\noptions edns0 trust-ad\n")
        for place in (Path("/etc/resolv.conf"), *(root / "etc/resolv.conf" for root in self.roots)):
            if place.exists():  # a minimal machine may have none, and then asks 127.0.0.1
                mount(settings, place, None, MS_BIND)


def why_not(scratch: Path) -> str | None:
    """Return why run() would not work here, or None when it would."""
    if not sys.platform.startswith("linux"):
        return "this is not Linux"
    if os.geteuid() != 0:
        return "the user is not root"
    trial = [sys.executable, __file__, str(scratch)]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return "namespaces are not permitted: " + (done.stderr.strip().splitlines() or ["?"])[-1]


def run(command: list[str], layout: Layout) -> int:
    """Run `command` isolated; returns its exit status, 128 + n when signal n ended it."""
    _libc("unshare", CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET)
    child = os.fork()  # only a child enters the process namespace, as its init
    if child == 0:
        _init(command, layout)
    # ^C reaches pytest too; the time limit is for a ^C that does not end it. When this process
    # ends, the kernel kills the child: see PR_SET_PDEATHSIG.
    signal.signal(signal.SIGINT, lambda *_: signal.alarm(GRACE))
    return _status(os.waitpid(child, 0)[1])


def _init(command: list[str], layout: Layout) -> None:
    """Be process 1 of the namespace: set it up, run `command`, reap, and exit as it did."""
    status = 70
    try:
        _libc("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.signal(signal.SIGINT, lambda *_: None)  # a handler, since exec would keep SIG_IGN
        layout.mount()
        _loopback_up()
        process = subprocess.Popen(command)
        while True:
            pid, raw = os.wait()
            if pid == process.pid:
                status = _status(raw)
                break
    except OSError as error:
        print(error, file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _status(raw: int) -> int:
    """Translate a wait status to an exit status as a shell does."""
    code = os.waitstatus_to_exitcode(raw)
    return code if code >= 0 else 128 - code


def _loopback_up() -> None:
    """Switch the loopback interface on, which gives it 127.0.0.0/8."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16sH14x", request)[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def unshare_mounts() -> None:
    """Give this process and its children a view of the file system that is theirs alone."""
    _libc("unshare", CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def mount(source: str | Path, target: str | Path, kind: str | None, flags: int) -> None:
    """Call mount(2)."""
    arguments = [os.fsencode(source), os.fsencode(target), kind and kind.encode()]
    _libc("mount", *arguments, ctypes.c_ulong(flags), None)


def _libc(function: str, *arguments: object) -> None:
    """Call a C library function that returns -1 on failure; OSError then."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, function)(*arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")


if __name__ == "__main__":
    try:
        sys.exit(run(["true"], Layout(Path(sys.argv[1]), [], {})))
    except OSError as refused:
        sys.exit(str(refused))
