"""The domains of the tests' small internet, and what a sender must do with each.

A table that is meant to grow: one `Zone` is one recipient domain below ``test.``. Its records are
a master file with three additions: ``{peer}`` is the address of one of places.PEERS,
``{peer:3 1 1}`` a TLSA record that fits its certificate (usage 2: its trust anchor), ``{wrong}``
the SHA-256 of nothing at all. A peer's certificate holds every name whose address, with or
without CNAMEs between, is the peer's; see `names_of`. The peer off_limits would take any message,
and one with require_tls never gets there: not even a connection may be made to it.

Ids such as B2 and STS-24 are rows of the requirements, see docs/standards.rst. Data only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SIGNED = "signed"  # with NSEC, as most of the tree is
NSEC3 = "nsec3"  # signed, denial with NSEC3 (RFC 5155)
INSECURE = "insecure"  # delegated without DS: answers are good but prove nothing
WRONG_DS = "wrong-ds"  # signed, and the parent's DS is of another key: bogus
LAPSED = "lapsed"  # signed, and the signatures have expired: bogus
WITHIN = "within"  # no zone of its own: its records, if any, stand in TOP or in another zone

WRONG = "00" * 32

_ANNOUNCED = """
    _mta-sts TXT "v=STSv1; id=1;"
    mta-sts  A   {policies}
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """What ``https://mta-sts.<domain>/.well-known/mta-sts.txt`` answers.

    Attributes:
        mx: the patterns.
        mode: enforce, testing or none.
        fault: how the answer is spoiled; see `mta_sts`, which plays them. "" for not at all,
            ``unannounced`` where the DNS does not lead to it. Under each fault lies a policy
            that a careless client would deliver by.
        announced: the records that lead to it.
    """

    mx: tuple[str, ...]
    mode: str = "enforce"
    fault: str = ""
    announced: str = _ANNOUNCED


@dataclass(frozen=True, slots=True)
class Zone:
    """One recipient domain.

    Attributes:
        name: without ``.test``.
        signing: one of the constants above.
        records: master file lines, relative to the zone.
        reqtls: what must become of a message with require_tls: ``delivered:`` and the name in
            the MX record of the host that gets it, or the status of the refusal, which no host
            may see a MAIL command of.
        must: what a sender must do, and why, in a sentence.
        policy: of MTA-STS.
        postfix_says: what Postfix 3.11 is expected to say with smtp_requiretls_policy=enforce,
            where that is something else than `reqtls`; in the same words.
        why: why Postfix says something else.
        by_pkix: Postfix is told to verify by PKIX (its level verify). By itself (level dane) it
            never does, and refuses.
        finger: the words of posttls-finger -l dane about the first host that it gets to:
            ``Verified``, ``Trusted``, ``Untrusted``; "" when it gets to none.
        spoil: record types whose data are changed after signing: bogus, the rest of the zone not.
        spoil_at: only at this owner, relative to the zone; "" for everywhere.
    """

    name: str
    signing: str
    records: str
    reqtls: str
    must: str
    policy: Policy | None = None
    postfix_says: str = ""
    why: str = ""
    by_pkix: bool = False
    finger: str = "Verified"
    spoil: tuple[str, ...] = ()
    spoil_at: str = ""

    @property
    def domain(self) -> str:
        """The recipient domain."""
        return f"{self.name}.test"

    @property
    def postfix(self) -> str:
        """What Postfix 3.11 is expected to say."""
        return self.postfix_says or self.reqtls

    @property
    def delivered(self) -> str:
        """The host that must get the message, or ""."""
        word, _, host = self.reqtls.partition(":")
        return host if word == "delivered" else ""


# Beside the delegations in ``test.`` itself.
TOP = """
    alias-secure   CNAME dane
    alias-insecure CNAME sts
    loop           CNAME pool
    pool           CNAME loop
"""

OTHER_CODE = "another code for the same"
HALF_DANE = "smtp_tls_dane_insecure_mx_policy = dane, its default: the host's DANE is enough for it"
NO_POLICY = "a plug-in that could not fetch the policy says nothing"
DANE_ALONE = "the judge hears no MTA-STS plug-in where there is DNSSEC"

_GOOD = """
    @  MX 10 mx
    mx A {postfix311}
"""
_MATCHING = _GOOD + "_25._tcp.mx TLSA {postfix311:3 1 1}"


