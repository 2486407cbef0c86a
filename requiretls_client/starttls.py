"""From a connection in clear text to EHLO inside TLS, and what it has shown on the way.

Does the I/O of RFC 3207: EHLO, STARTTLS, the handshake, EHLO. Judges nothing; a new connection
knows nothing, and what was known before TLS is forgotten (RFC 3207 section 4.2).
"""

from __future__ import annotations

import smtplib
import socket
import ssl

from requiretls_client import errors, syntax
from requiretls_client.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from requiretls_client.facts import Obstacle, PathFacts, SessionFacts, TLSFacts

    Reply = tuple[int, bytes]

# After these the session still understands QUIT; after the others its bytes mean nothing.
USABLE = frozenset({"ehlo", "not_offered", "no_name", "refused"})


class Seen:
    """What this connection has shown. A new connection gets a new, empty one (RFC 3207 s4.2)."""

    __slots__ = ("cleartext_login", "ehlo", "tls", "unclaimed_tls")

    def __init__(self) -> None:
        """Know nothing."""
        self.tls: tuple[socket.socket, TLSFacts] | None = None  # our handshake, on that socket
        self.ehlo: tuple[socket.socket, int, bytes] | None = None  # the reply, on that socket
        self.cleartext_login = False  # AUTH went out without verified TLS
        self.unclaimed_tls = False  # we started TLS; the caller's own starttls() may yet come


class Blocked(Exception):
    """TLS cannot be had on this connection; the cause, if any, is chained."""

    def __init__(
        self, kind: str, text: str, reply: Reply | None = None, *, temporary: bool = False
    ) -> None:
        """Take the fields of :class:`~requiretls_client.facts.Obstacle` and the raw reply."""
        super().__init__(text)
        self.kind, self.text, self.reply = kind, text, reply
        self.temporary = temporary or bool(reply and 400 <= reply[0] < 500)

    def obstacle(self) -> Obstacle:
        """Return it as a fact for the judgement."""
        from requiretls_client.session_facts import Obstacle

        return Obstacle(self.kind, self.text, self.reply and self.reply[0], self.temporary)


