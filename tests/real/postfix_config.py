"""Write the folders and configuration of one Postfix instance below its root's /mnt.

Postfix's own start script is not used (it wants a shell and half a system): making the queue
folders with the right owners is all that it would do for us.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .places import POSTDROP_GID, POSTFIX_UID

QUEUE_PRIVATE = (
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
    "saved", "trace",
)  # fmt: skip

MAIN = """\
compatibility_level = 3.6
myhostname = {name}
mydomain = {domain}
mydestination =
mynetworks =
inet_interfaces = all
inet_protocols = ipv4
queue_directory = /mnt/queue
data_directory = /mnt/data
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
default_database_type = texthash
alias_maps =
alias_database =
maillog_file = /mnt/log
maillog_file_prefixes = /mnt
virtual_mailbox_domains = {domain}
virtual_mailbox_base = /mnt/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
smtpd_peername_lookup = no
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_chain_files = /mnt/etc/{certificate}
smtpd_tls_loglevel = 1
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
# Every command line that a client sends is logged, whatever becomes of it.
debug_peer_list = 127.0.0.0/8
debug_peer_level = 1
"""

SERVICES = """\
cleanup  unix n - n -   0 cleanup
qmgr     unix n - n 300 1 qmgr
tlsmgr   unix - - n -   1 tlsmgr
rewrite  unix - - n -   - trivial-rewrite
proxymap unix - - n -   - proxymap
bounce   unix - - n -   0 bounce
defer    unix - - n -   0 bounce
trace    unix - - n -   0 bounce
error    unix - - n -   - error
retry    unix - - n -   - error
virtual  unix - n n -   - virtual
anvil    unix - - n -   1 anvil
postlog  unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Listener:
    """One address and port; `settings` are main.cf lines that hold for it alone."""

    address: str
    port: int
    settings: tuple[str, ...] = ()

    def master_line(self) -> str:
        """Return its entry of master.cf."""
        options = "".join(f"  -o {setting}\n" for setting in self.settings)
        return f"{self.address}:{self.port} inet n - n - - smtpd\n{options}"


def write(mnt: Path, name: str, listeners: list[Listener], certificates: dict[str, bytes]) -> None:
    """Fill `mnt`; the first of `certificates` (file name to PEM) is the instance's own."""
    for folder in ("etc", "queue", "queue/pid", "mail"):
        _folder(mnt / folder, 0, 0, 0o755)
    for folder in QUEUE_PRIVATE:
        _folder(mnt / "queue" / folder, POSTFIX_UID, 0, 0o700)
    _folder(mnt / "queue/public", POSTFIX_UID, POSTDROP_GID, 0o710)
    _folder(mnt / "queue/maildrop", POSTFIX_UID, POSTDROP_GID, 0o730)
    _folder(mnt / "data", POSTFIX_UID, POSTFIX_UID, 0o700)
    _folder(mnt / "mail", POSTFIX_UID, POSTFIX_UID, 0o700)
    for file, pem in certificates.items():
        (mnt / "etc" / file).write_bytes(pem)
    domain, own = name.partition(".")[2], next(iter(certificates))
    main = MAIN.format(name=name, domain=domain, uid=POSTFIX_UID, certificate=own)
    _config(mnt / "etc/main.cf", main)
    lines = [listener.master_line() for listener in listeners]
    _config(mnt / "etc/master.cf", SERVICES + "".join(lines))


def _config(path: Path, text: str) -> None:
    """Write a configuration file, dated back: Postfix sleeps until one is two seconds old."""
    path.write_text(text)
    os.utime(path, (0, 0))


def _folder(path: Path, uid: int, gid: int, mode: int) -> None:
    """Make `path` with this owner and mode, if need be anew."""
    path.mkdir(exist_ok=True)
    os.chown(path, uid, gid)
    path.chmod(mode)