def _one_host(peer: str, tlsa: str = "") -> str:
    """Return the records of a domain with one MX host, with or without a TLSA record."""
    lines = ["@ MX 10 mx", f"mx A {{{peer}}}", *([f"_25._tcp.mx TLSA {tlsa}"] if tlsa else [])]
    return "\n".join(lines)


_BARRED = _one_host("off_limits", "{off_limits:3 1 1}")

DANE = (
    Zone(
        "dane", SIGNED,
        """
        @            MX   10 mx1
        @            MX   20 mx2
        mx1          A    {postfix311}
        mx2          A    {hidden}
        _25._tcp.mx1 TLSA {postfix311:3 1 1}
        _25._tcp.mx2 TLSA 3 1 1 {wrong}
        _submission._tcp  SRV 0 1 587 mx.real.test.
        _submissions._tcp SRV 0 1 465 mx.real.test.
        """,
        "delivered:mx1.dane.test",
        "Deliver to the first: all is secure and its TLSA record matches (B1).",
    ),
    Zone(
        "relay", SIGNED, _one_host("smtp_server", "{smtp_server:3 1 1}"),
        "delivered:mx.relay.test",
        "Deliver: a second implementation of REQUIRETLS, npm's smtp-server.",
    ),
    Zone(
        "noreq", SIGNED, _one_host("postfix37", "{postfix37:3 1 1}"),
        "5.7.30",
        "Refuse: Postfix 3.7 is verified and does not know REQUIRETLS (C1).",
    ),
    Zone(
        "first-without", SIGNED,
        """
        @            MX   10 mx1
        @            MX   20 mx2
        mx1          A    {postfix37}
        mx2          A    {postfix311}
        _25._tcp.mx1 TLSA {postfix37:3 1 1}
        _25._tcp.mx2 TLSA {postfix311:3 1 1}
        """,
        "delivered:mx2.first-without.test",
        "QUIT at the first, which lacks REQUIRETLS, and deliver to the second (RT-07).",
    ),
    Zone(
        "cert-ee", SIGNED, _one_host("postfix311", "{postfix311:3 0 1}"),
        "delivered:mx.cert-ee.test",
        "Deliver: the record is of the whole certificate (TLSA-03).",
    ),
    Zone(
        "sha512", SIGNED, _one_host("postfix311", "{postfix311:3 1 2}"),
        "delivered:mx.sha512.test",
        "Deliver: SHA-512 (TLSA-03).",
    ),
    Zone(
        "full-key", SIGNED, _one_host("postfix311", "{postfix311:3 1 0}"),
        "delivered:mx.full-key.test",
        "Deliver: the key itself, not a digest (TLSA-03).",
    ),
    Zone(
        "rollover", SIGNED,
        _one_host("postfix311", "3 1 1 {wrong}") + "\n_25._tcp.mx TLSA {postfix311:3 1 1}",
        "delivered:mx.rollover.test",
        "Deliver: one matching record of several suffices (TLSA-10).",
    ),
    Zone(
        "many", SIGNED,
        _one_host("postfix311", "{postfix311:3 1 1}")
        + "".join(f"\n_25._tcp.mx TLSA 3 1 1 {number:064x}" for number in range(40)),
        "delivered:mx.many.test",
        "Deliver: so many TLSA records that the answer comes over TCP (RFC 7766).",
    ),
    Zone(
        "xn--bcher-kva", SIGNED, _MATCHING,
        "delivered:mx.xn--bcher-kva.test",
        "Deliver to an internationalized domain, all names in A-labels (UTF-03, DANE-20).",
    ),
    Zone(
        "agility", SIGNED,
        _one_host("postfix311", "{postfix311:3 0 1}") + "\n_25._tcp.mx TLSA 3 0 2 {wrong}{wrong}",
        "5.7.10",
        "Refuse: the stronger digest counts alone, and it does not match (TLSA-08).",
        finger="Untrusted",
    ),
    Zone(
        "agility-key", SIGNED,
        _one_host("postfix311", "{postfix311:3 1 1}") + "\n_25._tcp.mx TLSA 3 1 2 {wrong}{wrong}",
        "5.7.10",
        "Refuse: the same with digests of the key (TLSA-08).",
        postfix_says="delivered:mx.agility-key.test",
        why="such records make the two Postfixes agree on a raw public key (RFC 7250), for which "
        "OpenSSL weighs no digests; at a server with a certificate it refuses as well",
    ),
    Zone(
        "mismatch", SIGNED, _one_host("postfix311", "3 1 1 {wrong}"),
        "5.7.10",
        "Refuse: a good PKIX chain does not rescue a TLSA mismatch (B1).",
        finger="Untrusted",
    ),
    Zone(
        "ee-expired", SIGNED, _one_host("expired", "{expired:3 1 1}"),
        "delivered:mx.ee-expired.test",
        "Deliver: usage 3 ignores expiry (DANE-22).",
    ),
    Zone(
        "ee-misnamed", SIGNED, _one_host("misnamed", "{misnamed:3 1 1}"),
        "delivered:mx.ee-misnamed.test",
        "Deliver: usage 3 ignores names (DANE-22).",
    ),
    Zone(
        "ee-untrusted", SIGNED, _one_host("untrusted", "{untrusted:3 1 1}"),
        "delivered:mx.ee-untrusted.test",
        "Deliver: usage 3 asks for no authority (RT-04).",
    ),
    Zone(
        "plain", SIGNED, _one_host("plain", "{postfix311:3 1 1}"),
        "5.7.10",
        "Refuse: the server offers no STARTTLS (C2).",
        postfix_says="5.7.30", why=OTHER_CODE, finger="",
    ),
    Zone(
        "not-now", SIGNED, _one_host("not_now", "{not_now:3 1 1}"),
        "4.7.10",
        "Try later: STARTTLS is answered with 454 (C3).",
        postfix_says="5.7.10", why="it takes the 454 for final", finger="",
    ),
)  # fmt: skip

