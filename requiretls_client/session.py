"""``SMTP``: smtplib's class that sends with REQUIRETLS or refuses.

It talks as smtplib does and adds one promise: a message with ``require_tls`` leaves with
REQUIRETLS on its MAIL command over a session that meets RFC 8689 section 4.2.1, or it does not
leave and the caller learns why. The guarded wire is :mod:`requiretls_client.connection`; here
are the messages.
"""

from __future__ import annotations

import functools
import smtplib
import socket
import ssl
from _thread import RLock

from requiretls_client import syntax
from requiretls_client.connection import Connection, Demand
from requiretls_client.errors import DeliveryUnknown, ReplyError
from requiretls_client.starttls import Seen, check_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from email.message import Message
    from typing import Any, Self, TypeVar

    from requiretls_client.connection import Reply
    from requiretls_client.lookups import Lookups
    from requiretls_client.reports import MessageOutcome
    from requiretls_client.sasl import Scrubber
    from requiretls_client.sending import Mail
    from requiretls_client.verdict import Verdict

    Method = TypeVar("Method", bound=Callable[..., Any])
    SourceAddress = tuple[bytearray | bytes | str, int]

DEFAULT_TIMEOUT: float = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]  # smtplib uses it too
_Stock = smtplib.SMTP  # kept: others put our classes in place of smtplib's
_stock_init = _Stock.__init__
StockSSL = smtplib.SMTP_SSL
StockLMTP = smtplib.LMTP


@functools.cache
def _this_machine() -> str:
    """Return this machine's name as smtplib finds it, where it fits EHLO.

    Asked for once in a process: the name service may take seconds to answer.
    """
    probe = object.__new__(_Stock)
    _stock_init(probe)
    return syntax.usable_ehlo_name(probe.local_hostname)


def in_turn(method: Method) -> Method:
    """Let two threads that share a session take turns, so that each message is whole.

    Where one is interrupted, nobody knows which replies are still to come: the session is closed.
    """

    @functools.wraps(method)
    def taking_turns(self: SMTP, *args: Any, **options: Any) -> Any:
        with self._turn:
            try:
                return method(self, *args, **options)
            except Exception:
                raise
            except BaseException:
                self._message_requires, self._field_is_in = None, False  # of this message alone
                self.close()
                raise

    return taking_turns  # type: ignore[return-value]  # of the same signature


