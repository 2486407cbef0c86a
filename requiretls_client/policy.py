"""The decision: may this message leave on this session?

Reads :class:`~requiretls_client.facts.SessionFacts`, returns a
:class:`~requiretls_client.verdict.Verdict`. Pure: no clock, no socket, no file, never raises. The
rules stand here in the order of RFC 8689 section 4.2.1, one function each; the first that
fails ends the matter, because the later ones cannot be known then.
"""

from __future__ import annotations

from requiretls_client.syntax import is_address
from requiretls_client.verdict import Finding, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from requiretls_client.facts import PathFacts, SessionFacts, TLSFacts

KEYWORD = "REQUIRETLS"

# RFC 9325 s3.1.1 (the successor of the RFC 7525 that RFC 8689 names): nothing below TLS 1.2.
VERSIONS = frozenset({"TLSv1.2", "TLSv1.3"})

_STEP2 = "RFC 8689 s4.2.1 step 2"
_STEP3 = "RFC 8689 s4.2.1 step 3"
_STEP4 = "RFC 8689 s4.2.1 step 4"
_STEP5 = "RFC 8689 s4.2.1 step 5"

_USE_CONTEXT = (
    "give the server a certificate for that name, or say server_hostname= for the name that it "
    "has, or context= for the authority that signed it"
)
_HAVE_STARTTLS = "have STARTTLS enabled on the mail host, or send without require_tls"
_STRICT_SESSION = "this session was made for ordinary mail: use to_domain(..., require_tls=True)"
_HAVE_CERTIFICATE = (
    "have the mail host's certificate repaired (a trusted authority, the name of the MX record), "
    "or say Lookups(trust=...) for the authority that signed it"
)
_HAVE_TLSA = (
    "have the domain bring its TLSA records (RFC 7672) and the server's certificate together; "
    "nothing else makes up for the mismatch"
)
_OWN_HANDSHAKE = (
    "let starttls() or SMTP_SSL make the handshake; a subclass may dial in _get_socket(), but not "
    "wrap the socket"
)
_TRY_TLS_PORT = (
    "use the server's port with TLS (587 with STARTTLS, 465 with SMTP_SSL), have STARTTLS "
    "enabled there, or send without require_tls"
)


def judge_session(
    facts: SessionFacts, *, require_tls: bool = True, null_path: bool = False
) -> Verdict:
    """Decide whether this session may carry the message.

    Args:
        facts: what this connection, and no earlier one, has shown.
        require_tls: whether the message asks for RFC 8689. Without it only a failed attempt
            at TLS is refused, and the findings are for information.
        null_path: the reverse path is empty: a bounce. RFC 8689 sections 4.2.1 and 5 waive step
            5 for it, not the others; the parameter is sent when it is offered.

    Returns:
        A verdict whose findings are in RFC order. Of a refusal the last one failed.
    """
    findings: list[Finding] = []
    for finding in _rules(facts, require_tls=require_tls, null_path=null_path):
        findings.append(finding)
        if require_tls and not finding.ok:
            break
    refused = not findings[-1].ok if require_tls else _refuses_ordinary(facts)
    return _verdict(facts, tuple(findings), require_tls=require_tls, refused=refused)


def _rules(facts: SessionFacts, *, require_tls: bool, null_path: bool) -> Iterator[Finding]:
    """Yield a finding for each condition, in the order of RFC 8689 s4.2.1."""
    if facts.path is not None:
        from requiretls_client.path import judge_host

        yield from judge_host(facts.path, require_tls=require_tls, lenient=not require_tls)
    else:
        yield _server_name(facts)
    if require_tls:
        yield _login(facts)
    yield _session(facts)
    yield _tls(facts)
    yield _certificate(facts)
    if require_tls:
        yield _requiretls(facts, null_path=null_path)


def _refuses_ordinary(facts: SessionFacts) -> bool:
    """Tell whether ordinary mail is refused: TLS was tried and failed, or the path demands it.

    What a domain's own policies demand of its hosts (RFC 7672 s2.2, RFC 8461 s5) is in the rung.
    A connection that is held to verified TLS and has none carries nothing.
    """
    rung = facts.path.rung if facts.path else ""
    if rung == "clear":
        return False
    if facts.obstacle is not None or not rung:
        return facts.obstacle is not None
    if rung == "named":
        return facts.tls is not None and _is_bound(facts.path) and not _certificate(facts).ok
    return tls_level(facts) != "authenticated" if rung == "verified" else facts.tls is None