DANE_TA = (
    Zone(
        "ta-key", SIGNED, _one_host("private", "{private:2 1 1}"),
        "delivered:mx.ta-key.test",
        "Deliver: the trust anchor is in the chain, its key in the record.",
    ),
    Zone(
        "ta-cert", SIGNED, _one_host("private", "{private:2 0 1}"),
        "delivered:mx.ta-cert.test",
        "Deliver: the trust anchor is in the chain, its digest in the record.",
    ),
    Zone(
        "ta-full", SIGNED, _one_host("private_bare", "{private_bare:2 0 0}"),
        "delivered:mx.ta-full.test",
        "Deliver: the trust anchor is in the DNS only, as a whole (TLSA-04).",
    ),
    Zone(
        "ta-absent", SIGNED, _one_host("private_bare", "{private_bare:2 1 1}"),
        "5.7.10",
        "Refuse: a digest in the record, and the trust anchor is not in the chain (TLSA-05).",
        finger="Untrusted",
    ),
    Zone(
        "ta-next-hop", SIGNED, _one_host("private_next_hop", "{private_next_hop:2 1 1}"),
        "delivered:mx.ta-next-hop.test",
        "Deliver: the certificate names the recipient domain, the MX being secure (DANE-24).",
    ),
    Zone(
        "ta-misnamed", SIGNED, _one_host("private_misnamed", "{private_misnamed:2 1 1}"),
        "5.7.10",
        "Refuse: usage 2 checks names, and this certificate is for another host (DANE-23).",
        finger="Trusted",
    ),
    Zone(
        "ta-expired", SIGNED, _one_host("private_expired", "{private_expired:2 1 1}"),
        "5.7.10",
        "Refuse: usage 2 checks validity, and this certificate has expired (RFC 7671 s5.2).",
        finger="Untrusted",
    ),
)  # fmt: skip

