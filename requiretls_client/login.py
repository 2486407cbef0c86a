"""The dialogue of ``login()`` and ``auth()``: which mechanism, what goes out, what is believed.

Does its I/O through the connection's ``docmd``, and so through the choke point; the messages are
:mod:`requiretls_client.sasl`'s. RFC 4954. No secret stays on the connection, and none is in what
is raised: neither in its arguments nor in the local variables of its traceback.
"""

from __future__ import annotations

import re
import smtplib
import sys

from requiretls_client import sasl, syntax
from requiretls_client.sasl import BadChallenge, Hidden, Scrubber, Unproven

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from requiretls_client.connection import Reply
    from requiretls_client.sasl import Exchange
    from requiretls_client.session import SMTP

MAX_CHALLENGES = 5  # as smtplib
MAX_LINE = 512  # octets with CRLF; a longer initial response waits for 334 (RFC 4954 s4)
TRY_NEXT = frozenset({504, 534})  # the mechanism was refused, and no secret judged (RFC 4954 s6)

# In repr() a tab is two characters. What stands behind AUTH and the mechanism is hidden.
_AUTH = re.compile(r"(\bAUTH(?: |\\t)+[^ \\'\"]+)(?: |\\t)+[^ \\'\"]+", re.IGNORECASE)


def log_in(
    connection: SMTP,
    user: str,
    secret: Hidden,
    *,
    mechanism: str | None = None,
    initial_response_ok: bool = True,
) -> Reply:
    """Log in with the best mechanism that the server offers, or with the one that is asked for.

    The arguments and errors are those of :meth:`requiretls_client.session.SMTP.login`.
    """
    before = sys.exception()  # what the caller is handling is not ours to touch
    scrubber = Scrubber()
    connection._scrubber = scrubber
    try:
        sasl.check_credentials(user, secret)
        scrubber.learn(secret)
        return _try_each(connection, user, secret, mechanism, initial_response_ok)
    except BaseException as error:
        _forget_frames(error, before)
        _scrub(error, before, scrubber)
        raise
    finally:
        connection._scrubber = None
        for name in ("user", "password"):  # whoever set them by hand
            vars(connection).pop(name, None)


def authenticate(
    connection: SMTP,
    mechanism: str,
    authobject: Callable[..., str | None],
    *,
    initial_response_ok: bool = True,
) -> Reply:
    """Run a mechanism that the caller brings, as smtplib's ``auth()`` does."""
    mechanism = sasl.check_name(mechanism)
    before = sys.exception()  # what the caller is handling is not ours to touch
    scrubber = Scrubber()
    connection._scrubber = scrubber
    password = getattr(connection, "password", None)
    if isinstance(password, str):
        scrubber.learn(Hidden(password))
    del password
    own: list[BaseException] = []  # the caller's exceptions, which keep their traceback

    def answer(challenge: bytes | None) -> Hidden | None:
        text: object
        try:
            text = authobject() if challenge is None else authobject(challenge)
            if isinstance(text, str):
                text.encode()
        except UnicodeError:  # it would show what it could not encode
            text = b""
        except BaseException as error:
            own.append(error)
            raise
        if text is None and challenge is None:
            return None
        if not isinstance(text, str):
            raise TypeError("authobject must return a str, of characters that can be encoded")
        return Hidden(text)

    try:
        steps = sasl.by_caller(answer, at_once=initial_response_ok)
        return _converse(connection, mechanism, steps, next(steps), at_once=initial_response_ok)
    except BaseException as error:
        if error not in own:
            _forget_frames(error, before)
        _scrub(error, before, scrubber)
        raise
    finally:
        connection._scrubber = None


