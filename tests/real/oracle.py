"""Two judges that are not ours: Postfix 3.11 relaying a message, and its posttls-finger.

Postfix with ``smtp_requiretls_policy = enforce`` relays a message that asks for REQUIRETLS under
the rules of RFC 8689 and RFC 7672, and its log says how each recipient's delivery went. MTA-STS it
leaves to plug-ins that look policies up and answer with a TLS policy of Postfix's own; what they
would say stands in a table here. posttls-finger tells how the TLS of a domain's mail host was
authenticated, and sends nothing.
"""

from __future__ import annotations

import os
import re
import smtplib
import ssl
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .certificates import RealCA
from .postfix import Postfix, run
from .postfix_config import Instance, Listener
from .process import poll
from .zones import INSECURE, ZONES, Zone

PLACE = "/mnt/judge"
CA_FILE = "/mnt/judge-ca.pem"
TLS_POLICIES = "/mnt/judge-tls-policies"

SETTINGS = f"""\
smtp_requiretls_policy = enforce
smtp_dns_support_level = dnssec
smtp_tls_security_level = dane
smtp_tls_CAfile = {CA_FILE}
smtp_tls_policy_maps = texthash:{TLS_POLICIES}
smtp_tls_loglevel = 1
# Where the bounces go.
transport_maps = inline:{{judged.test=discard:}}
"""
SERVICES = """\
smtp     unix - - n -   - smtp
  -o debug_peer_list=
discard  unix - - n -   - discard
"""
# Mail from loopback is relayed to wherever it wants.
TO_ANYWHERE = (
    "mynetworks=127.0.0.0/8",
    "smtpd_relay_restrictions=permit_mynetworks,reject_unauth_destination",
)
VERDICT = re.compile(
    r" to=<(?P<token>[^@]+)@[^>]+>, relay=(?P<host>[^\[,]+)[^ ]*, .*?"
    r"(?:tls=(?P<tls>\S+), )?dsn=(?P<dsn>[\d.]+), status=(?P<status>\w+) \((?P<text>.*)\)$",
    re.MULTILINE,
)
FINGER = re.compile(r"(\w+) TLS connection established to ([\w.-]+)\[")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What Postfix logged about one recipient.

    Attributes:
        word: of the TLS level and REQUIRETLS, such as ``dane/requiretls``; "" when it got to
            no server.
        status: the enhanced status code; 2.x.x where the message went out.
        host: the name in the MX record of the last host that was tried; ``none`` for none.
        action: sent, bounced or deferred.
        text: Postfix's explanation.
    """

    word: str
    status: str
    host: str
    action: str
    text: str

    @property
    def verdict(self) -> str:
        """The outcome in the words of zones.Zone."""
        return f"delivered:{self.host}" if self.action == "sent" else self.status


class Judge(Postfix):
    """A Postfix 3.11 that relays, and whose log is read."""

    def __init__(self, root: Path) -> None:
        """Speak for the instance in the unpacked `root`."""
        super().__init__(root / PLACE.removeprefix("/"), "judge.real.test")
        self._root = root

    def judge(self, recipients: Mapping[str, str], timeout: float = 60) -> dict[str, Judgement]:
        """Have it relay a message with REQUIRETLS to each recipient.

        Args:
            recipients: token -> domain; the message goes to ``token@domain``.
            timeout: seconds to wait for all verdicts together.

        Returns:
            token -> what became of it.
        """
        with smtplib.SMTP(self.host, 25, local_hostname="judged.test", timeout=10) as session:
            session.starttls(context=_unverified())
            session.ehlo()
            for token, domain in recipients.items():
                message = f"Subject: {token}\r\n\r\nhello\r\n"
                to = [f"{token}@{domain}"]
                session.sendmail(f"{token}@judged.test", to, message, ["REQUIRETLS"])
        poll(lambda: recipients.keys() <= self._verdicts().keys(), timeout)
        found = self._verdicts()
        missing = [domain for token, domain in recipients.items() if token not in found]
        assert not missing, f"no verdict about {missing}"
        return {token: found[token] for token in recipients}

    def finger(self, domains: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Ask posttls-finger about all domains at once, with DANE.

        Returns:
            domain -> its word for the TLS of the host that it got to, or "", and all that it said.
        """
        program = ["chroot", str(self._root), "/usr/sbin/posttls-finger"]
        environment = {**os.environ, "MAIL_CONFIG": f"{PLACE}/etc"}
        running = {
            domain: subprocess.Popen(
                [*program, "-c", "-l", "dane", "-F", CA_FILE, domain], env=environment, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
            for domain in domains
        }  # fmt: skip
        said = {domain: process.communicate(timeout=60)[0] for domain, process in running.items()}
        words = {domain: FINGER.search(text) for domain, text in said.items()}
        return {domain: (word[1] if word else "", said[domain]) for domain, word in words.items()}

    def _verdicts(self) -> dict[str, Judgement]:
        """Return every first verdict so far: token -> judgement."""
        found: dict[str, Judgement] = {}
        for line in VERDICT.finditer(self.log()):
            word, status = line["tls"] or "", line["dsn"]
            judgement = Judgement(word, status, line["host"], line["status"], line["text"])
            found.setdefault(line["token"], judgement)
        return found


def _unverified() -> ssl.SSLContext:
    """Return a context for the way to the judge, where nothing has to be proved."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def running_judge(root: Path, ca: RealCA) -> Iterator[Judge]:
    """Run the relay in the unpacked root of Postfix 3.11, beside the instance that takes mail."""
    (root / CA_FILE.removeprefix("/")).write_bytes(ca.path.read_bytes())
    (root / TLS_POLICIES.removeprefix("/")).write_text("".join(map(tls_policy, ZONES)))
    server = Judge(root)
    listeners = (Listener(server.host, 25, TO_ANYWHERE),)
    instance = Instance(
        server.name, {"own.pem": ca.issue(server.name)}, listeners,
        place=PLACE, settings=SETTINGS, services=SERVICES,
    )  # fmt: skip
    yield from run(root, server, instance)


def tls_policy(zone: Zone) -> str:
    """Return the line of Postfix's TLS policy table for a domain, or "".

    It says what an MTA-STS plug-in would say, which speaks for enforced policies alone. Where
    there is DNSSEC the judge does not listen to it: its answer takes the place of DANE, and RFC
    8461 s2 wants DANE to prevail.
    """
    if zone.by_pkix:
        return f"{zone.domain} verify\n"
    policy = zone.policy
    if policy is None or policy.mode != "enforce" or policy.fault or zone.signing != INSECURE:
        return ""
    patterns = ":".join(pattern.removeprefix("*") for pattern in policy.mx)
    return f"{zone.domain} secure match={patterns} servername=hostname\n"