NO_TLSA = (
    Zone(
        "nsec", SIGNED, _GOOD,
        "delivered:mx.nsec.test",
        "Deliver with PKIX: NSEC proves that there is no TLSA record (B3).",
        by_pkix=True,
    ),
    Zone(
        "nsec3", NSEC3, _GOOD,
        "delivered:mx.nsec3.test",
        "Deliver with PKIX: NSEC3 proves that there is no TLSA record (B3).",
        by_pkix=True,
    ),
    Zone(
        "nsec3-dane", NSEC3, _MATCHING,
        "delivered:mx.nsec3-dane.test",
        "Deliver: NSEC3 beside a TLSA record that matches (B1).",
    ),
    Zone(
        "pkix-expired", SIGNED, _one_host("expired"),
        "5.7.10",
        "Refuse: PKIX has to hold, and the certificate has expired (B3).",
        by_pkix=True, finger="Untrusted",
    ),
    Zone(
        "pkix-misnamed", SIGNED, _one_host("misnamed"),
        "5.7.10",
        "Refuse: PKIX has to hold, and the certificate is for another host (B3).",
        by_pkix=True, finger="Trusted",
    ),
    Zone(
        "pkix-untrusted", SIGNED, _one_host("untrusted"),
        "5.7.10",
        "Refuse: PKIX has to hold, and nobody trusts the authority (B3).",
        by_pkix=True, finger="Untrusted",
    ),
    Zone(
        "unusable", SIGNED, _one_host("postfix311", "3 9 9 {wrong}"),
        "delivered:mx.unusable.test",
        "Deliver with PKIX: the only TLSA record has unknown numbers (B2).",
        finger="Untrusted",  # Postfix delivers as well, for another reason: see the next
    ),
    Zone(
        "unusable-untrusted", SIGNED, _one_host("untrusted", "3 9 9 {wrong}"),
        "5.7.10",
        "Refuse: no usable TLSA record, and no PKIX (B2): encryption alone is not enough.",
        postfix_says="delivered:mx.unusable-untrusted.test",
        why="it learns in the handshake that the record is unusable, and sends over TLS that "
        "verified nobody (it logs dane:encrypt/requiretls:nocertmatch)",
        finger="Untrusted",
    ),
    Zone(
        "usage-1-pkix", SIGNED, _one_host("postfix311", "{postfix311:1 1 1}"),
        "delivered:mx.usage-1-pkix.test",
        "Deliver with PKIX: usages 0 and 1 are unusable in SMTP (B2, DANE-27).",
        by_pkix=True,
    ),
    Zone(
        "usage-1", SIGNED, _one_host("untrusted", "{untrusted:1 1 1}"),
        "5.7.10",
        "Refuse: usages 0 and 1 authenticate nobody in SMTP (DANE-27, TLSA-09).",
        by_pkix=True, finger="Untrusted",
    ),
    Zone(
        "tlsa-insecure", INSECURE, _one_host("postfix311", "3 1 1 {wrong}"),
        "delivered:mx.tlsa-insecure.test",
        "Deliver with PKIX: TLSA records that nothing vouches for do not count (TLSA-01).",
        policy=Policy(("mx.tlsa-insecure.test",)),
    ),
)  # fmt: skip

BOGUS = (
    Zone(
        "wrong-ds", WRONG_DS, _BARRED,
        "4.4.3", "Try later: the parent vouches for another key (A6).", finger="",
    ),
    Zone(
        "lapsed", LAPSED, _BARRED,
        "4.4.3", "Try later: the signatures have expired (A6).", finger="",
    ),
    Zone(
        "tampered", SIGNED, _BARRED,
        "4.4.3", "Try later: the MX record was changed after signing (A6).",
        spoil=("MX",), finger="",
    ),
    Zone(
        "tampered-tlsa", SIGNED, _BARRED,
        "4.4.3", "Do not even connect: MX and address are secure, TLSA is bogus (B4, DANE-04).",
        spoil=("TLSA",), finger="",
        postfix_says="4.7.5", why=OTHER_CODE,
    ),
    Zone(
        "tampered-a", SIGNED, _BARRED,
        "4.4.3", "Try later: the only host's address is bogus (C5).",
        spoil=("A",), spoil_at="mx", finger="",
    ),
    Zone(
        "first-tampered", SIGNED,
        """
        @            MX   10 mx1
        @            MX   20 mx2
        mx1          A    {off_limits}
        mx2          A    {postfix311}
        _25._tcp.mx1 TLSA {off_limits:3 1 1}
        _25._tcp.mx2 TLSA {postfix311:3 1 1}
        """,
        "delivered:mx2.first-tampered.test",
        "Deliver to the second: a bogus address bars that host alone (DANE-03).",
        spoil=("A",), spoil_at="mx1",
    ),
    Zone(
        "first-tampered-tlsa", SIGNED,
        """
        @            MX   10 mx1
        @            MX   20 mx2
        mx1          A    {off_limits}
        mx2          A    {postfix311}
        _25._tcp.mx1 TLSA {off_limits:3 1 1}
        _25._tcp.mx2 TLSA {postfix311:3 1 1}
        """,
        "delivered:mx2.first-tampered-tlsa.test",
        "Deliver to the second: bogus TLSA bars that host alone (DANE-04).",
        spoil=("TLSA",), spoil_at="_25._tcp.mx1",
    ),
    Zone(
        "loop", WITHIN, "",
        "4.4.3", "Try later: the domain is a CNAME loop, a failed look-up (DANE-06).", finger="",
    ),
)  # fmt: skip