class StartTLS(Wire):
    """The way into TLS, under :class:`~requiretls_client.connection.Connection`."""

    context: ssl.SSLContext | None = None
    _host: str  # smtplib's
    _server_hostname: str | None = None
    _seen = Seen()
    _path: PathFacts | None = None  # what was looked up about the host that is connected
    _path_context: ssl.SSLContext | None = None  # what that asks for; goes before the caller's
    keeps_chain = False  # record the certificates also where no DANE needs them: check_relay()
    _path_name = ""  # the name that it asks to be sent; goes before the host's

    def _reference_name(self) -> str:
        """Return the name that the caller meant: A-label or IP address; "" for a Unix socket."""
        if self._path_name:
            return self._path_name
        if self._server_hostname is not None:
            return self._server_hostname
        if not self._host or self._host.startswith("/"):
            return ""
        return syntax.reference_name(self._host)

    # -- EHLO -----------------------------------------------------------------------------------

    def ehlo(self, name: str = "") -> Reply:
        """Send EHLO as smtplib does, and keep the reply with the socket that it came from.

        Raises:
            ValueError: the name has bad grammar.
        """
        from requiretls_client.replies import texts

        syntax.check_ehlo_name(name or self.local_hostname)
        self._seen.ehlo = None
        code, reply = super().ehlo(name)
        pipe = self._current_pipe()
        if pipe is not None:
            # As it came: smtplib strips the blanks that tell a keyword from something like it.
            lines = texts(pipe.parser.taken) or [reply]
            self._seen.ehlo = pipe.sock, code, b"\n".join(lines)
        return code, reply

    def helo(self, name: str = "") -> Reply:
        """Send HELO as smtplib does.

        Raises:
            ValueError: the name has bad grammar.
        """
        syntax.check_ehlo_name(name or self.local_hostname)
        return super().helo(name)

    def _current_ehlo(self) -> Reply | None:
        """Return the reply to the EHLO that was sent on this very socket, or None."""
        seen = self._seen.ehlo
        return seen[1:] if seen and seen[0] is self.sock else None

    def _forget_ehlo(self) -> None:
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    # -- facts ----------------------------------------------------------------------------------

    def _facts(self, obstacle: Obstacle | None = None) -> SessionFacts:
        """Return what the connection shows now; TLS that was shut down since is none."""
        sock = self.sock if not isinstance(self.sock, ssl.SSLSocket) or self._in_tls() else None
        return facts_of(self._host_meant(), self._seen, sock, self._path, obstacle)

    def _host_meant(self) -> str:
        """Return the name of the server for a verdict: the MX host, where one was looked up."""
        if self._path is None or (self._path.named and self._server_hostname):
            return self._reference_name()
        return self._path.host.name

    def _in_tls(self) -> bool:
        """Tell whether what we send now is encrypted."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.version() is not None

    # -- TLS ------------------------------------------------------------------------------------

    def _reach(self) -> Blocked | None:
        """Go as far as EHLO inside TLS; return what stood in the way, or None."""
        blocked: Blocked | None = None
        try:
            self._reach_ehlo_inside_tls()
        except Blocked as found:
            blocked = found
        except errors.ReplyError as error:
            blocked = Blocked("botched", str(error))
            blocked.__cause__ = error
        except smtplib.SMTPServerDisconnected as error:
            blocked = Blocked("lost", syntax.printable(str(error)), temporary=True)
            blocked.__cause__ = error
        return blocked

    def _reach_ehlo_inside_tls(self) -> None:
        """EHLO, STARTTLS, EHLO: as much of it as is still to be done. Never HELO."""
        if isinstance(self.sock, ssl.SSLSocket):
            if not self._in_tls():
                raise Blocked("lost", "TLS was shut down")
        else:
            if self._seen.cleartext_login:
                return  # TLS would not mend that, and the verdict says so
            code, reply = self._current_ehlo() or self.ehlo()
            if code != 250:
                raise Blocked("ehlo", _shown(code, reply), (code, reply))
            if "STARTTLS" not in syntax.ehlo_keywords(reply):
                raise Blocked("not_offered", "no STARTTLS keyword")
            self._start_tls(self.context)
            self._seen.unclaimed_tls = True
        if self._current_ehlo() is None:
            self.ehlo()

    def _start_tls(self, context: ssl.SSLContext | None) -> Reply:
        """Send STARTTLS, make the handshake, and forget what came before it (RFC 3207 s4.2).

        Raises:
            Blocked: why it did not come to verified or encrypted TLS. Nothing may be sent in
                clear on this connection afterwards, but QUIT.
        """
        context = self._path_context or context
        if context is None:
            from requiretls_client.tls import default_context

            context = default_context()
        self._refuse_nameless(context)
        try:
            return self._switch_to_tls(context)
        except Blocked:
            raise
        except BaseException:  # interrupted: nobody knows what the next bytes would mean
            self.close()
            raise

    def _switch_to_tls(self, context: ssl.SSLContext) -> Reply:
        code, reply = self.docmd("STARTTLS")
        if code != 220:
            raise Blocked("refused", _shown(code, reply), (code, reply))
        if self._has_unread_bytes():
            raise Blocked("injected", "clear text waited behind the reply to STARTTLS")
        self.sock = self._handshake(context, self.sock)
        self._forget_ehlo()
        return code, reply

    def _handshake(self, context: ssl.SSLContext, sock: socket.socket | None) -> ssl.SSLSocket:
        """Make the handshake on ``sock`` and keep its facts with the socket that it gave."""
        from requiretls_client import tls

        self._refuse_nameless(context)
        try:
            wrapped, facts = tls.wrap(
                context, sock, self._reference_name(),
                chain=self.keeps_chain or self._path is not None,
            )  # fmt: skip
        except ssl.SSLCertVerificationError as error:
            raise Blocked("certificate", syntax.printable(error.verify_message)) from error
        except ssl.SSLError as error:
            ended = isinstance(error, ssl.SSLEOFError)  # the connection, as the next clause has it
            text = syntax.printable(str(error))
            raise Blocked("handshake", text, temporary=ended) from error
        except OSError as error:  # the network: a time-out, a reset
            text = syntax.printable(str(error))
            raise Blocked("handshake", text, temporary=True) from error
        self._seen.tls = wrapped, facts
        return wrapped

    def _refuse_nameless(self, context: ssl.SSLContext) -> None:
        if context.check_hostname and not self._reference_name():
            raise Blocked("no_name", "there is no name to verify")


def facts_of(
    host: str,
    seen: Seen,
    sock: socket.socket | None,
    path: PathFacts | None = None,
    obstacle: Obstacle | None = None,
) -> SessionFacts:
    """Return what a connection has shown; only what its very socket showed counts."""
    from requiretls_client.session_facts import SessionFacts

    tls = seen.tls[1] if seen.tls and seen.tls[0] is sock else None
    in_tls = tls is not None or isinstance(sock, ssl.SSLSocket)
    ehlo = seen.ehlo[1:] if in_tls and seen.ehlo and seen.ehlo[0] is sock else None
    return SessionFacts(
        host=host,
        tls=tls,
        foreign_tls=in_tls and tls is None,
        obstacle=obstacle,
        ehlo_code=ehlo[0] if ehlo else None,
        keywords=syntax.ehlo_keywords(ehlo[1]) if ehlo and ehlo[0] == 250 else frozenset(),
        cleartext_login=seen.cleartext_login,
        path=path,
    )


def _shown(code: int, reply: bytes) -> str:
    return f"{code} {syntax.printable(reply)}"


def check_context(context: ssl.SSLContext | None, required: bool) -> None:
    """Refuse a context that cannot verify where it is handed over together with require_tls."""
    if context is not None and required:
        from requiretls_client.tls import verifies

        if not verifies(context):
            raise ValueError(
                "require_tls needs an SSL context that verifies: verify_mode=CERT_REQUIRED and "
                "check_hostname=True (RFC 8689 s4.2.1 step 4)"
            )


def context_of_files(
    context: ssl.SSLContext | None, keyfile: str | None, certfile: str | None
) -> ssl.SSLContext | None:
    """Turn smtplib's old arguments (Python 3.11) into a context that verifies."""
    if keyfile is None and certfile is None:
        return context
    if context is not None:
        raise ValueError("context and keyfile or certfile arguments are mutually exclusive")
    import warnings

    warnings.warn(
        "keyfile and certfile are deprecated, use a custom context instead", DeprecationWarning, 3
    )
    from requiretls_client.tls import certifi_context

    made = certifi_context()
    made.load_cert_chain(certfile, keyfile)  # type: ignore[arg-type]  # ssl checks them
    return made


def without_delay(sock: socket.socket) -> None:
    """Switch Nagle's algorithm off, which holds a command back behind an answer that is owed.

    With TLS 1.3 it costs EHLO a round trip behind the client's last handshake message. What is no
    TCP socket (a subclass may bring its own) stays as it is.
    """
    try:  # contextlib would be one more module to import
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (AttributeError, OSError):
        return
