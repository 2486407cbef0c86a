"""A slow wire: two TUN devices, each in a network namespace, and this process between them.

usage: python -m speed.wire JSON

The JSON has ``rtt`` (ms) and ``number``, which tells wires apart. The client's side is 10.99.N.1
in the network namespace that the process is started in, the server's 10.99.N.2 in one of its own.
Prints "ready", and relays until its standard input ends, which is also the end of the namespace.

Every IP packet is held for half the round trip in each direction, so the kernel's own TCP sees the
delay (handshake, slow start, Nagle's algorithm, delayed acknowledgements), which a relay of TCP
connections would hide. No loss, no jitter.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import sys
import time
from collections import deque

from speed import network

_PACKET = 1 << 16
_HASTE = -15
_PR_SET_TIMERSLACK = 29


def client_side(number: int) -> str:
    """Return the client's address."""
    return f"10.99.{number}.1"


def server_side(number: int) -> str:
    """Return the server's address."""
    return f"10.99.{number}.2"


class Direction:
    """Packets on their way from one device to the other."""

    def __init__(self, source: int, target: int, delay: float) -> None:
        """Begin with none."""
        self.source, self.target, self._delay = source, target, delay
        self._waiting: deque[tuple[float, bytes]] = deque()

    @property
    def due(self) -> float:
        """When the next one is to leave; never when there is none."""
        return self._waiting[0][0] if self._waiting else float("inf")

    def read(self) -> None:
        """Take in what has been sent."""
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = os.read(self.source, _PACKET)
                self._waiting.append((time.monotonic() + self._delay, packet))

    def write(self) -> None:
        """Pass on what is due."""
        while self.due <= time.monotonic():
            with contextlib.suppress(OSError):  # not up yet, or full: lost, as packets are
                os.write(self.target, self._waiting.popleft()[1])


def relay(directions: list[Direction], control: int) -> None:
    """Hold and pass on until ``control`` ends."""
    by_source = {each.source: each for each in directions}
    while True:
        wait = max(0.0, min(min(each.due for each in directions) - time.monotonic(), 1.0))
        ready = select.select([*by_source, control], [], [], wait)[0]
        for descriptor in ready:
            if descriptor in by_source:
                by_source[descriptor].read()
            elif not os.read(control, 64):
                return
        for each in directions:
            each.write()


def main(rtt: float, number: int) -> None:
    """Make the devices and relay."""
    os.nice(_HASTE)  # late packets would be measured
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    near = network.tunnel(f"slow{number}", client_side(number))
    network.leave()
    network.without_pacing()
    far = network.tunnel(f"slow{number}", server_side(number))
    print("ready", flush=True)
    delay = rtt / 2000
    relay([Direction(near, far, delay), Direction(far, near, delay)], sys.stdin.fileno())


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