ALIASES = (
    Zone(
        "tlsa-alias", SIGNED,
        _one_host("untrusted") + "\n_25._tcp.mx CNAME _25._tcp.mx.ee-untrusted.test.",
        "delivered:mx.tlsa-alias.test",
        "Deliver: the TLSA record stands behind a secure CNAME (DANE-21); PKIX would fail.",
    ),
    Zone(
        "tlsa-alias-loose", SIGNED,
        _one_host("untrusted") + "\n_25._tcp.mx CNAME _25._tcp.mx.sts-ee.test.",
        "5.7.10",
        "Refuse: the CNAME leads to a TLSA record that nothing vouches for (TLSA-01, DNS-04).",
        by_pkix=True, finger="Untrusted",
    ),
    Zone(
        "host-alias", SIGNED, "@ MX 10 mx\nmx CNAME mx.ee-untrusted.test.",
        "delivered:mx.host-alias.test",
        "Deliver: the MX host is a secure CNAME, the TLSA record at its end (DANE-18).",
    ),
    Zone(
        "host-alias-own", SIGNED,
        """
        @           MX    10 mx
        mx          CNAME mx.pkix-untrusted.test.
        _25._tcp.mx TLSA  {untrusted:3 1 1}
        """,
        "delivered:mx.host-alias-own.test",
        "Deliver: no TLSA record at the end of the CNAME, but one at the MX name (DANE-18).",
    ),
    Zone(
        "host-alias-loose", SIGNED,
        """
        @           MX    10 mx
        mx          CNAME mx.sts-untrusted.test.
        _25._tcp.mx TLSA  {untrusted:3 1 1}
        """,
        "delivered:mx.host-alias-loose.test",
        "Deliver: a secure CNAME to an insecure address, TLSA at the MX name (DANE-07, DANE-19).",
    ),
    Zone(
        "host-alias-pkix", SIGNED, "@ MX 10 mx\nmx CNAME mx.sts.test.",
        "delivered:mx.host-alias-pkix.test",
        "Deliver with PKIX for the MX name: secure CNAME, insecure address, no TLSA (B3, STS-16).",
        by_pkix=True,
    ),
    Zone(
        "alias-secure", WITHIN, "",
        "delivered:mx1.dane.test",
        "Deliver: the domain is a secure CNAME to a secure domain (DANE-14).",
    ),
    Zone(
        "alias-insecure", WITHIN, "",
        "5.7.10",
        "Refuse: a CNAME to an insecure domain, whose policy is not this domain's (STS-34).",
        finger="Trusted",
    ),
    Zone(
        "alias.loose", WITHIN, "",
        "5.7.10",
        "Refuse: an insecure CNAME, although it leads to a secure domain (DANE-14).",
        postfix_says="delivered:mx1.dane.test", why=HALF_DANE, finger="Trusted",
    ),
)  # fmt: skip