def shown(connection: SMTP, words: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a line of smtplib's debug output without what is secret.

    Credentials are hidden at every level, the content of messages at level 1.
    """
    if words[:1] == ("send:",) and len(words) == 2:
        pipe = connection._current_pipe()
        if pipe is None or not pipe.content:
            return words[0], _AUTH.sub(r"\1 [hidden]", words[1])
        if pipe.command == "AUTH":
            return words[0], "[hidden]"
        return words if connection.debuglevel > 1 else (words[0], "[content hidden]")
    scrubber = connection._scrubber
    if scrubber is None:
        return words
    return tuple(
        scrubber.clean_text(word if isinstance(word, str) else repr(word)) for word in words
    )


# -- which mechanism ---------------------------------------------------------------------------


def _try_each(
    connection: SMTP, user: str, secret: Hidden, mechanism: str | None, at_once: bool
) -> Reply:
    """Try the mechanisms in turn, until one is not refused for its own sake."""
    wanted = sasl.PASSWORD_MECHANISMS if mechanism is None else (sasl.known(mechanism),)
    failure: Exception | None = None
    for name in _offered(connection, wanted):
        steps = _begin(connection, name, user, secret)
        try:
            first = next(steps)
        except ValueError as error:  # the mechanism cannot carry these; nothing was sent
            failure = failure or error
            continue
        try:
            return _converse(connection, name, steps, first, at_once=at_once, user=user)
        except smtplib.SMTPAuthenticationError as error:
            if error.smtp_code not in TRY_NEXT:
                raise
            failure = error
    if failure is None:
        if mechanism is not None:
            raise smtplib.SMTPNotSupportedError(f"AUTH {wanted[0]} is not offered by the server.")
        raise smtplib.SMTPException("No suitable authentication method found.")
    raise failure


def _offered(connection: SMTP, wanted: tuple[str, ...]) -> list[str]:
    """Return those of the mechanisms that the EHLO reply on this very socket names."""
    connection.ehlo_or_helo_if_needed()
    if connection._current_ehlo() is None and connection.helo_resp is None:
        connection.ehlo()  # the list is from before TLS, which somebody else has started
    if not connection.has_extn("auth"):
        raise smtplib.SMTPNotSupportedError("SMTP AUTH extension not supported by server.")
    offered = connection.esmtp_features["auth"].upper().split()
    return [name for name in wanted if name in offered]


def _begin(connection: SMTP, name: str, user: str, secret: Hidden) -> Exchange:
    """Return the exchange of a mechanism, which is told no more than it asks for."""
    if name == "SCRAM-SHA-256":
        from secrets import token_urlsafe

        return sasl.begin(name, user, secret, nonce=token_urlsafe(24))
    if name == "OAUTHBEARER":
        host, port = connection._reference_name(), _dialled_port(connection)
        return sasl.begin(name, user, secret, host=host, port=port)
    return sasl.begin(name, user, secret)


def _dialled_port(connection: SMTP) -> int:
    """Return the server's port; 0 where there is none, or a proxy's in its place."""
    try:
        peer = connection.sock.getpeername() if connection.sock else None
    except OSError:
        return 0
    return int(peer[1]) if isinstance(peer, tuple) and connection._dials_as_smtplib() else 0


# -- the dialogue ------------------------------------------------------------------------------


def _converse(
    connection: SMTP,
    name: str,
    steps: Exchange,
    first: sasl.Response,
    *,
    at_once: bool,
    user: str | None = None,
) -> Reply:
    """Say AUTH, answer the challenges, and believe no success that the mechanism does not bear.

    Args:
        connection: the connection.
        name: of the mechanism.
        steps: its exchange, which has made the first step.
        first: what that gave.
        at_once: whether an initial response may stand in the command.
        user: the user name, which is not hidden; None means the connection's.

    Raises:
        SMTPAuthenticationError: the server refused, or broke the exchange (RFC 4954 s6).
        SMTPException: it asks without end.
    """
    scrubber = connection._scrubber or Scrubber()
    user = getattr(connection, "user", None) if user is None else user
    command, held = _command(name, first, at_once)
    response, challenge = first, None
    if first.text is not None:
        scrubber.learn_response(first.text, user)
    connection._auth_challenge_count = 0 if held or first.text is None else 1
    code, text = connection.docmd(command.value)
    while code == 334:
        connection._auth_challenge_count += 1
        if connection._auth_challenge_count > MAX_CHALLENGES:
            _cancel(connection)
            raise smtplib.SMTPException(
                f"Server AUTH mechanism infinite loop: more than {MAX_CHALLENGES} challenges"
            )
        try:
            challenge = sasl.decode(text)
            if held:
                held = False
            else:
                response = _next(steps, challenge)
        except BadChallenge as error:
            raise _broken(connection, name, error) from None
        except BaseException as error:
            _cancel(connection, wait=isinstance(error, Exception))
            raise
        assert response.text is not None  # noqa: S101 - only a first step has none
        scrubber.learn_response(response.text, user)
        code, text = connection.docmd(sasl.encode(response.text).value)
    if code == 503 and challenge is None:
        return code, text  # as smtplib: somebody has logged in already
    if code in (235, 503):
        if response.final:
            return code, scrubber.clean(text)
        early = Unproven("the server said yes before it had given its own proof")
        raise _broken(connection, name, early, waiting=False)
    if name in sasl.TOKEN_MECHANISMS and challenge:  # its status (RFC 7628 s3.2.2)
        text += b" " + syntax.printable(scrubber.clean(challenge)).encode()
    raise smtplib.SMTPAuthenticationError(code, scrubber.clean(text))


def _command(name: str, first: sasl.Response, at_once: bool) -> tuple[Hidden, bool]:
    """Return the command, and whether the first response is held back for a challenge."""
    bare = Hidden(f"AUTH {name}")
    if first.text is None:
        return bare, False
    whole = Hidden(f"{bare.value} {sasl.encode(first.text).value or '='}")
    if at_once and len(whole.value) + 2 <= MAX_LINE:
        return whole, False
    return bare, True


def _next(steps: Exchange, challenge: bytes) -> sasl.Response:
    try:
        return steps.send(challenge)
    except StopIteration:
        pass
    raise BadChallenge("the server asks for more than the mechanism has")


def _cancel(connection: SMTP, *, wait: bool = True) -> None:
    """Take AUTH back (RFC 4954 s4); close the session if it is then not where we think it is."""
    try:
        if wait and connection.docmd("*")[0] >= 400:
            return
    except OSError:
        pass
    connection.close()


def _broken(
    connection: SMTP, name: str, error: BadChallenge, *, waiting: bool = True
) -> smtplib.SMTPAuthenticationError:
    """End an exchange that the server has broken, and return the exception for it.

    Its code is ours: 501 is the reply to a cancelled exchange, 535 the one to a wrong password.
    """
    if waiting:
        _cancel(connection)
    if not isinstance(error, Unproven):
        return smtplib.SMTPAuthenticationError(
            501, f"5.7.0 AUTH {name} cancelled: {error}".encode()
        )
    connection._leave()
    text = f"AUTH {name} failed: {error}"
    connection._ended = f"please run connect() first: {text}"
    return smtplib.SMTPAuthenticationError(535, f"5.7.8 {text}".encode())


# -- what is raised ----------------------------------------------------------------------------


def _chain(error: BaseException, before: BaseException | None) -> list[BaseException]:
    """Return an exception and all that hang on it, up to one that was there before."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each is not before and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__]
    return found


def _forget_frames(error: BaseException, before: BaseException | None) -> None:
    """Take the tracebacks away, whose local variables hold what was sent."""
    for each in _chain(error, before):
        each.__traceback__ = None


def _scrub(error: BaseException, before: BaseException | None, scrubber: Scrubber) -> None:
    """Take the secrets out of the arguments and attributes: what a server said may repeat them."""

    def clean(value: Any) -> Any:
        if isinstance(value, bytes):
            return scrubber.clean(value)
        return scrubber.clean_text(value) if isinstance(value, str) else value

    for each in _chain(error, before):
        cleaned = tuple(map(clean, each.args))
        if cleaned != each.args:
            each.args = cleaned
        for name, value in vars(each).items():
            if isinstance(value, bytes | str):
                setattr(each, name, clean(value))
