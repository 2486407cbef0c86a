"""One connection: what it has shown, TLS on it, and the choke point that every command passes.

Does the I/O that smtplib does, plus the handshake. Judges nothing: the facts go to
:mod:`requiretls_client.policy`, and this module obeys the verdict. Whatever method builds a
command, it passes :meth:`Connection.send`, which lets no MAIL and no AUTH out that the session
does not deserve (RFC 8689 section 2, RFC 4954 section 14).
"""

from __future__ import annotations

import os
import smtplib
import socket
import ssl

from requiretls_client import errors, syntax
from requiretls_client.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from requiretls_client.facts import Obstacle, PathFacts, SessionFacts, TLSFacts
    from requiretls_client.lookups import Lookups
    from requiretls_client.verdict import Verdict

    Reply = tuple[int, bytes]
    Shown = tuple[str, "Seen", socket.socket | None, "PathFacts | None"]

CONNECT_TIMEOUT = 30.0  # seconds for one address of a host that has others, without a timeout

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
        from requiretls_client.facts import Obstacle

        return Obstacle(self.kind, self.text, self.reply and self.reply[0], self.temporary)


class Connection(Wire):
    """The guarded wire under :class:`~requiretls_client.session.SMTP`; not used on its own."""

    context: ssl.SSLContext | None = None
    _session_requires = False  # require_tls of the constructor
    _message_requires: bool | None = None  # of the message being sent; None outside of one
    _server_hostname: str | None = None
    _allow_cleartext_auth = False
    _seen = Seen()
    _session_optional = False  # to_domain(tls_optional=True)
    _field_is_in = False  # the message being sent has the TLS-Required field
    _delivered = False  # whether a message was taken on this connection
    _ended = ""  # why a refusal closed the session, for whoever goes on using the object
    _farewell: Reply | None = None  # the server's, for a caller who still says quit()
    _receipt: Verdict | Shown | None = None
    _lookups: Lookups | None = None
    _path: PathFacts | None = None  # what was looked up about the host that is connected
    _path_context: ssl.SSLContext | None = None  # what that asks for; goes before the caller's
    _path_name = ""  # the name that it asks to be sent; goes before the host's

    @property
    def _requires(self) -> bool:
        """Whether RFC 8689 holds now: as the message says, else as the session does."""
        return self._session_requires if self._message_requires is None else self._message_requires

    # -- connecting and closing ----------------------------------------------------------------

    def connect(
        self,
        host: str = "localhost",
        port: int = 0,
        source_address: Any = None,
    ) -> Reply:
        """Connect as smtplib does; nothing that an earlier connection showed counts any more.

        With ``require_tls`` in the constructor, TLS is up and verified on return.

        Returns:
            Code and text of the greeting.

        Raises:
            ValueError: the host cannot be one.
            RequireTLSError: ``require_tls`` is set and the session does not qualify.
        """
        if self._path is not None and self._path.rung != "named":
            raise ValueError(
                f"this session belongs to {self._path.route.domain}; to_domain() makes another"
            )
        if not host.startswith("/"):  # LMTP: a Unix socket
            host, port = syntax.split_host(host, port)
        self.close()  # first: what binds the old connection goes with it, and never before it
        self._path, self._path_context, self._path_name = None, None, ""
        # The DNS knows nothing about a Unix socket or an IP address.
        if self._lookups is not None and not host.startswith("/") and not syntax.is_address(host):
            return self._connect_looked_up(host, port, source_address)
        return self._connect(host, port, source_address)

    def _connect(
        self, host: str, port: int, source_address: Any = None, address: str = ""
    ) -> Reply:
        """Connect to a host, or to one address of it, and forget what was known."""
        self.close()
        self._ended, self._farewell = "", None
        self._delivered = False
        self._host = host
        self._reference_name()  # an unusable name is an error before anything is dialled
        code, reply = super().connect(address or host, port, source_address)
        if self._path is not None and self._path.rung != "named":
            return code, reply  # who walks the hosts goes on from here, and judges
        if code == 220 and (self._session_requires or self._requires):
            self._secure()
        return code, reply

    def _connect_looked_up(self, host: str, port: int, source_address: Any) -> Reply:
        """Connect to a server whose addresses and TLSA records were looked up (RFC 7673)."""
        from requiretls_client.mxwalk import connect_named

        return connect_named(self, host, port or self.default_port, source_address)

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        """Dial as smtplib does; one dead address of several does not hold us for minutes."""
        dial = super()._get_socket  # type: ignore[misc]
        if self._path is None or isinstance(timeout, (int, float)):
            return dial(host, port, timeout)  # type: ignore[no-any-return]
        sock: socket.socket = dial(host, port, CONNECT_TIMEOUT)
        sock.settimeout(socket.getdefaulttimeout())
        return sock

    def close(self) -> None:
        """Close the connection and forget what it showed."""
        try:
            # Not in a forked child: the session is still the parent's.
            pipe = self._pipe
            if isinstance(self.sock, ssl.SSLSocket) and (not pipe or pipe.pid == os.getpid()):
                _send_close_notify(self.sock)
        finally:
            super().close()
            self._seen = Seen()
            self._forget_ehlo()

    def _forget_ehlo(self) -> None:
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    def _leave(self, *, usable: bool = True) -> None:
        """QUIT where the session still understands it, and close (RFC 8689 s4.2.1)."""
        reply = 221, b"2.0.0 the connection was closed"
        try:
            if usable and self.sock is not None:
                reply = self.docmd("QUIT")
        except OSError:  # and so any SMTPException: trouble at QUIT changes no verdict
            pass
        finally:
            self.close()
            self._farewell = reply

    def quit(self) -> Reply:
        """Say QUIT as smtplib does; after a refusal, which has said it already, agree once.

        So ``finally: smtp.quit()`` does not hide the refusal behind a lost connection.
        """
        if self.sock is None and self._farewell is not None:
            reply, self._farewell = self._farewell, None
            return reply
        return super().quit()

    def _reference_name(self) -> str:
        """Return the name that the caller meant: A-label or IP address; "" for a Unix socket."""
        if self._path_name:
            return self._path_name
        if self._server_hostname is not None:
            return self._server_hostname
        if not self._host or self._host.startswith("/"):
            return ""
        return syntax.reference_name(self._host)

    # -- the choke point -----------------------------------------------------------------------

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Send a command line as smtplib does.

        Raises:
            ValueError: CR or LF in it. smtplib's text shows the command; ours does not where that
                would be credentials.
        """
        pipe = self._current_pipe()
        secret = cmd.upper().startswith("AUTH") or (pipe is not None and pipe.content)
        if secret and any(end in cmd + args for end in "\r\n"):
            raise ValueError("an AUTH command holds prohibited newline characters")
        super().putcmd(cmd, args)

    def send(self, s: Any) -> None:
        """Send as smtplib does; every command in it passes the guard first.

        Raises:
            RequireTLSError: a command that this session may not carry.
            ValueError: a command that a server could read otherwise than we do.
        """
        if self.sock is None and self._ended:
            raise smtplib.SMTPServerDisconnected(self._ended)
        pipe = self._current_pipe()
        if pipe is None or pipe.content:
            return super().send(s)
        verb = ""
        for verb, rest in syntax.commands(s):
            self._check_command(verb, rest)
        super().send(s)
        pipe.command = verb
        pipe.content = verb == "BDAT"  # its octets follow at once (RFC 3030 s2)

    def _check_command(self, verb: str, rest: str) -> None:
        if verb == "RCPT":
            self._check_domain(syntax.read_rcpt(rest))
        if verb in syntax.MAIL_VERBS:
            self._check_mail(rest)
        elif verb == "AUTH":
            self._check_auth()
        elif self._requires and verb not in syntax.SETUP_VERBS:
            verdict = self.judge()
            if verdict.tls_level != "authenticated":
                self._refuse(verdict)

    def _check_mail(self, rest: str) -> None:
        """Refuse a MAIL that should carry REQUIRETLS and does not, or that may not carry it."""
        marked, null_path = syntax.read_mail(rest)
        if not (marked or self._requires):
            if self._session_optional and not self._field_is_in:
                raise ValueError("this session is for TLS-Required: No; sendmail() adds the field")
            if self._path is not None:  # what the domain's own policies demand of its hosts
                verdict = self._judge(require_tls=False)
                if not verdict.allowed:
                    self._refuse(verdict)
            return
        verdict = self._judge(null_path=null_path)
        if not verdict.allowed:
            self._refuse(verdict)
        if verdict.requiretls and not marked:
            raise errors.RequireTLSMisuse(
                "a MAIL command without REQUIRETLS was refused, because this session requires it "
                "(RFC 8689 s4.2.1); use mail() or sendmail(), which add it, or say "
                "require_tls=False for this message",
                verdict,
            )

    def _check_auth(self) -> None:
        """Refuse credentials without verified TLS, but on this machine or by request."""
        from requiretls_client.policy import judge_login

        # A host that a domain's DNS led to gets a password only if it is verified (RFC 4954 s14).
        led = self._path is not None and self._path.rung != "named"
        required = self._session_requires or self._requires or led
        local = self._dials_as_smtplib() and _is_local(self.sock)
        verdict = judge_login(
            self._facts(), excused=not required and (local or self._allow_cleartext_auth)
        )
        if not verdict.allowed:
            raise errors.refusal(verdict, "login() was refused")
        if verdict.tls_level != "authenticated":
            self._seen.cleartext_login = True

    def _dials_as_smtplib(self) -> bool:
        """Tell whether the peer is the server; a subclass may dial a proxy on this machine."""
        module = getattr(type(self)._get_socket, "__module__", None)
        return module in ("smtplib", __name__, "requiretls_client.smtps")

    def _check_domain(self, recipient: str) -> None:
        """Refuse a recipient of another domain than the one whose host this is.

        Raises:
            ValueError: what was proved holds for that domain only.
        """
        domain = self._path.route.domain if self._path is not None else ""
        if not domain:
            return
        try:
            other = syntax.domain_of(recipient, "a recipient")
        except ValueError:
            other = ""
        if other != domain:
            raise ValueError(f"this session delivers to {domain} only, not to another domain")

    # -- facts and judgement -------------------------------------------------------------------

    def ehlo(self, name: str = "") -> Reply:
        """Send EHLO as smtplib does, and keep the reply with the socket that it came from.

        Raises:
            ValueError: the name has bad grammar.
        """
        syntax.check_ehlo_name(name or self.local_hostname)
        self._seen.ehlo = None
        code, reply = super().ehlo(name)
        pipe = self._current_pipe()
        if pipe is not None:
            # As it came: smtplib strips the blanks that tell a keyword from something like it.
            lines = pipe.last.lines if pipe.last else [reply]
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

    def _facts(self, obstacle: Obstacle | None = None) -> SessionFacts:
        """Return what the connection shows now; TLS that was shut down since is none."""
        sock = self.sock if not isinstance(self.sock, ssl.SSLSocket) or self._in_tls() else None
        return facts_of(self._host_meant(), self._seen, sock, self._path, obstacle)

    def _host_meant(self) -> str:
        """Return the name of the server for a verdict: the MX host, where one was looked up."""
        if self._path is None or (self._path.rung == "named" and self._server_hostname):
            return self._reference_name()
        return self._path.host.name

    def _in_tls(self) -> bool:
        """Tell whether what we send now is encrypted."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.version() is not None

    def judge(self, *, require_tls: bool = True) -> Verdict:
        """Say whether this session, as it stands now, may carry a message. Sends nothing.

        Args:
            require_tls: judge for a message that asks for RFC 8689, or for an ordinary one.
        """
        return self._judge(require_tls=require_tls)

    def _judge(self, *, require_tls: bool = True, null_path: bool = False) -> Verdict:
        from requiretls_client.policy import judge_session

        return judge_session(self._facts(), require_tls=require_tls, null_path=null_path)

    @property
    def last_verdict(self) -> Verdict | None:
        """The receipt of the last message: the verdict it left under, or was refused with.

        None before the first message, and when the server did not take the last one.
        """
        from requiretls_client.policy import judge_session

        if isinstance(self._receipt, tuple):  # ordinary mail is judged when somebody asks
            self._receipt = judge_session(facts_of(*self._receipt), require_tls=False)
        return self._receipt

    def _refuse(self, verdict: Verdict, blocked: Blocked | None = None) -> NoReturn:
        """Leave the server and raise what the verdict says."""
        if self._lookups is not None and self._path is not None:
            from requiretls_client.mxwalk import with_way_on

            verdict = with_way_on(verdict, self._path, self._lookups)
        error = errors.refusal(verdict, cause=blocked and blocked.__cause__)
        self._leave(usable=blocked is None or blocked.kind in USABLE)
        self._receipt = verdict
        self._ended = f"please run connect() first: the session was closed when {error}"
        raise error

    # -- TLS -----------------------------------------------------------------------------------

    def _secure(self, *, null_path: bool = False) -> Verdict:
        """Bring the session to where RFC 8689 s4.2.1 lets a message leave, or refuse.

        Returns:
            A verdict that allows; its ``requiretls`` says whether MAIL carries the parameter.

        Raises:
            RequireTLSError: a condition does not hold; QUIT was sent where that was possible.
            SMTPServerDisconnected: not connected.
        """
        from requiretls_client.policy import judge_session

        if self.sock is None:
            raise smtplib.SMTPServerDisconnected(
                self._ended
                or "please run connect() first; deliver() finds the mail hosts of a domain itself"
            )
        blocked = self._reach()
        facts = self._facts(blocked.obstacle() if blocked else None)
        verdict = judge_session(facts, null_path=null_path)
        if not verdict.allowed:
            self._refuse(verdict, blocked)
        return verdict

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
                context, sock, self._reference_name(), chain=self._path is not None
            )
        except ssl.SSLCertVerificationError as error:
            raise Blocked("certificate", syntax.printable(error.verify_message)) from error
        except ssl.SSLError as error:
            raise Blocked("handshake", syntax.printable(str(error))) from error
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
    from requiretls_client.facts import SessionFacts

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


def _send_close_notify(sock: ssl.SSLSocket) -> None:
    """Send the TLS close alert without waiting for the peer's (RFC 8314 s3.4)."""
    try:
        sock.settimeout(0)
        sock.unwrap()
    except (OSError, ValueError):
        pass  # the peer has gone, or has not said its own good-bye yet


def _is_local(sock: socket.socket | None) -> bool:
    """Tell whether the peer is on this machine, so that nothing crosses a network."""
    if sock is None:
        return False
    if sock.family == getattr(socket, "AF_UNIX", None):
        return True
    import ipaddress

    try:
        address = ipaddress.ip_address(sock.getpeername()[0].partition("%")[0])
    except (OSError, ValueError):
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
