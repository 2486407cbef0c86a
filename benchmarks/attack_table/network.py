"""An address that is not loopback, in a network namespace of the run's own."""

from __future__ import annotations

import fcntl
import socket
import struct

ADDRESS = "203.0.113.25"  # RFC 5737: documentation only; here it leads nowhere but to ourselves
_SIOCSIFADDR = 0x8916


def add_address() -> str:
    """Add the address to the loopback interface and return it.

    Only for a network namespace of one's own: elsewhere it would change the machine.
    """
    request = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(ADDRESS))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16s16s", b"lo:1", request))
    return ADDRESS