def _is_bound(path: PathFacts | None) -> bool:
    """Tell whether TLSA records bind the certificate."""
    from requiretls_client import dane

    return path is not None and bool(path.host.tlsa) and bool(dane.usable(path.host.tlsa))


def judge_login(facts: SessionFacts, *, excused: bool) -> Verdict:
    """Decide whether credentials may cross this session (RFC 4954 section 14).

    Args:
        facts: what this connection has shown.
        excused: the peer is on this machine, or the caller allowed clear text, and nothing
            requires TLS.
    """
    level = tls_level(facts)
    allowed = excused or level == "authenticated"
    how = "in clear text" if level == "none" else "over TLS that did not verify who the server is"
    finding = Finding(
        "certificate" if level == "encrypted" else "tls",
        allowed,
        f"the password for {_server(facts)} would go {how}",
        "RFC 4954 s14",
        "call starttls() first, with a context that verifies, or use SMTP_SSL; for a server on a "
        "private network say allow_cleartext_auth=True",
        facts.host,
        None if allowed else "5.7.11",
    )
    return _verdict(facts, (finding,), require_tls=False, refused=not allowed)


def tls_level(facts: SessionFacts) -> str:
    """Return ``none``, ``encrypted`` or ``authenticated`` for the session."""
    if facts.tls is None:
        return "encrypted" if facts.foreign_tls else "none"
    # Without look-ups nobody needs the finding: this is asked for before each login.
    proved = _certificate(facts).ok if facts.path else _why_not_proved(facts) is None
    verified = proved and facts.tls.version in VERSIONS
    return "authenticated" if verified else "encrypted"


def _server_name(facts: SessionFacts) -> Finding:
    text = f"{_server(facts)} was named by the caller, so no MX record has to be proved"
    return Finding("server_name", True, text, _STEP2, host=facts.host)


def _login(facts: SessionFacts) -> Finding:
    if not facts.cleartext_login:
        text = "no credentials crossed this connection before verified TLS"
        return Finding("login", True, text, "RFC 4954 s14", host=facts.host)
    return Finding(
        "login",
        False,
        f"credentials already crossed the connection to {_server(facts)} without verified TLS",
        "RFC 4954 s14",
        "set require_tls=True in the constructor, so that TLS comes before login()",
        facts.host,
        "5.7.10",
    )


def _session(facts: SessionFacts) -> Finding:
    obstacle = facts.obstacle
    if obstacle is None or obstacle.kind != "ehlo":
        text = f"the session with {_server(facts)} speaks ESMTP"
        return Finding("ehlo", True, text, _STEP3, host=facts.host)
    text = f"{_server(facts)} refused EHLO: {obstacle.text}"
    fix = "HELO has no extensions, so such a server can only get mail without require_tls"
    return Finding("ehlo", False, text, _STEP3, fix, facts.host, _status(facts))


def _tls(facts: SessionFacts) -> Finding:
    if _was_refused(facts):
        text = f"{_server(facts)} started TLS"  # the certificate is the next rule's business
        return Finding("tls", True, text, _STEP4, host=facts.host)
    if facts.tls is not None and facts.tls.version in VERSIONS:
        text = f"{facts.tls.version} with {facts.tls.cipher}"
        return Finding("tls", True, text, _STEP4, host=facts.host)
    if facts.foreign_tls:
        text = f"TLS to {_server(facts)} was started outside this package"
        return Finding("tls", True, text, _STEP4, host=facts.host)
    text, fix = _why_no_tls(facts)
    return Finding("tls", False, text, _STEP4, fix, facts.host, _status(facts))


