"""One attempt to send a job: through its account, or straight to the mail hosts.

Never raises for what the network, a server, a policy or the configuration did: every recipient has
a result. The account's server is talked to as a mail host of a domain would be, with the same
transaction (:class:`requiretls_client.transaction.Run`); only the way to the session differs.

What can be mended at our side counts as temporary, so that the message waits for it: a password
that cannot be read or was refused (as Postfix does by default), an account that is gone, a file
that cannot be read. Nothing is ever sent with less than the job asks for.
"""

from __future__ import annotations

import functools
import smtplib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from email.errors import MessageError
from email.message import Message
from typing import TYPE_CHECKING

from requiretls_client import connection, errors, objects, syntax
from requiretls_client.cli.compose import parsed
from requiretls_client.cli.config import Account, Config, LookupSettings
from requiretls_client.cli.job import Job
from requiretls_client.cli.password import PasswordUnavailable, read
from requiretls_client.cli.values import ConfigError
from requiretls_client.mxwalk import unreachable
from requiretls_client.outgoing import Outgoing, prepare
from requiretls_client.path import Wish, refuse
from requiretls_client.reports import Attempt, DeliveryReport, RecipientResult
from requiretls_client.session import SMTP
from requiretls_client.transaction import Run, report_of
from requiretls_client.verdict import Finding, Verdict

if TYPE_CHECKING:
    import ssl

    from requiretls_client.lookups import Lookups


def transmit(job: Job, config: Config) -> DeliveryReport:
    """Try once to send a job.

    Args:
        job: with a domain in every address.
        config: has the account, and how domains are looked up.

    Returns:
        A result for each recipient, in their order.
    """
    try:
        if job.account:
            return _through(config.account(job.account), job)
        return _straight(job, config)
    except ConfigError as error:
        return _same_for_all(job, "deferred", 451, "4.3.5", str(error))
    except ValueError as error:  # it cannot be sent, now or later
        return _same_for_all(job, "refused", 554, "5.6.0", str(error))
    except TypeError as error:  # a bug of ours is no reason to give the message up
        return _same_for_all(job, "deferred", 451, "4.3.0", str(error))


def _same_for_all(job: Job, state: str, code: int, status: str, text: str) -> DeliveryReport:
    """Return the report where nothing was tried."""
    text, temporary = syntax.printable(text, 500), state == "deferred"
    results = tuple(
        RecipientResult(each, state, code, status, temporary, text, None, None, "none", (), ())
        for each in job.recipients
    )
    return DeliveryReport(job.sender, job.require_tls, results)


def _content(job: Job) -> Message | bytes:
    """Return the message in the form that lets a server without 8BITMIME have it too.

    A signed one goes as it is or not at all, and so does one that email would change.
    """
    if job.message.isascii():
        return job.message
    message = parsed(job.message)
    try:
        same = message.as_bytes() == job.message
    except (MessageError, UnicodeError):
        same = False
    return message if same and not objects.is_signed(message) else job.message


# -- straight to the mail hosts ----------------------------------------------------------------


def _straight(job: Job, config: Config) -> DeliveryReport:
    from requiretls_client.delivery import deliver  # with DNS and HTTP, which accounts do not need

    try:
        return deliver(
            _content(job),
            job.sender,
            job.recipients,
            require_tls=job.require_tls,
            tls_optional=job.tls_optional,
            lookups=_configured(config),
            port=config.lookups.port,
        )
    except errors.DeliveryFailed as error:
        if error.report is None:  # deliver() always has one
            raise
        return error.report


def _configured(config: Config) -> Lookups:
    """Return the look-ups that the configuration asks for.

    Raises:
        ConfigError: a file or name server that cannot be used.
    """
    try:
        return _lookups(config.lookups)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{config.path or 'the system'}: [lookups]: {error}") from None


@functools.lru_cache(maxsize=1)  # a flush sends many messages, each domain in a thread of its own
def _lookups(settings: LookupSettings) -> Lookups:
    from requiretls_client.lookups import Lookups
    from requiretls_client.resolver import Resolver

    return Lookups(
        Resolver(settings.nameservers, settings.nameserver_port, settings.trust_ad),
        trust=settings.ca_file or "certifi",
        allow_private=settings.allow_private,
    )


# -- through an account ------------------------------------------------------------------------


def _through(account: Account, job: Job) -> DeliveryReport:
    """Send everything in one transaction with the account's server."""
    outgoing = prepare(
        _content(job),
        job.sender,
        job.recipients,
        require_tls=job.require_tls,
        tls_optional=job.tls_optional,
    )
    mailboxes = [each for several in outgoing.domains.values() for each in several]
    run = _RelayRun(outgoing, mailboxes, job)
    return report_of(outgoing, [run.results([_Relay(account, outgoing.wish)])])


class _RelayRun(Run):
    """The transaction with a submission server, which may take DSN parameters (RFC 3461)."""

    def __init__(self, outgoing: Outgoing, mailboxes: list[str], job: Job) -> None:
        super().__init__(outgoing, mailboxes)
        self._mail = [f"RET={job.ret}"] if job.ret else []
        self._mail += [f"ENVID={_xtext(job.envelope_id)}"] if job.envelope_id else []
        self._rcpt = [f"NOTIFY={job.notify}"] if job.notify else []

    def options(self, smtp: SMTP) -> tuple[Sequence[str], Sequence[str]]:
        return (self._mail, self._rcpt) if smtp.has_extn("dsn") else ((), ())


