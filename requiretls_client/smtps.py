"""``SMTP_SSL``: smtplib's class for TLS from the first byte.

Loaded on first use.
"""

from __future__ import annotations

import sys

from requiretls_client.session import (
    DEFAULT_TIMEOUT,
    SMTP,
    StockSSL,
)
from requiretls_client.starttls import Blocked, context_of_files, without_delay

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    from requiretls_client.lookups import Lookups
    from requiretls_client.session import SourceAddress


class SMTP_SSL(SMTP, StockSSL):
    """``smtplib.SMTP_SSL``, which has TLS from the first byte, with all that :class:`SMTP` adds.

    The certificate is verified unless ``context`` says otherwise. RFC 8314 section 3.3; RFC 8689
    knows only STARTTLS, and the EHLO that is read inside this TLS is judged in its place.
    """

    context: ssl.SSLContext

    if sys.version_info >= (3, 12):

        def __init__(
            self,
            host: str = "",
            port: int = 0,
            local_hostname: str | None = None,
            *,
            timeout: float = DEFAULT_TIMEOUT,
            source_address: SourceAddress | None = None,
            context: ssl.SSLContext | None = None,
            require_tls: bool = False,
            server_hostname: str | None = None,
            lookups: Lookups | None = None,
            allow_cleartext_auth: bool = False,
        ) -> None:
            """Take smtplib's arguments and those of :class:`SMTP`."""
            super().__init__(
                host,
                port,
                local_hostname,
                timeout,
                source_address,
                require_tls=require_tls,
                context=context or _default_context(),
                server_hostname=server_hostname,
                lookups=lookups,
                allow_cleartext_auth=allow_cleartext_auth,
            )

    else:

        def __init__(
            self,
            host: str = "",
            port: int = 0,
            local_hostname: str | None = None,
            keyfile: str | None = None,
            certfile: str | None = None,
            timeout: float = DEFAULT_TIMEOUT,
            source_address: SourceAddress | None = None,
            context: ssl.SSLContext | None = None,
            *,
            require_tls: bool = False,
            server_hostname: str | None = None,
            lookups: Lookups | None = None,
            allow_cleartext_auth: bool = False,
        ) -> None:
            """Take smtplib's arguments and those of :class:`SMTP`."""
            context = context_of_files(context, keyfile, certfile)
            super().__init__(
                host,
                port,
                local_hostname,
                timeout,
                source_address,
                require_tls=require_tls,
                context=context or _default_context(),
                server_hostname=server_hostname,
                lookups=lookups,
                allow_cleartext_auth=allow_cleartext_auth,
            )

    def _get_socket(self, host: str, port: int, timeout: float) -> ssl.SSLSocket:
        # Past smtplib.SMTP_SSL's own method: only a handshake that we make ourselves proves
        # anything, and only smtplib.SMTP's keeps the ways in that others patch.
        sock = super(StockSSL, self)._get_socket(host, port, timeout)  # type: ignore[misc]  # smtplib's
        without_delay(sock)
        try:
            return self._handshake(self._path_context or self.context, sock)
        except Blocked as blocked:
            sock.close()
            self._refuse_tls(blocked)
        except BaseException:
            sock.close()
            raise


def _default_context() -> ssl.SSLContext:
    from requiretls_client.tls import default_context

    return default_context()
