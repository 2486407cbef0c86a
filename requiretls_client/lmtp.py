"""``LMTP``: smtplib's class for local delivery, with one outcome for each recipient.

Loaded on first use, since most programs never need it.
"""

from __future__ import annotations

import smtplib

from requiretls_client.errors import DeliveryUnknown
from requiretls_client.session import DEFAULT_TIMEOUT, SMTP, StockLMTP, in_turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from typing import Any

    from requiretls_client.connection import Reply
    from requiretls_client.lookups import Lookups
    from requiretls_client.session import SourceAddress


class LMTP(SMTP, StockLMTP):
    """``smtplib.LMTP``, with all that :class:`SMTP` adds; RFC 2033, on TCP or a Unix socket.

    An LMTP server answers once per accepted recipient after the final dot. smtplib reads the
    first answer only and reports the others as sent; here each one counts.
    """

    def __init__(
        self,
        host: str = "",
        port: int = smtplib.LMTP_PORT,
        local_hostname: str | None = None,
        source_address: SourceAddress | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        require_tls: bool = False,
        context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        lookups: Lookups | None = None,
        allow_cleartext_auth: bool = False,
    ) -> None:
        """Take smtplib's arguments and those of :class:`SMTP`."""
        if port == smtplib.LMTP_PORT and host.count(":") == 1:
            port = 0  # the default; the host names its own
        super().__init__(
            host,
            port,
            local_hostname,
            timeout,
            source_address,
            require_tls=require_tls,
            context=context,
            server_hostname=server_hostname,
            lookups=lookups,
            allow_cleartext_auth=allow_cleartext_auth,
        )

    def data(self, msg: Any) -> Reply:
        """Send DATA and the content, and read one reply per accepted recipient (RFC 2033 s4.2).

        Returns:
            The first reply that accepts; the first of all when none does.
        """
        accepted = self._accepted
        replies = [super().data(msg)]
        self._accepted = []
        why: smtplib.SMTPServerDisconnected | None = None
        try:
            while len(replies) < len(accepted):
                replies.append(self.getreply())
        except smtplib.SMTPServerDisconnected as error:
            why = error
        # A server that falls silent perhaps counts fewer recipients, and whose answer is whose?
        silent = why is not None and isinstance(why.__cause__, TimeoutError)
        outcomes = {} if silent else dict(zip(accepted, replies, strict=False))
        refused = {who: reply for who, reply in outcomes.items() if reply[0] >= 400}
        taken = tuple(who for who, reply in outcomes.items() if reply[0] == 250)
        self._refused.update(refused)
        unknown = tuple(who for who in accepted if who not in refused and who not in taken)
        if unknown:  # lost between two answers, or an answer that is neither yes nor no
            self.close()
            lost = DeliveryUnknown(f"{len(unknown)} of {len(accepted)} have no answer to count on")
            lost.recipients, lost.accepted, lost.refused = unknown, taken, dict(self._refused)
            raise lost from why
        return next((reply for reply in replies if reply[0] == 250), replies[0])

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
        """Send one message; the result names those refused after the final dot too.

        Arguments and errors are those of :meth:`SMTP.sendmail`.

        Raises:
            SMTPRecipientsRefused: also when every recipient was refused after the final dot.
        """
        self._refused = {}
        to_addrs = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
        try:
            super().sendmail(
                from_addr,
                to_addrs,
                msg,
                mail_options,
                rcpt_options,
                require_tls=require_tls,
                tls_optional=tls_optional,
            )
        except smtplib.SMTPDataError:
            if set(to_addrs) <= set(self._refused):
                raise smtplib.SMTPRecipientsRefused(dict(self._refused)) from None
            raise
        return dict(self._refused)
