"""Write the folders and configuration of one Postfix instance below its root's /mnt.

Postfix's own start script is not used (it wants a shell and half a system): making the queue
folders with the right owners is all that it would do for us.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from requiretls_client.testing import Certificate

from .certificates import bundle
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
queue_directory = {place}/queue
data_directory = {place}/data
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
default_database_type = texthash
alias_maps =
alias_database =
maillog_file = {place}/log
maillog_file_prefixes = /mnt
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {place}/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
smtpd_peername_lookup = no
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_chain_files = {place}/etc/{certificate}
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


@dataclass(frozen=True, slots=True)
class Instance:
    """What makes one instance different from another.

    Attributes:
        name: its host name.
        certificates: file name -> certificate; the first is its own.
        listeners: where it takes mail.
        domains: those it stores mail of.
        place: its folder, as seen from inside its root.
        settings: more main.cf lines.
        services: more master.cf lines.
    """

    name: str
    certificates: dict[str, Certificate]
    listeners: tuple[Listener, ...]
    domains: tuple[str, ...] = ()
    place: str = "/mnt"
    settings: str = ""
    services: str = ""


def write(root: Path, instance: Instance) -> Path:
    """Fill the instance's folder below `root`; returns it."""
    home = root / instance.place.removeprefix("/")
    for folder in ("", "etc", "queue", "queue/pid", "mail"):
        _folder(home / folder, 0, 0, 0o755)
    for folder in QUEUE_PRIVATE:
        _folder(home / "queue" / folder, POSTFIX_UID, 0, 0o700)
    _folder(home / "queue/public", POSTFIX_UID, POSTDROP_GID, 0o710)
    _folder(home / "queue/maildrop", POSTFIX_UID, POSTDROP_GID, 0o730)
    _folder(home / "data", POSTFIX_UID, POSTFIX_UID, 0o700)
    _folder(home / "mail", POSTFIX_UID, POSTFIX_UID, 0o700)
    for file, certificate in instance.certificates.items():
        (home / "etc" / file).write_bytes(bundle(certificate))
    main = MAIN.format(
        name=instance.name, domain=instance.name.partition(".")[2], uid=POSTFIX_UID,
        place=instance.place, domains=" ".join(instance.domains),
        certificate=next(iter(instance.certificates)),
    )  # fmt: skip
    _config(home / "etc/main.cf", main + instance.settings)
    lines = [listener.master_line() for listener in instance.listeners]
    _config(home / "etc/master.cf", SERVICES + instance.services + "".join(lines))
    return home


def _config(path: Path, text: str) -> None:
    """Write a configuration file, dated back: Postfix sleeps until one is two seconds old."""
    path.write_text(text)
    os.utime(path, (0, 0))


def _folder(path: Path, uid: int, gid: int, mode: int) -> None:
    """Make `path` with this owner and mode, if need be anew."""
    path.mkdir(exist_ok=True)
    os.chown(path, uid, gid)
    path.chmod(mode)
