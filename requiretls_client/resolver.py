"""DNS answers with their DNSSEC status.

A stub: it asks validating servers and believes their AD bit where there is reason to (RFC 4035
section 4.9.3, see ``resolvconf``). Does I/O, decides nothing about mail. What goes wrong in the
DNS is part of the :class:`~requiretls_client.facts.Answer`, not an exception.

Names are absolute; search domains are never used. There is no cache: the servers have one.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from requiretls_client import tls
from requiretls_client.facts import MX, SRV, TLSA, Answer, Link
from requiretls_client.nameserver import Malformed, NameServer, Question
from requiretls_client.resolvconf import checked_addresses, judge_trust, system_nameservers
from requiretls_client.syntax import printable, reference_name

_PATIENCE = 2.0  # seconds for the first answer of a server; twice as long in each further round

_NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")

# RFC 8914 s4.7 to s4.13, and 25 (Signature Expired before Valid) of the IANA registry. Not 1 and
# 2 (unsupported algorithms make a zone insecure, RFC 4035 s5.2) and not 5, which says of itself
# that it is Indeterminate.
_BOGUS = frozenset({6, 7, 8, 9, 10, 11, 12, 25})


class Resolver:
    """Asks the DNS, in any number of threads at once.

    Attributes:
        nameservers: IP addresses, in the order in which they are asked.
        trusted: whether these servers are trusted to validate DNSSEC.
        trust_reason: why, or why not: one clause for people.
    """

    def __init__(
        self,
        nameservers: Sequence[str] | None = None,
        port: int | None = None,
        trust_ad: bool | None = None,
        timeout: float = 10.0,
        *,
        tls_hostname: str | None = None,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        """Choose the name servers; nothing is asked yet.

        Args:
            nameservers: IP addresses; None takes the system's.
            port: of all of them; None is 53, or 853 with ``tls_hostname``.
            trust_ad: whether to believe their AD bit. None does when all of them are on
                loopback (but not Docker's forwarder), or when resolv.conf names them and says
                ``options trust-ad``.
            timeout: seconds for one question, with all servers and repetitions.
            tls_hostname: ask over TLS, verified for this name, and in no other way. That the
                servers validate is not said by it: ``trust_ad=True`` does.
            tls_context: which roots to trust for it; None: certifi's.

        Raises:
            ValueError: no or bad addresses, a bad port or timeout, TLS without ``nameservers``,
                or a context that does not verify.
        """
        if not timeout > 0:
            raise ValueError("timeout must be more than 0 seconds")
        if port is not None and not 0 < port < 65536:
            raise ValueError("port must be from 1 to 65535")
        if tls_hostname is not None:
            tls_hostname = reference_name(tls_hostname, "tls_hostname")
            if nameservers is None:
                raise ValueError("tls_hostname needs nameservers: their addresses")
        if tls_context is not None:
            if tls_hostname is None:
                raise ValueError("tls_context needs tls_hostname, the name to verify")
            if not tls.verifies(tls_context):
                raise ValueError("tls_context must verify chain and name")
        file_says = False
        if nameservers is None:
            nameservers, file_says = system_nameservers()
        self.nameservers = checked_addresses(nameservers)
        self.trusted, self.trust_reason = judge_trust(
            self.nameservers, trust_ad=trust_ad, file_says=file_says
        )
        self._timeout = timeout
        port = port or (53 if tls_hostname is None else 853)
        self._servers = [
            NameServer(address, port, tls_hostname, tls_context) for address in self.nameservers
        ]

    def query(self, name: str, rdtype: str) -> Answer:
        """Return what the DNS says to one question, CNAMEs followed.

        Args:
            name: domain name, taken as absolute; U-labels are converted (UTS 46).
            rdtype: ``MX``, ``A``, ``AAAA``, ``TXT``, ``TLSA`` or ``SRV``.

        Raises:
            ValueError: no domain name, or another type.
        """
        if rdtype not in _READERS:
            raise ValueError(f"rdtype must be one of {', '.join(_READERS)}")
        qname = _absolute(name)
        deadline = time.monotonic() + self._timeout
        try:
            answer = self._answer(qname, rdtype, deadline)
            # RFC 7672 s2.1.3, s2.2.2: AD speaks for all links together, and the TLSA records of
            # the first name count when the first one is secure.
            mixed = self.trusted and answer.status == "insecure" and rdtype in ("A", "AAAA")
            if mixed and answer.links:
                answer = replace(answer, links=self._judge_links(answer.links, deadline))
        except _Failure as failure:
            return Answer(
                _text(qname), rdtype, failure.outcome, failure.status, problem=failure.problem
            )
        return answer

    def _answer(self, qname: dns.name.Name, rdtype: str, deadline: float) -> Answer:
        """Ask the question; what leads from the asked name over CNAMEs counts, and no other."""
        message, chain = self._look_up(qname, rdtype, deadline)
        status = "secure" if self._is_secure(message) else "insecure"
        if chain.answer is not None:
            outcome = "records"
        else:
            outcome = "nxdomain" if message.rcode() == dns.rcode.NXDOMAIN else "nodata"
        return Answer(
            name=_text(qname),
            rdtype=rdtype,
            outcome=outcome,
            status=status,
            records=tuple(_READERS[rdtype](rdata) for rdata in chain.answer or ()),
            canonical=_text(chain.canonical_name),
            links=tuple(
                Link(_text(cname.name), _text(cname[0].target), status) for cname in chain.cnames
            ),
        )

    def _judge_links(self, links: tuple[Link, ...], deadline: float) -> tuple[Link, ...]:
        """Return the links with the status of each; behind an insecure one none is secure.

        Raises:
            _Failure: RFC 7672 s2.1.3: an error at one link fails the look-up as a whole.
        """
        judged = []
        secure = True
        for link in links:
            secure = secure and self._is_secure_link(link, deadline)
            judged.append(replace(link, status="secure" if secure else "insecure"))
        return tuple(judged)

    def _is_secure_link(self, link: Link, deadline: float) -> bool:
        message, chain = self._look_up(dns.name.from_text(link.name), "CNAME", deadline)
        if not self._is_secure(message):
            return False
        # It is only of the record that this answer holds that AD speaks.
        if chain.answer is None or _text(chain.answer[0].target) != link.target:
            problem = f"the CNAME of {link.name} changed between two questions"
            raise _Failure("broken", "indeterminate", printable(problem))
        return True

    def _is_secure(self, message: dns.message.Message) -> bool:
        return self.trusted and bool(message.flags & dns.flags.AD)

    def _look_up(
        self, qname: dns.name.Name, rdtype: str, deadline: float
    ) -> tuple[dns.message.QueryMessage, dns.message.ChainingResult]:
        """Ask one server after another, the silent ones again and again, until one answers.

        That data is bogus is an answer: a server that does not validate must not overrule it.

        Raises:
            _Failure: none of them answered.
        """
        question = Question(qname, dns.rdatatype.from_text(rdtype))
        failures: dict[str, _Failure] = {}
        servers, patience = self._servers, _PATIENCE
        while servers:
            silent = []
            for position, server in enumerate(servers):
                now = time.monotonic()
                if now >= deadline:
                    raise _sum_up(failures)
                share = (deadline - now) / (len(servers) - position)
                try:
                    message = server.ask(question, now + min(patience, share))
                    return _check(message, server)
                except TimeoutError:
                    silent.append(server)
                    failure = _failure("timeout", "no answer", server)
                except (OSError, Malformed) as error:
                    details = getattr(error, "strerror", None) or str(error)
                    failure = _failure("broken", "no usable answer", server, details)
                except _Failure as answered:
                    if answered.status == "bogus":
                        raise
                    failure = answered
                failures[server.address] = failure
            servers, patience = silent, patience * 2
        raise _sum_up(failures)


class _Failure(Exception):
    """A look-up that failed; the fields are those of an Answer."""

    def __init__(self, outcome: str, status: str, problem: str) -> None:
        super().__init__(problem)
        self.outcome, self.status, self.problem = outcome, status, problem


def _failure(
    outcome: str, what: str, server: NameServer, details: str = "", status: str = "indeterminate"
) -> _Failure:
    problem = f"{what} from {server.address}"
    return _Failure(outcome, status, printable(f"{problem}: {details}" if details else problem))


def _sum_up(failures: Mapping[str, _Failure]) -> _Failure:
    """Return the failures of all servers as one; what says most about the domain decides."""
    if not failures:
        return _Failure("timeout", "indeterminate", "no time was left for the question")
    outcomes = [failure.outcome for failure in failures.values()]
    outcome = next(known for known in ("servfail", "timeout", "broken") if known in outcomes)
    problem = "; ".join(failure.problem for failure in failures.values())
    return _Failure(outcome, "indeterminate", problem)


def _check(
    message: dns.message.QueryMessage, server: NameServer
) -> tuple[dns.message.QueryMessage, dns.message.ChainingResult]:
    """Return the message and its CNAME chain, if the server did answer the question.

    Raises:
        _Failure: it did not.
    """
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        errors = message.extended_errors()
        bogus = rcode == dns.rcode.SERVFAIL and any(error.code in _BOGUS for error in errors)
        raise _failure(
            "servfail" if rcode == dns.rcode.SERVFAIL else "broken",
            dns.rcode.to_text(rcode),
            server,
            ", ".join(error.to_text() for error in errors),
            "bogus" if bogus else "indeterminate",
        )
    try:
        chain = message.resolve_chaining()  # at most 15 CNAMEs
    except dns.message.ChainTooLong:
        raise _failure("broken", "a CNAME loop or too many CNAMEs", server) from None
    except dns.exception.DNSException as error:
        raise _failure("broken", "no usable answer", server, str(error)) from None
    if chain.answer is None and not message.flags & (dns.flags.RA | dns.flags.AA):
        # A referral: it knows others who may know (RFC 1034 s4.3.2), which is no NODATA.
        raise _failure("broken", "no recursion", server)
    return message, chain


def _absolute(name: str) -> dns.name.Name:
    """Return the domain name to ask for.

    Letters, digits, hyphens and underscores are enough, in any order, for a name that is ASCII:
    it may have come from the DNS itself. Other labels become A-labels.

    Raises:
        ValueError: no domain name, or an IP address.
    """
    if not name.isascii():
        import idna

        labels = idna.uts46_remap(name, std3_rules=False).split(".")  # underscores: below
        name = ".".join(
            label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels
        )
    if not _NAME.fullmatch(name):
        raise ValueError("name is no domain name")
    try:
        ipaddress.ip_address(name.removesuffix("."))
    except ValueError:
        pass
    else:
        raise ValueError("name is an IP address, no domain name")
    try:
        return dns.name.from_text(name.lower())
    except dns.exception.DNSException as error:
        raise ValueError(f"name is no domain name: {error}") from None


def _text(name: dns.name.Name) -> str:
    """Return a name in lower case without the final dot; "" for the root.

    It is presentation format (RFC 1035 s5.1): a dot inside a label, a blank, NUL or octet beyond
    ASCII is escaped with a backslash, so that such a name is never taken for a usable one.
    """
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True).lower()


def _tlsa(data: bytes) -> TLSA:
    """Return a TLSA record; one without its three numbers gets 255, which nobody can use."""
    usage, selector, matching = data[:3].ljust(3, b"\xff")
    return TLSA(usage, selector, matching, data[3:])


# One record from its wire form. dnspython types rdata as their base class.
_READERS: dict[str, Callable[[Any], MX | TLSA | SRV | str]] = {
    "MX": lambda rdata: MX(rdata.preference, _text(rdata.exchange)),
    "A": lambda rdata: str(rdata.address),
    "AAAA": lambda rdata: str(rdata.address),
    # RFC 8461 s3.1. One character an octet, so that those beyond ASCII stay what they are.
    "TXT": lambda rdata: b"".join(rdata.strings).decode("latin-1"),
    "TLSA": lambda rdata: _tlsa(rdata.data),
    "SRV": lambda rdata: SRV(rdata.priority, rdata.weight, rdata.port, _text(rdata.target)),
}
