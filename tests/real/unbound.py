"""unbound as the resolver of the small internet: it holds every zone itself, and validates them.

An auth-zone that serves upstream is where unbound looks before it would ask a name server; what
it finds there goes through the validator like any answer from the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .dns_tree import Tree
from .places import RESOLVER
from .process import serve

SERVER = f"""\
server:
    interface: {RESOLVER}
    do-ip6: no
    access-control: 127.0.0.0/8 allow
    username: ""
    chroot: ""
    directory: "/mnt"
    pidfile: ""
    use-syslog: no
    num-threads: 1
    module-config: "validator iterator"
    trust-anchor-file: "/mnt/root.key"
    trust-anchor-signaling: no
    root-key-sentinel: no
    val-log-level: 2
    ede: yes
    do-not-query-localhost: no
    # By itself it knows that nothing is below test., RFC 6761 s6.2.
    local-zone: "test." nodefault
remote-control:
    control-enable: no
"""
AUTH_ZONE = """\
auth-zone:
    name: "{name}"
    zonefile: "/mnt/{name}zone"
    for-downstream: no
    for-upstream: yes
    fallback-enabled: no
"""


@contextmanager
def running(root: Path, tree: Tree) -> Iterator[None]:
    """Run the unbound in the unpacked `root` on places.RESOLVER, port 53, UDP and TCP."""
    mnt = root / "mnt"
    for name, text in tree.files.items():
        (mnt / f"{name}zone").write_text(text)
    (mnt / "root.key").write_text(tree.trust_anchor)
    zones = [AUTH_ZONE.format(name=name) for name in tree.files]
    (mnt / "unbound.conf").write_text(SERVER + "".join(zones))
    command = ["chroot", root, "/usr/sbin/unbound", "-d", "-c", "/mnt/unbound.conf"]
    yield from serve(command, mnt / "log", [(RESOLVER, 53)])