UNUSUAL = (
    Zone(
        "any.wildcard", WITHIN, "",
        "delivered:mx1.dane.test",
        "Deliver: the MX record is a secure wildcard's (RFC 4035 s5.3.4).",
    ),
    Zone(
        "mail.old.renamed", WITHIN, "",
        "delivered:mx1.dane.test",
        "Deliver: the domain lies below a secure DNAME (DANE-06).",
    ),
    Zone(
        "wildcard", SIGNED, "@ MX 0 .\n* MX 10 mx1.dane.test.",
        "5.1.10", "Refuse: the parent of a wildcard takes no mail itself (A9).", finger="",
        postfix_says="5.1.0", why=OTHER_CODE,
    ),
    Zone(
        "renamed", SIGNED, "@ MX 0 .\nold DNAME new\nmail.new MX 10 mx1.dane.test.",
        "5.1.10", "Refuse: the zone of the DNAME takes no mail itself (A9).", finger="",
        postfix_says="5.1.0", why=OTHER_CODE,
    ),
    Zone(
        "nullmx", SIGNED, "@ MX 0 .\n@ A {off_limits}",
        "5.1.10", "Refuse: the domain takes no mail (A9, NMX-01).", finger="",
        postfix_says="5.1.0", why=OTHER_CODE,
    ),
    Zone(
        "nullmx-loose", INSECURE, "@ MX 0 .\n@ A {off_limits}",
        "5.1.10", "Refuse: unsigned, and believed all the same (A9).", finger="",
        postfix_says="5.1.0", why=OTHER_CODE,
    ),
    Zone(
        "nosuch", WITHIN, "",
        "5.1.2", "Refuse: there is no such domain (A10).", finger="",
        postfix_says="5.4.4", why=OTHER_CODE,
    ),
    Zone(
        "nomx", SIGNED, "@ A {postfix311}\n_25._tcp TLSA {postfix311:3 1 1}",
        "delivered:nomx.test",
        "Deliver to the domain itself: implicit MX, all secure (A7, SMTP-02).",
    ),
    Zone(
        "nomx-loose", INSECURE, "@ A {postfix311}",
        "delivered:nomx-loose.test",
        "Deliver to the domain itself with PKIX: no MX record chose the host (A7).",
        by_pkix=True,
    ),
    Zone(
        "mx-nowhere", SIGNED, "@ MX 10 nowhere\n@ A {off_limits}",
        "5.4.4",
        "Refuse, and do not fall back to the domain's own address (SMTP-04).",
        finger="",
    ),
    Zone(
        "literal-mx", SIGNED, "@ MX 10 127.0.0.25.",
        "5.7.10",
        "Refuse: an address in place of the MX name has no name to verify (A12, DANE-12).",
        finger="Trusted",
    ),
    Zone(
        "first-dead", SIGNED,
        """
        @            MX   10 mx1
        @            MX   20 mx2
        mx1          A    {dead}
        mx2          A    {dead}
        mx2          A    {postfix311}
        _25._tcp.mx2 TLSA {postfix311:3 1 1}
        """,
        "delivered:mx2.first-dead.test",
        "Deliver to the second host's second address: nobody answers at the others (SMTP-05).",
    ),
    Zone(
        "dead", SIGNED, _one_host("dead", "{postfix311:3 1 1}"),
        "4.4.1", "Try later: nobody answers (C5).", finger="",
    ),
)  # fmt: skip