def _why_no_tls(facts: SessionFacts) -> tuple[str, str]:
    """Return the text and the fix for a session without acceptable TLS."""
    host, obstacle = _server(facts), facts.obstacle
    if facts.tls is not None:
        text = f"{host} negotiated {facts.tls.version}, and RFC 9325 s3.1.1 allows TLS 1.2 and up"
        return text, "have the server's TLS brought up to date"
    if obstacle is None:
        text = f"TLS to {host} is not up"
        if _is_mail_host(facts):
            return text, _STRICT_SESSION
        return text, "sending with require_tls=True starts it; so does starttls()"
    match obstacle.kind:
        case "no_name":
            text = f"there is no name to verify for {host}, so TLS would prove nothing"
            return text, "say server_hostname= for the name that its certificate has"
        case "not_offered":
            fix = _HAVE_STARTTLS if _is_mail_host(facts) else _TRY_TLS_PORT
            return f"{host} does not offer STARTTLS", fix
        case "refused":
            return f"{host} refused STARTTLS: {obstacle.text}", _retry(obstacle.temporary)
        case "injected":
            text = f"{host} sent clear text behind its 220 to STARTTLS, which is an attack"
            return text, "do not use this network path (RFC 3207 s6)"
        case "lost":
            text = f"the connection to {host} was lost on the way to verified TLS: {obstacle.text}"
            return text, _retry(obstacle.temporary)
        case "botched":
            return f"{host} gave a reply that cannot be read: {obstacle.text}", _retry(False)
        case _:
            text = f"the TLS handshake with {host} failed: {obstacle.text}"
            return text, _retry(obstacle.temporary)


def _retry(temporary: bool) -> str:
    return "try again later" if temporary else "have the server repaired, or use another"


def _certificate(facts: SessionFacts) -> Finding:
    if facts.path is not None and facts.tls is not None and not _was_refused(facts):
        return _certificate_on_path(facts, facts.tls, facts.path)
    problem = _why_not_proved(facts)
    if problem is None:
        text = f"the certificate was verified for {facts.host}"
        return Finding("certificate", True, text, _STEP4, host=facts.host)
    return _not_verified(facts, problem, _fix_certificate(facts))


def _was_refused(facts: SessionFacts) -> bool:
    """Tell whether the certificate made the handshake fail."""
    return facts.obstacle is not None and facts.obstacle.kind == "certificate"


def _why_not_proved(facts: SessionFacts) -> str | None:
    """Return what the session has not proved about its certificate, look-ups apart, or None."""
    if facts.obstacle is not None and _was_refused(facts):
        return facts.obstacle.text
    if facts.tls is not None:
        return _why_not_verified(facts.host, facts.tls)
    if facts.foreign_tls:
        return "the handshake was not made by this package, so nothing is known about it"
    return "there was no handshake"


def _fix_certificate(facts: SessionFacts) -> str:
    if facts.foreign_tls:
        return _OWN_HANDSHAKE
    if not _is_mail_host(facts):
        return _USE_CONTEXT
    assert facts.path is not None  # noqa: S101 - for the type checker
    return _HAVE_CERTIFICATE if facts.path.rung == "verified" else _STRICT_SESSION


def _is_mail_host(facts: SessionFacts) -> bool:
    """Tell a host that a domain's DNS led to from a server that the caller named."""
    return facts.path is not None and not facts.path.named


def _certificate_on_path(facts: SessionFacts, tls: TLSFacts, path: PathFacts) -> Finding:
    """Hold the handshake against what the look-ups ask for: DANE, PKIX, or both (table B)."""
    from requiretls_client import dane
    from requiretls_client.path import need

    wanted, texts = need(path), []
    if wanted.dane:
        found = dane.match(wanted.dane, tls, wanted.names)
        if not found.ok:
            return _not_verified(facts, f"DANE: {found.text}", _HAVE_TLSA)
        texts.append(f"{found.text} ({found.by})")
    if wanted.pkix:
        problem = _why_not_verified(facts.host, tls)
        if problem is not None:
            return _not_verified(facts, problem, _fix_certificate(facts))
        texts.append(f"the certificate was verified for {facts.host}")
    return Finding("certificate", True, " and ".join(texts), _STEP4, host=facts.host)


def _not_verified(facts: SessionFacts, problem: str, fix: str) -> Finding:
    text = f"the certificate of {_server(facts)} was not verified: {problem}"
    return Finding("certificate", False, text, _STEP4, fix, facts.host, _status(facts))


