"""Networks of the run's own: namespaces and TUN devices, without ip(8). Root on Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

TUN = "/dev/net/tun"
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _IFF_UP = 0x400454CA, 0x1, 0x1000, 0x1
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFTXQLEN = 0x8916, 0x891C, 0x8943
_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def why_no_tunnel() -> str | None:
    """Return why there can be no TUN device here, or None when there can."""
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        return str(error)
    return None


def leave() -> None:
    """Give this process, and what it starts, a network namespace of its own, with nothing in it."""
    _libc("unshare", _CLONE_NEWNET)


def enter(namespace: str) -> None:
    """Go into another network namespace, ``/proc/PID/ns/net``."""
    with open(namespace) as file:
        _libc("setns", file.fileno(), _CLONE_NEWNET)


def without_pacing() -> None:
    """Use Reno in this network namespace, where it is there.

    BBR, the default of some machines, sends no faster than it has measured the network to be,
    and then loopback is what limits large messages while both sides wait.
    """
    with contextlib.suppress(OSError):
        _CONGESTION.write_text("reno")


def tunnel(device: str, address: str) -> int:
    """Make a TUN device in this network namespace; what is sent to its /30 network is read here.

    Returns:
        A file descriptor that does not block: one packet at a time.
    """
    descriptor = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    name = device.encode()
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name, _IFF_TUN | _IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.252")):
            inet = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(control, request, struct.pack("16s16s8x", name, inet))
        fcntl.ioctl(control, _SIOCSIFTXQLEN, struct.pack("16si20x", name, 10_000))
        found = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16s24x", name))
        flags = struct.unpack_from("16sH", found)[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | _IFF_UP))
    return descriptor


def _libc(function: str, *arguments: int) -> None:
    """Call a C library function that returns -1 on failure; OSError then."""
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")
