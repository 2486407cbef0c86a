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
import sys

from requiretls_client import errors, syntax
from requiretls_client.starttls import (
    USABLE,
    Blocked,
    Seen,
    StartTLS,
    check_context,
    context_of_files,
    facts_of,
    without_delay,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from requiretls_client.content import Content
    from requiretls_client.facts import PathFacts
    from requiretls_client.lookups import Lookups
    from requiretls_client.verdict import Verdict

    Reply = tuple[int, bytes]
    Group = tuple[Sequence[tuple[str, str]], bytes]
    Shown = tuple[str, "Seen", socket.socket | None, "PathFacts | None"]

_CONTENT_FOLLOWS = frozenset({"BDAT", "DATA"})
SMALL = 64 * 1024  # octets of content that are cheaper to copy than to send by themselves
CONNECT_TIMEOUT = 30.0  # seconds for one address of a host that has others, without a timeout


class Demand:
    """While it is entered, what one message requires is what the choke point demands."""

    def __init__(self, connection: Connection, required: bool) -> None:
        """Take what it requires."""
        self.connection, self.required = connection, required

    def __enter__(self) -> None:
        """Begin."""
        self.before = self.connection._message_requires
        self.connection._message_requires = self.required

    def __exit__(self, *_: object) -> None:
        """Go back to what held before."""
        self.connection._message_requires = self.before


class Connection(StartTLS):
    """The guarded wire under :class:`~requiretls_client.session.SMTP`; not used on its own."""

    _session_requires = False  # require_tls of the constructor
    _message_requires: bool | None = None  # of the message being sent; None outside of one
    _allow_cleartext_auth = False
    _session_optional = False  # to_domain(tls_optional=True)
    _field_is_in = False  # the message being sent has the TLS-Required field
    _delivered = False  # whether a message was taken on this connection
    _ended = ""  # why a refusal closed the session, for whoever goes on using the object
    _farewell: Reply | None = None  # the server's, for a caller who still says quit()
    _receipt: Verdict | Shown | None = None
    _judged: tuple[tuple[object, ...], Verdict] | None = None  # what was judged last, on what
    _lookups: Lookups | None = None

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
        if self._path is not None and not self._path.named:
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
        if self._path is not None and not self._path.named:
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
        dial = super()._get_socket  # type: ignore[misc]  # smtplib's
        if self._path is None or isinstance(timeout, (int, float)):
            sock: socket.socket = dial(host, port, timeout)
        else:
            sock = dial(host, port, CONNECT_TIMEOUT)
            sock.settimeout(socket.getdefaulttimeout())
        without_delay(sock)
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

    def _leave(self, *, usable: bool = True, wait: bool = True) -> None:
        """QUIT where the session still understands it, and close (RFC 8689 s4.2.1).

        Args:
            usable: it does.
            wait: for the answer, as RFC 5321 s4.1.1.10 would have it. Where the fate of every
                message is known, nothing depends on it, and it costs a round trip.
        """
        reply = 221, b"2.0.0 the connection was closed"
        try:
            if usable and self.sock is not None and wait:
                reply = self.docmd("QUIT")
            elif usable and self.sock is not None:
                self.putcmd("QUIT")
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

    # -- STARTTLS ------------------------------------------------------------------------------

    if sys.version_info >= (3, 12):

        def starttls(self, *, context: ssl.SSLContext | None = None) -> Reply:
            """Put the session into TLS, as smtplib does, and verify chain and name.

            Where ``require_tls`` has started TLS already, the first call agrees and sends
            nothing. After a failure the session is closed: nothing goes on in clear text.

            Args:
                context: None means the constructor's, else certifi's roots.

            Returns:
                Code and text of the reply to STARTTLS.

            Raises:
                SMTPNotSupportedError: STARTTLS is not offered, or TLS is already up.
                SMTPResponseException: the server refused it.
                TLSNotEstablished: the handshake failed; CertificateNotVerified when the
                    certificate was the reason.
                ValueError: the context does not verify, and the session requires it.
            """
            return self._starttls(context)

    else:

        def starttls(  # type: ignore[override]  # typeshed has the overloads
            self,
            keyfile: str | None = None,
            certfile: str | None = None,
            context: ssl.SSLContext | None = None,
        ) -> Reply:
            """Do the same with the arguments of Python 3.11, of which two are deprecated."""
            return self._starttls(context_of_files(context, keyfile, certfile))

    def _starttls(self, context: ssl.SSLContext | None) -> Reply:
        check_context(context, self._session_requires or self._requires)
        if self._seen.unclaimed_tls:
            self._seen.unclaimed_tls = False
            return 220, b"2.0.0 TLS is up since require_tls started it"
        if isinstance(self.sock, ssl.SSLSocket):  # RFC 3207 s4.2 forbids a second time
            raise smtplib.SMTPNotSupportedError("TLS is already up (RFC 3207 s4.2).")
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError("STARTTLS extension not supported by server.")
        try:
            reply = self._start_tls(context or self.context)
        except Blocked as blocked:
            self._refuse_tls(blocked)
        if self._path is not None:  # TLSA records bind the certificate, whoever starts TLS
            verdict = self._judge(require_tls=False)
            if not verdict.allowed:
                self._refuse(verdict)
        return reply

    def _refuse_tls(self, blocked: Blocked) -> NoReturn:
        """Raise for ordinary mail what smtplib would, and leave no usable session behind."""
        if blocked.kind == "refused" and blocked.reply and not self._requires:
            self._leave()
            self._ended = "please run connect() first: the server refused STARTTLS"
            raise smtplib.SMTPResponseException(*blocked.reply)
        from requiretls_client.policy import judge_session

        facts = self._facts(blocked.obstacle())
        self._refuse(judge_session(facts, require_tls=self._requires), blocked)

    # -- the choke point -----------------------------------------------------------------------

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Send a command line as smtplib does.

        Raises:
            ValueError: CR or LF in it. smtplib's text shows the command; ours does not where that
                would be credentials.
        """
        line = f"{cmd} {args}"
        if "\r" in line or "\n" in line:
            pipe = self._current_pipe()
            if line.upper().startswith("AUTH") or (pipe is not None and pipe.content):
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
        if pipe is None:
            return super().send(s)
        if pipe.content:
            if pipe.command == "BDAT" and len(s) > pipe.left:
                raise ValueError("more octets than BDAT has announced (RFC 3030 s2)")
            if not pipe.stuffed and pipe.command != "BDAT":
                syntax.check_content(pipe.command, pipe.tail, s)
            return super().send(s)
        verbs, size = self._checked_verbs(s)
        self._put(pipe, s)
        pipe.owed += verbs
        pipe.command = verbs[-1]
        if verbs[-1] == "BDAT":  # its octets follow at once (RFC 3030 s2)
            pipe.left, pipe.content = size, size > 0
            pipe.command = "BDAT" if size else "."

    def _checked_verbs(self, s: Any) -> tuple[list[str], int]:
        """Let every command in ``s`` pass the guard; return their verbs, and the size of BDAT."""
        verbs, rest = [], ""
        for verb, rest in syntax.commands(s):
            self._check_command(verb, rest)
            verbs.append(verb)
        if "BDAT" not in verbs:
            return verbs or [""], 0
        if verbs.index("BDAT") < len(verbs) - 1:
            raise ValueError("BDAT must be the last of a group: its octets follow at once")
        return verbs, syntax.bdat_size(rest)

    def _send_flight(self, due: bytes, groups: Sequence[Group]) -> None:
        """Send content that the server waits for, and groups of commands, in one flight.

        RFC 2920 s3.1: content may come first, and DATA last. The commands pass the guard like any
        other, all of them before the first octet leaves.

        Args:
            due: all that answers a 354, stuffed and with its final dot; b"" where none came.
            groups: verb and the rest of the line of each command, and the octets that a BDAT at
                their end announces.

        Raises:
            RequireTLSError: a command that this session may not carry.
            ValueError: a line that a server could read as two, or BDAT with another size.
        """
        pipe = self._current_pipe()
        if pipe is None or pipe.content != bool(due):
            raise smtplib.SMTPServerDisconnected(self._ended or "please run connect() first")
        if pipe.owed:
            self._refuse_owed_reply()
        parts, verbs = [due], ["."] if due else []
        for commands, content in groups:
            parts += [self._checked_lines(commands, len(content)), content]
            verbs += [verb for verb, _ in commands]
            if verbs[-1] == "BDAT":
                verbs[-1] = "."  # its reply is the answer to the message (RFC 3030 s2)
        if not _CONTENT_FOLLOWS.isdisjoint(verbs[:-1]):
            raise ValueError("what follows DATA, or BDAT within a group, would be content")
        if self.debuglevel <= 0 and sum(map(len, parts)) <= SMALL:
            self._put(pipe, b"".join(parts))
        else:
            for number, part in enumerate(parts):
                pipe.content = number % 2 == 0
                if part:
                    self._put(pipe, part)
                    pipe.owed = verbs  # from here on the server may answer
        pipe.content, pipe.owed, pipe.command = False, verbs, verbs[-1]

    def _send_bdat(self, content: Content) -> None:
        """Send BDAT with all of the content, once everything before it was answered (RFC 3030 s2).

        Raises:
            RequireTLSError: the session may not carry it.
        """
        self.send(f"BDAT {len(content)} LAST\r\n")
        if not isinstance(content, bytes):
            self._send_content(content.blocks())
        elif content:
            self.send(content)

    def _checked_lines(self, commands: Sequence[tuple[str, str]], size: int) -> bytes:
        """Let commands pass the guard, and return their lines; ``size`` octets of BDAT follow."""
        free = self._path is None and not self._requires  # to say all but MAIL and AUTH
        for verb, rest in commands:
            if not free or verb in syntax.GUARDED_VERBS:
                self._check_command(verb, rest)
        last, rest = commands[-1]
        if (last == "BDAT" and syntax.bdat_size(rest)) != size:
            raise ValueError("BDAT announces another size than the content has (RFC 3030 s2)")
        lines = "".join([f"{verb}{rest}\r\n" for verb, rest in commands]).encode()
        if not lines.count(b"\r") == lines.count(b"\n") == len(commands):
            raise ValueError("a command holds a line end")
        return lines

    def _check_command(self, verb: str, rest: str) -> None:
        if verb == "RCPT" and self._path is not None:
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
        required, marked, null_path = self._requires, False, False
        if required or syntax.MARK in rest.upper():  # else nothing of it matters: most mail
            marked, null_path = syntax.read_mail(rest)
        if not (marked or required):
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
        from requiretls_client.policy import judge_login, tls_level

        facts = self._facts()
        if tls_level(facts) == "authenticated":  # and so nothing to be excused
            return
        # A host that a domain's DNS led to gets a password only if it is verified (RFC 4954 s14).
        led = self._path is not None and not self._path.named
        required = self._session_requires or self._requires or led
        local = self._dials_as_smtplib() and _is_local(self.sock)
        verdict = judge_login(facts, excused=not required and (local or self._allow_cleartext_auth))
        if not verdict.allowed:
            raise errors.refusal(verdict, "login() was refused")
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

    def judge(self, *, require_tls: bool = True) -> Verdict:
        """Say whether this session, as it stands now, may carry a message. Sends nothing.

        Args:
            require_tls: judge for a message that asks for RFC 8689, or for an ordinary one.
        """
        return self._judge(require_tls=require_tls)

    def _judge(self, *, require_tls: bool = True, null_path: bool = False) -> Verdict:
        from requiretls_client.policy import judge_session

        seen = self._seen
        known = (
            self._host_meant(), self.sock, self._in_tls(), seen.tls, seen.ehlo,
            seen.cleartext_login, self._path, require_tls, null_path,
        )  # fmt: skip
        if self._judged is None or self._judged[0] != known:
            facts = self._facts()
            verdict = judge_session(facts, require_tls=require_tls, null_path=null_path)
            self._judged = known, verdict
        return self._judged[1]

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
        if blocked is None:
            verdict = self._judge(null_path=null_path)
        else:
            verdict = judge_session(self._facts(blocked.obstacle()), null_path=null_path)
        if not verdict.allowed:
            self._refuse(verdict, blocked)
        return verdict


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