def _xtext(text: str) -> str:
    """Return text as the value of a DSN parameter (RFC 3461 s4)."""
    return "".join(f"+{ord(each):02X}" if each in "+=" else each for each in text)


class _Relay:
    """The way to the account's server: what a walk over mail hosts is for a domain."""

    def __init__(self, account: Account, wish: Wish) -> None:
        """Begin with nothing tried."""
        self.attempts: list[Attempt] = []
        self._account, self._wish = account, wish

    def verdict(self) -> Verdict:
        """Return what stood in the way of a session, or the verdict of the one there was."""
        return self.attempts[-1].verdict

    def sessions(self) -> Iterator[SMTP]:
        """Yield the session, if there can be one."""
        smtp: SMTP | None = None
        try:
            smtp = self._session()
            verdict = self._greet(smtp)
        except _No as no:
            verdict = self._refusal(no.finding)
        except errors.RequireTLSError as error:
            if error.verdict is None:  # a refusal has one
                raise
            verdict = replace(error.verdict, require_tls=self._wish.require_tls)
        except OSError as error:  # smtplib's exceptions are ones
            verdict = self._refusal(unreachable(self._account.host, "", error))
        except BaseException:
            if smtp is not None:
                smtp.close()
            raise
        self.attempts.append(Attempt(self._account.host, 0, None, verdict))
        if smtp is None:
            return
        if verdict.allowed:
            yield smtp
        else:
            smtp._leave()  # QUIT, unless the connection was lost

    def _session(self) -> SMTP:
        """Return a session that is not connected yet."""
        account = self._account
        cls: type[SMTP] = SMTP
        if account.implicit_tls:
            from requiretls_client.smtps import SMTP_SSL

            cls = SMTP_SSL
        smtp = cls(
            timeout=account.timeout,
            context=self._context(),
            server_hostname=account.server_hostname,
        )
        smtp._session_optional = self._wish.tls_optional
        return smtp

    def _context(self) -> ssl.SSLContext | None:
        from requiretls_client import tls

        try:
            return tls.trusting(self._account.ca_file or "certifi")
        except OSError as error:
            name = self._account.name
            why = syntax.printable(error.strerror or str(error))
            text = f"the ca_file of account {name} cannot be used: {why}"
            raise self._no("certificate", text, "RFC 7817 s3", "4.3.5") from None

    def _greet(self, smtp: SMTP) -> Verdict:
        """Connect, bring up TLS, judge, log in; return the verdict.

        The password is read before the server has to wait for it, and sent only where the message
        may follow.
        """
        account = self._account
        password = self._password() if account.user else ""
        code, reply = smtp.connect(account.host, account.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, reply)
        smtp.ehlo_or_helo_if_needed()
        # In clear text only where nothing crosses a network, and STARTTLS is not offered.
        if not smtp._in_tls() and (
            smtp.has_extn("starttls") or not connection._is_local(smtp.sock)
        ):
            self._start_tls(smtp)
        strict, null_path = self._wish.require_tls, self._wish.null_path
        verdict = smtp._judge(require_tls=strict, null_path=null_path)
        if verdict.allowed and account.user:
            self._log_in(smtp, account.user, password)
        return verdict

    def _log_in(self, smtp: SMTP, user: str, password: str) -> None:
        """Log in.

        Raises:
            _No: the server refused, offers no login that we know, or the password cannot be sent.
        """
        account = self._account
        try:
            smtp.login(user, password)
        except smtplib.SMTPAuthenticationError as error:
            said = syntax.printable(error.smtp_error)
            text = f"{account.host} refused the login of account {account.name}: "
            raise self._login(f"{text}{error.smtp_code} {said}", "4.7.8") from None
        except smtplib.SMTPResponseException:
            raise
        except (smtplib.SMTPException, ValueError) as error:
            if isinstance(error, smtplib.SMTPServerDisconnected):
                raise
            text = f"account {account.name} cannot log in at {account.host}: {error}"
            raise self._login(text, "4.7.0") from None

    def _start_tls(self, smtp: SMTP) -> None:
        """Start TLS, verified.

        Raises:
            _No: it is not offered.
        """
        try:
            smtp.starttls()
            smtp.ehlo_or_helo_if_needed()  # what was said before TLS does not count
        except smtplib.SMTPNotSupportedError:
            text = f"{self._account.host} does not offer STARTTLS"
            raise self._no("tls", text, "RFC 8314 s3.3", "5.7.10") from None

    def _password(self) -> str:
        try:
            return read(self._account)
        except PasswordUnavailable as error:
            raise self._login(str(error), "4.7.0") from None

    def _login(self, text: str, status: str) -> _No:
        return self._no("login", text, "RFC 4954 s6", status)

    def _no(self, step: str, text: str, rfc: str, status: str) -> _No:
        fix = f"mend account {self._account.name} in the configuration"
        return _No(Finding(step, False, text, rfc, fix, self._account.host, status))

    def _refusal(self, finding: Finding) -> Verdict:
        return refuse(None, [finding], require_tls=self._wish.require_tls, domain=None)


class _No(Exception):
    """There will be no session; ``finding`` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding
