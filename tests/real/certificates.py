"""The certificates of all real servers: one authority that tests trust, one that they do not."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class RealCA:
    """The authority that tests trust.

    Attributes:
        path: its certificate, a PEM file.
    """

    def __init__(self, folder: Path) -> None:
        """Write the authority's certificate, and later every server's, into `folder`."""
        self._folder = folder
        self._authority = trustme.CA()
        self._stranger = trustme.CA()
        self.path = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.path))

    def context(self) -> ssl.SSLContext:
        """Return a new client context that verifies and trusts only this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.path)
        return context

    def issue(self, *names: str, trusted: bool = True) -> bytes:
        """Return key and chain in one PEM text, from an authority nobody trusts if asked."""
        authority = self._authority if trusted else self._stranger
        return authority.issue_cert(*names).private_key_and_cert_chain_pem.bytes()