STS = (
    Zone(
        "sts", INSECURE, _GOOD + "_submission._tcp SRV 0 1 587 mx.real.test.",
        "delivered:mx.sts.test",
        "Deliver with PKIX: the policy names the host (A2).",
        policy=Policy(("mx.sts.test",)),
    ),
    Zone(
        "sts-wildcard", INSECURE, _GOOD,
        "delivered:mx.sts-wildcard.test",
        "Deliver: the policy's pattern matches the host (STS-17).",
        policy=Policy(("other.sts-wildcard.test", "*.sts-wildcard.test")),
    ),
    Zone(
        "sts-second", INSECURE,
        "@ MX 10 mx1\n@ MX 20 mx2\nmx1 A {off_limits}\nmx2 A {postfix311}",
        "delivered:mx2.sts-second.test",
        "Skip the first, which the policy does not name, and deliver to the second (STS-20).",
        policy=Policy(("mx2.sts-second.test",)),
    ),
    Zone(
        "sts-hosted", INSECURE, _GOOD,
        "delivered:mx.sts-hosted.test",
        "Deliver: TXT record and policy host are a provider's, behind CNAMEs (STS-01).",
        policy=Policy(
            ("mx.sts-hosted.test",),
            announced="_mta-sts CNAME _mta-sts.sts.test.\nmta-sts CNAME mta-sts.sts.test.",
        ),
    ),
    Zone(
        "sts-testing", INSECURE, _GOOD,
        "delivered:mx.sts-testing.test",
        "Deliver: a policy in mode testing proves the name as well (A3).",
        policy=Policy(("mx.sts-testing.test",), mode="testing"),
        postfix_says="5.7.10", why="plug-ins leave policies in mode testing alone",
    ),
    Zone(
        "sts-none", INSECURE, _one_host("off_limits"),
        "5.7.10",
        "Refuse: mode none is no policy (A5).",
        policy=Policy(("mx.sts-none.test",), mode="none"),
    ),
    Zone(
        "sts-mismatch", INSECURE, _one_host("off_limits"),
        "5.7.10",
        "Refuse: the policy names another host (A4).",
        policy=Policy(("mx.elsewhere.test",)),
    ),
    Zone(
        "sts-testing-mismatch", INSECURE, _one_host("off_limits"),
        "5.7.10",
        "Refuse: a policy in mode testing that names another host proves nothing (A4).",
        policy=Policy(("mx.elsewhere.test",), mode="testing"),
    ),
    Zone(
        "sts-untrusted", INSECURE, _one_host("untrusted"),
        "5.7.10",
        "Refuse: the policy names the host, PKIX fails (STS-18).",
        policy=Policy(("mx.sts-untrusted.test",)), finger="Untrusted",
    ),
    Zone(
        "sts-ee", INSECURE, _one_host("untrusted", "{untrusted:3 1 1}"),
        "5.7.10",
        "Refuse: PKIX fails, and the matching TLSA record is not secure (STS-18, TLSA-01).",
        policy=Policy(("mx.sts-ee.test",)), finger="Untrusted",
    ),
    Zone(
        "sts-noreq", INSECURE, _one_host("postfix37"),
        "5.7.30",
        "Refuse: verified, and without REQUIRETLS (C1).",
        policy=Policy(("mx.sts-noreq.test",)),
    ),
    Zone(
        "sts-plain", INSECURE, _one_host("plain"),
        "5.7.10",
        "Refuse: the server offers no STARTTLS (C2, STS-20).",
        policy=Policy(("mx.sts-plain.test",)), finger="",
        postfix_says="5.7.30", why=OTHER_CODE,
    ),
    Zone(
        "loose", INSECURE, _one_host("off_limits") + "\nalias CNAME dane.test.",
        "5.7.10",
        "Refuse before any connection: nothing vouches for the host's name (A5, RT-03).",
    ),
    Zone(
        "borrowed", INSECURE, "@ MX 10 mx1.dane.test.",
        "5.7.10",
        "Refuse: the host is secure and verified, the way to it is not (B5, DANE-15).",
        postfix_says="delivered:mx1.dane.test", why=HALF_DANE, finger="Trusted",
    ),
    Zone(
        "borrowed-sts", INSECURE, "@ MX 10 mx1.dane.test.",
        "delivered:mx1.dane.test",
        "Deliver: the policy proves the name, DANE and PKIX the host (B5).",
        policy=Policy(("mx1.dane.test",)), finger="Trusted",
    ),
    Zone(
        "lent", SIGNED, "@ MX 10 mx.sts.test.",
        "delivered:mx.sts.test",
        "Deliver with PKIX: a secure MX record to a host in an insecure zone (A1, B3).",
        by_pkix=True, finger="Trusted",
    ),
)  # fmt: skip

BOTH = (
    Zone(
        "dane-sts", SIGNED, _MATCHING,
        "delivered:mx.dane-sts.test",
        "Deliver: DANE and MTA-STS both hold (B6).",
        policy=Policy(("mx.dane-sts.test",)),
    ),
    Zone(
        "bad-tlsa-good-sts", SIGNED, _one_host("postfix311", "3 1 1 {wrong}"),
        "5.7.10",
        "Refuse: MTA-STS never overrides a DANE failure (STS-31).",
        policy=Policy(("mx.bad-tlsa-good-sts.test",)), finger="Untrusted",
    ),
    Zone(
        "good-tlsa-bad-pkix", SIGNED, _one_host("untrusted", "{untrusted:3 1 1}"),
        "5.7.10",
        "Refuse: DANE holds, but the enforced policy asks for PKIX as well (B6).",
        policy=Policy(("mx.good-tlsa-bad-pkix.test",)),
        postfix_says="delivered:mx.good-tlsa-bad-pkix.test", why=DANE_ALONE,
    ),
    Zone(
        "dane-sts-mismatch", SIGNED, _BARRED,
        "5.7.10",
        "Refuse: DANE holds, but the enforced policy bars the host (A1).",
        policy=Policy(("mx.elsewhere.test",)),
        postfix_says="delivered:mx.dane-sts-mismatch.test", why=DANE_ALONE,
    ),
    Zone(
        "dane-sts-missing", SIGNED, _MATCHING,
        "delivered:mx.dane-sts-missing.test",
        "Deliver: DANE holds, and a policy that cannot be fetched is none (STS-24).",
        policy=Policy(("mx.dane-sts-missing.test",), fault="missing"),
    ),
)  # fmt: skip