def _why_not_verified(host: str, tls: TLSFacts) -> str | None:
    """Return what the handshake left unproved, or None."""
    if not host:
        return "there is no name to verify"
    if not tls.verify_required:
        return "the SSL context did not ask for a trusted chain (verify_mode)"
    if not tls.check_hostname:
        return "the SSL context did not compare the name (check_hostname)"
    if tls.server_hostname != host and not _also_names(tls, host):
        return f"the handshake verified {tls.server_hostname or 'no name'} instead"
    if tls.session_reused:
        return "the TLS session was resumed, so no certificate was presented"
    # RFC 9525 s2: a CN is no identity. OpenSSL reads it unless there is a SAN of the kind asked.
    kind = "IP Address" if is_address(host) else "DNS"
    if tls.common_name_allowed and kind not in tls.san_kinds:
        return "it names the server only in its common name, which RFC 9525 s2 does not accept"
    return None


def _also_names(tls: TLSFacts, host: str) -> bool:
    """Tell whether the certificate names the host beside the name that was sent.

    SNI is the TLSA base domain (RFC 7672 s8.1), which may be what the MX name is a CNAME for,
    while MTA-STS wants the MX name itself (RFC 8461 s4.2).
    """
    if not tls.names:
        return False
    from requiretls_client.dane import name_matches

    return any(name_matches(name, host) for name in tls.names)


def _server(facts: SessionFacts) -> str:
    """Return the name for a text; a Unix socket without server_hostname has none."""
    return facts.host or "the server"


def _requiretls(facts: SessionFacts, *, null_path: bool) -> Finding:
    host = facts.host
    if KEYWORD in facts.keywords:
        text = f"{host} offers REQUIRETLS inside TLS"
        return Finding("requiretls", True, text, _STEP5, host=host)
    if facts.ehlo_code is None:
        text = f"EHLO has not been repeated inside TLS with {host}"
        return Finding("requiretls", False, text, _STEP5, "call ehlo()", host, "5.7.30")
    if null_path:
        text = f"{host} does not offer REQUIRETLS; the reverse path is empty, so it is not lost"
        return Finding("requiretls", True, text, "RFC 8689 s5", host=host)
    if facts.ehlo_code != 250:
        later = _is_temporary_code(facts.ehlo_code)
        text = f"{host} answered EHLO inside TLS with {facts.ehlo_code}, so it offers nothing"
        status = "4.7.30" if later else "5.7.30"
        return Finding("requiretls", False, text, _STEP5, _retry(later), host, status)
    text = f"{host} does not offer REQUIRETLS in its EHLO reply inside TLS"
    fix = (
        "have it enabled there (Postfix 3.11 and newer: requiretls_enable = yes), use another "
        "server, or send without require_tls"
    )
    return Finding("requiretls", False, text, _STEP5, fix, host, "5.7.30")


def _is_temporary_code(code: int | None) -> bool:
    return code is not None and 400 <= code < 500


def _status(facts: SessionFacts) -> str:
    """Return 5.7.10, or 4.7.10 when the server itself said "later" (RFC 3207 s4: 454)."""
    obstacle = facts.obstacle
    later = obstacle is not None and _is_temporary_code(obstacle.code)
    return "4.7.10" if later else "5.7.10"


def _verdict(
    facts: SessionFacts, findings: tuple[Finding, ...], *, require_tls: bool, refused: bool
) -> Verdict:
    failed = next((finding for finding in findings if not finding.ok), None)
    status = failed.status if refused and failed else None
    later = bool(status and status.startswith("4."))
    path = facts.path
    if path is not None:
        from requiretls_client.path import mx_level

        domain, level = path.route.domain or None, mx_level(path.route, path.host)
        # RFC 7672 s2.2, RFC 8461 s5: what fails a published policy is to be tried again.
        hint = bool(failed and failed.step in ("tls", "certificate") and path.route.mx)
    else:
        domain, level, hint = None, None, False
    return Verdict(
        allowed=not refused,
        require_tls=require_tls,
        requiretls=require_tls and not refused and KEYWORD in facts.keywords,
        findings=findings,
        host=facts.host,
        tls_level=tls_level(facts),
        tls_version=facts.tls.version if facts.tls else None,
        tls_cipher=facts.tls.cipher if facts.tls else None,
        domain=domain,
        mx_level=level,
        code=(451 if later else 550) if status else None,
        status=status,
        temporary=refused and (later or hint or bool(facts.obstacle and facts.obstacle.temporary)),
    )