class SMTP(Connection):
    """``smtplib.SMTP`` that verifies TLS, and that sends with REQUIRETLS or refuses.

    Args:
        host: server to connect to: name or address, also ``host:port``; "" connects later.
        port: 0 means the class's default (25).
        local_hostname: name for EHLO; None means this machine's.
        timeout: seconds for each wait on the socket, as in smtplib.
        source_address: ``(host, port)`` to bind to, as in smtplib.
        require_tls: what messages ask for unless they say otherwise. When True, the session has
            verified TLS and REQUIRETLS before the constructor (or ``connect()``) returns.
        context: for TLS; None means certifi's roots, TLS 1.2 and up, chain and name verified.
        server_hostname: the name to verify and to send as SNI, when it is not ``host``.
        lookups: a :class:`~requiretls_client.lookups.Lookups`; with it the server's addresses and
            TLSA records are looked up first, and secure TLSA records bind its certificate (RFC
            7672 s3.1.3, RFC 7673). No MX record is looked up: the host is the server. Where such
            records exist they decide instead of ``context``, which is not used then.
        allow_cleartext_auth: let ``login()`` go out without verified TLS. On loopback and Unix
            sockets it always may; with ``require_tls`` it never does.

    Raises:
        ValueError: ``context`` does not verify although ``require_tls`` is set; a bad name.
        RequireTLSError: ``require_tls`` is set and the session does not qualify.
        OSError: as smtplib; its exceptions all derive from it.
    """

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        source_address: SourceAddress | None = None,
        *,
        require_tls: bool = False,
        context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        lookups: Lookups | None = None,
        allow_cleartext_auth: bool = False,
    ) -> None:
        """Take smtplib's arguments and ours; connect when ``host`` is given."""
        check_context(context, require_tls)
        self._session_requires = bool(require_tls)
        self._allow_cleartext_auth = bool(allow_cleartext_auth)
        if server_hostname is not None:
            server_hostname = syntax.reference_name(server_hostname, "server_hostname")
        self._server_hostname = server_hostname
        self._lookups = lookups
        self._seen = Seen()
        self._turn = RLock()
        self._accepted: list[str] = []  # recipients of the open transaction
        self._refused: dict[str, Reply] = {}
        given = local_hostname
        if local_hostname is None:
            local_hostname = _this_machine()
        # Without the host: smtplib connects before it sets local_hostname, and the EHLO that
        # require_tls needs at once has to name us.
        _stock_init(
            self, local_hostname=local_hostname, timeout=timeout, source_address=source_address
        )
        if require_tls and given is not None and given != syntax.usable_ehlo_name(given):
            # EHLO is due at once; without require_tls it is refused when it is due, as in smtplib.
            raise ValueError("the EHLO name is neither a host name nor an address literal")
        self.context = context
        if host:
            self._connect_or_close(host, port)

    @classmethod
    def to_domain(
        cls,
        domain: str,
        *,
        require_tls: bool = False,
        tls_optional: bool = False,
        lookups: Lookups | None = None,
        port: int = 25,
        local_hostname: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        source_address: SourceAddress | None = None,
    ) -> Self:
        """Return a session with the first mail host of a domain that qualifies.

        MX, addresses, TLSA records and the MTA-STS policy are looked up first; then host after
        host is tried, as RFC 8689 s4.2.1 says. The session takes recipients of this domain only.

        Args:
            domain: recipient domain, such as ``example.net``, or an address literal.
            require_tls: RFC 8689 for every message, unless it says otherwise.
            tls_optional: every message gets ``TLS-Required: No``; verified TLS is tried first,
                then TLS, then clear text (RFC 8689 s4.2.2).
            lookups: None means the process's own, with the defaults of
                :class:`~requiretls_client.lookups.Lookups`.
            port: TCP port of the mail hosts.
            local_hostname: name for EHLO; None means this machine's.
            timeout: seconds for each wait on the socket.
            source_address: ``(host, port)`` to bind to.

        Raises:
            ValueError: a bad domain, or ``require_tls`` together with ``tls_optional``.
            RequireTLSError: no host qualifies: the class says why, ``findings`` and ``verdict``
                have every host.
        """
        from requiretls_client.mxwalk import first_session

        return first_session(
            cls, domain, lookups, port=port,
            require_tls=require_tls, tls_optional=tls_optional,
            local_hostname=local_hostname, timeout=timeout, source_address=source_address,
        )  # fmt: skip

    def _connect_or_close(self, host: str, port: int) -> None:
        """Do with the host what smtplib's constructor does, and leave no socket behind."""
        try:
            code, reply = self.connect(host, port)
            if code != 220:
                raise smtplib.SMTPConnectError(code, reply)
        except BaseException:
            self.close()
            raise

    def __exit__(self, *args: Any) -> None:
        """QUIT and close; trouble at QUIT hides neither an error nor a message that was taken.

        Once a message was taken, the answer to QUIT is not waited for.
        """
        if args[0] is None and self._delivered:
            self._leave(wait=False)
            return
        try:
            super().__exit__(*args)
        except smtplib.SMTPException:
            if args[0] is None:
                raise

    # -- login ---------------------------------------------------------------------------------

    _scrubber: Scrubber | None = None  # knows the secrets while login() or auth() runs
    _auth_challenge_count: int  # smtplib's, for auth_login()

    def login(
        self,
        user: str,
        password: str,
        *,
        initial_response_ok: bool = True,
        mechanism: str | None = None,
    ) -> Reply:
        """Log in as smtplib does, by the best of SCRAM-SHA-256, PLAIN, LOGIN and CRAM-MD5.

        One attempt: a password that was refused (535) is not sent again by another mechanism.
        Neither user nor password stays on the object.

        Args:
            user: user name.
            password: password; with OAUTHBEARER and XOAUTH2 the access token.
            initial_response_ok: whether AUTH may carry the first response at once.
            mechanism: this one and no other; None chooses. ``"OAUTHBEARER"`` and ``"XOAUTH2"``
                are done only by request.

        Returns:
            Code and text of the reply: 235, or 503 when somebody has logged in already.

        Raises:
            ValueError: no such mechanism, or characters that none can carry.
            TLSNotEstablished: no verified TLS, and not on this machine (RFC 4954 s14).
            SMTPNotSupportedError: AUTH, or the mechanism, is not offered.
            SMTPAuthenticationError: the server refused (535: the credentials are wrong), or it
                failed to prove itself to SCRAM, and the session is closed.
            SMTPException: as smtplib.
        """
        from requiretls_client.login import log_in
        from requiretls_client.sasl import Hidden

        secret = Hidden(password)
        del password  # what formats a traceback may show local variables
        with self._turn:
            return log_in(
                self, user, secret, mechanism=mechanism, initial_response_ok=initial_response_ok
            )

    def auth(
        self,
        mechanism: str,
        authobject: Callable[..., str | None],
        *,
        initial_response_ok: bool = True,
    ) -> Reply:
        """Run a mechanism that the caller brings, as smtplib does.

        Challenges are strict base64, at most five; an exchange that fails is cancelled.

        Raises:
            ValueError: ``mechanism`` is no name of one.
            SMTPAuthenticationError: the server refused, or its challenge was not base64.
            SMTPException: it asks without end.
        """
        from requiretls_client.login import authenticate

        with self._turn:
            return authenticate(
                self, mechanism, authobject, initial_response_ok=initial_response_ok
            )

    def _print_debug(self, *args: Any) -> None:
        """Print as smtplib does, without credentials, and without content below level 2."""
        from requiretls_client.login import shown

        super()._print_debug(*shown(self, args))  # type: ignore[misc]  # smtplib's

    # -- messages ------------------------------------------------------------------------------

    @in_turn
    def mail(self, sender: str, options: Sequence[str] = ()) -> Reply:
        """Send MAIL as smtplib does; with REQUIRETLS, and judged again, where it is required.

        Args:
            sender: reverse path; "" or ``<>`` for a bounce.
            options: ESMTP parameters; ``REQUIRETLS`` among them is enforced, never just sent.

        Raises:
            RequireTLSError: the session does not qualify.
            ValueError: bad grammar in an argument.
        """
        others, marked = syntax.split_mark(syntax.checked_options(options, "options"))
        path = syntax.mailbox(sender, "sender")
        self._refuse_owed_reply()
        self._accepted, self._refused = [], {}
        with Demand(self, self._requires or marked):
            if self._requires:
                syntax.refuse_full_return(others)
                if self._secure(null_path=not path).requiretls:
                    others.append(syntax.MARK)
            return super().mail(path, others)

    def rcpt(self, recip: str, options: Sequence[str] = ()) -> Reply:
        """Send RCPT as smtplib does.

        Raises:
            ValueError: bad grammar in an argument.
        """
        options = syntax.checked_options(options, "options")
        path = syntax.mailbox(recip, "recip")
        if not path:
            raise ValueError("recip is empty")
        code, reply = super().rcpt(path, options)
        if code in (250, 251):
            self._accepted.append(recip)
        elif code < 400:  # smtplib calls it refused, and the server may mean yes
            self.close()
            raise ReplyError(f"RCPT was answered with {code}, which is neither yes nor no")
        else:
            self._refused[recip] = code, reply
        return code, reply

    def rset(self) -> Reply:
        """Send RSET as smtplib does; nobody is accepted any more."""
        self._accepted = []
        return super().rset()

    @in_turn
    def data(self, msg: Any) -> Reply:
        """Send DATA and the content as smtplib does; only 250 says that the message was taken.

        Raises:
            SMTPDataError: DATA was refused; nothing of the content was sent.
            ReplyError: DATA was answered with neither 354 nor a refusal; the same.
            DeliveryUnknown: the content has left, and no answer says yes or no.
        """
        from requiretls_client.content import raw_bytes

        if hasattr(msg, "read"):
            from requiretls_client.streaming import scanned

            with scanned(msg, binary=False) as content:
                return SMTP.data(self, content)
        try:
            return super().data(msg if hasattr(msg, "blocks") else raw_bytes(msg))
        except DeliveryUnknown as error:
            error.recipients, error.refused = tuple(self._accepted), dict(self._refused)
            raise

    @in_turn
    def sendmail(
        self,
        from_addr: str,
        to_addrs: str | Sequence[str],
        msg: Any,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
        *,
        require_tls: bool | None = None,
        tls_optional: bool = False,
    ) -> dict[str, Reply]:
        """Send one message as smtplib does; with ``require_tls`` under RFC 8689 or not at all.

        Args:
            from_addr: reverse path; "" or ``<>`` for a bounce.
            to_addrs: one recipient, or several.
            msg: the message, header and body: str (ASCII), bytes, or a binary file, which is read
                twice from where it stands to its end and never held. Every line ends with CRLF
                on the wire, as RFC 5321 s2.3.8 has it.
            mail_options: ESMTP parameters of MAIL. ``REQUIRETLS`` means ``require_tls=True``;
                with ``BODY=BINARYMIME`` every octet of the body goes as it is (RFC 3030 s3).
            rcpt_options: ESMTP parameters of each RCPT.
            require_tls: enforce RFC 8689 s4.2.1; None means "as the session says".
            tls_optional: put ``TLS-Required: No`` into the message (RFC 8689 s3), once.

        Returns:
            The refused recipients, each with the server's code and text; empty when all were
            accepted.

        Raises:
            ValueError: a bad or contradictory argument, a line beyond 998 octets, NUL in the
                header, or line ends that break a DKIM signature; nothing was sent.
            RequireTLSError: a condition of RFC 8689 does not hold; nothing of the message was
                sent, and the session is closed.
            SMTPNotSupportedError: 8-bit octets without 8BITMIME, a header beyond ASCII without
                SMTPUTF8, BINARYMIME where it is not offered; nothing of the message was sent.
            SMTPSenderRefused: also 552 before MAIL, for more than the SIZE that the server said.
            SMTPException: as smtplib; also for a file that changed meanwhile.
            OSError: of the file. Once content has left, these two close the session.
        """
        from requiretls_client.sending import prepare, send

        self._receipt = None
        if hasattr(msg, "read"):
            return self._send_file(
                msg, from_addr, to_addrs, mail_options, rcpt_options,
                require_tls=require_tls, tls_optional=tls_optional,
            )  # fmt: skip
        mail = prepare(
            self, from_addr, to_addrs, msg, mail_options, rcpt_options,
            require_tls=require_tls, tls_optional=tls_optional,
        )  # fmt: skip
        return send(self, mail)

    use_pipelining = True  # where the server offers it; False goes step by step, as smtplib
    use_chunking = False  # True: ordinary content rides along with BDAT, see pipelining

    def _send_file(
        self,
        file: Any,
        from_addr: str,
        to_addrs: str | Sequence[str],
        mail_options: Sequence[str],
        rcpt_options: Sequence[str],
        **wish: Any,
    ) -> dict[str, Reply]:
        """Send the message in a file, which is looked through before anything else."""
        from requiretls_client import content
        from requiretls_client.streaming import scanned

        mail_options = syntax.checked_options(mail_options, "mail_options")
        with scanned(file, binary=content.is_binary(mail_options)) as found:
            return SMTP.sendmail(
                self, from_addr, to_addrs, found, mail_options, rcpt_options, **wish
            )

    def _step_by_step(self, mail: Mail) -> dict[str, Reply]:
        """Send a message that was checked as smtplib does."""
        found: Any = mail.content  # smtplib asks for its length, and gives it to data()
        if not isinstance(found, bytes) and not _is_ours(type(self).data):
            found = found.whole()  # who has written data() for smtplib expects bytes
        pipe = self._current_pipe()
        try:
            return super().sendmail(
                mail.sender, mail.recipients, found, mail.mail_options, mail.rcpt_options
            )
        except smtplib.SMTPServerDisconnected as error:
            if isinstance(error, DeliveryUnknown) or pipe is None or pipe.owed != ["."]:
                raise
            lost = DeliveryUnknown(f"the answer to the message did not come: {error}")
            lost.recipients, lost.refused = tuple(self._accepted), dict(self._refused)
            raise lost from error  # a data() of its own does not say so

    def _note_delivered(self, receipt: Verdict | None) -> None:
        """Keep the receipt of a message that the server took; None: it is judged when asked."""
        self._receipt = receipt or (self._host_meant(), self._seen, self.sock, self._path)
        self._delivered = True

    @in_turn
    def send_message(
        self,
        msg: Message,
        from_addr: str | None = None,
        to_addrs: str | Sequence[str] | None = None,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
        *,
        require_tls: bool | None = None,
        tls_optional: bool = False,
    ) -> dict[str, Reply]:
        """Send a message object as smtplib does; with ``require_tls`` under RFC 8689 or not at all.

        The object is not changed, and what it is at the call is what is sent. Arguments, result
        and errors are those of :meth:`sendmail`; addresses that are None are taken from the
        header, as smtplib does. Parts with long lines, and where the server wants it 8-bit ones,
        are encoded for the way, unless the message is signed.
        """
        from requiretls_client import sending

        self._receipt = None
        letter = sending.read(
            self, msg, from_addr, to_addrs, mail_options,
            require_tls=require_tls, tls_optional=tls_optional,
        )  # fmt: skip
        with Demand(self, letter.required):
            if letter.required:  # first: the EHLO from before TLS says nothing about SMTPUTF8
                self._secure(null_path=letter.sender in ("", "<>"))
            self.ehlo_or_helo_if_needed()
            raw = letter.form(self)
            return self.sendmail(
                letter.sender, letter.recipients, raw, letter.mail_options, rcpt_options
            )

    @in_turn
    def send_messages(
        self,
        messages: Iterable[Message | tuple[str | None, str | Sequence[str] | None, Any]],
        *,
        require_tls: bool | None = None,
        tls_optional: bool = False,
        in_flight: int = 1,
        progress: Callable[[MessageOutcome], object] | None = None,
    ) -> list[MessageOutcome]:
        """Send many messages over this session, in about one round trip each (RFC 2920).

        What goes wrong with one is in its outcome, and the others are sent all the same. When the
        connection ends, the outcomes of the rest say so: those that may have arrived are
        ``unknown``, the others were not sent. Nothing is sent twice.

        Args:
            messages: message objects, or tuples ``(from_addr, to_addrs, msg)`` as the arguments of
                :meth:`send_message` or, with a raw ``msg``, of :meth:`sendmail`. Any iterable; it
                is read as the sending goes on, and a message leaves whole when the next one, or
                the end, is there.
            require_tls: for every message; None means "as the session says".
            tls_optional: ``TLS-Required: No`` for every message.
            in_flight: messages that may be under way at the same time, where the server offers
                CHUNKING and RFC 8689 does not hold for them. More than 1 is for servers that you
                know to take MAIL behind BDAT: RFC 3030 does not say so outright. Where the
                connection breaks, the whole flight may be ``unknown``.
            progress: called with each outcome, in order, as soon as it is known. Neither it nor
                the iterable may use this session meanwhile: another message is under way. What
                either raises comes out once all that has begun is sent and told.

        Returns:
            An outcome for each message, in their order.

        Raises:
            ValueError: arguments that contradict themselves; nothing was sent. What is wrong with
                a message is in its outcome instead.
        """
        from requiretls_client import batch

        wish: Any = {
            "require_tls": require_tls, "tls_optional": tls_optional, "in_flight": in_flight
        }  # fmt: skip
        batch.check(**wish)
        return batch.Batch(self, progress, **wish).run(messages)


def _is_ours(method: Any) -> bool:
    return str(getattr(method, "__module__", "")).startswith("requiretls_client.")