# fault, what is wrong
_POLICY_FAULTS = (
    ("redirect", "it redirects to a good policy (STS-07)"),
    ("missing", "a good policy under status 404 (STS-07)"),
    ("html", "text/html (STS-09)"),
    ("big", "4 MiB (STS-10)"),
    ("slow", "no answer in a long time (STS-10)"),
    ("trickle", "a byte now and then, never done (STS-10)"),
    ("expired", "the certificate has expired (STS-06)"),
    ("misnamed", "the certificate is for another host (STS-06)"),
    ("issuer", "nobody trusts the certificate's authority (STS-06)"),
    ("syntax", "it is no policy (STS-12)"),
)

HOSTILE_STS = (
    *(
        Zone(
            f"sts-{fault}", INSECURE, _one_host("off_limits"),
            "4.7.5",
            f"Try later: there is no policy to be had: {what}.",
            policy=Policy((f"mx.sts-{fault}.test",), fault=fault),
            postfix_says="5.7.10", why=NO_POLICY,
        )
        for fault, what in _POLICY_FAULTS
    ),
    Zone(
        "sts-two", INSECURE, _one_host("off_limits") + '\n_mta-sts TXT "v=STSv1; id=2"',
        "5.7.10",
        "Refuse: two TXT records are none (STS-02).",
        policy=Policy(("mx.sts-two.test",), fault="unannounced"),
    ),
    Zone(
        "sts-unknown", INSECURE, _one_host("off_limits"),
        "4.4.3",
        "Try later: whether there is a policy cannot be told, the TXT look-up fails (A6).",
        policy=Policy(
            ("mx.sts-unknown.test",), fault="unannounced",
            announced="_mta-sts CNAME loop.test.\nmta-sts A {policies}",
        ),
        postfix_says="5.7.10", why=NO_POLICY,
    ),
    Zone(
        "sts-no-txt", INSECURE, _one_host("off_limits"),
        "5.7.10",
        "Refuse, and do not ask the policy host: no TXT record, no policy (STS-24).",
        policy=Policy(
            ("mx.sts-no-txt.test",), fault="unannounced", announced="mta-sts A {policies}"
        ),
    ),
)  # fmt: skip

ZONES: tuple[Zone, ...] = (
    *DANE, *DANE_TA, *NO_TLSA, *BOGUS, *ALIASES, *UNUSUAL, *STS, *BOTH, *HOSTILE_STS,
)  # fmt: skip


def names_of(peer: str) -> list[str]:
    """Return every name whose address is that of `peer`, CNAMEs followed, sorted."""
    addresses, aliases = _owners()
    names = {name for name, target in addresses if target == f"{{{peer}}}"}
    while more := {name for name, target in aliases if target in names} - names:
        names |= more
    return sorted(names)


def _owners() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return (owner, data) of every A and of every CNAME record in the table."""
    found: dict[str, list[tuple[str, str]]] = {"A": [], "CNAME": []}
    for domain, records in [("test", TOP), *((zone.domain, zone.records) for zone in ZONES)]:
        for owner, rdtype, data in _fields(records):
            if rdtype in found:
                target = data if rdtype == "A" else _absolute(data, domain)
                found[rdtype].append((_absolute(owner, domain), target))
    return found["A"], found["CNAME"]


def _fields(records: str) -> Iterable[tuple[str, str, str]]:
    """Yield owner, type and data of every line."""
    for line in records.splitlines():
        if line.strip():
            owner, rdtype, data = line.split(None, 2)
            yield owner, rdtype, data.strip()


def _absolute(name: str, domain: str) -> str:
    """Return `name` of a zone file of `domain` as a whole name without the final dot."""
    if name == "@":
        return domain
    return name.removesuffix(".") if name.endswith(".") else f"{name}.{domain}"
