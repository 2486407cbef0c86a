"""What the test server knows of a session, and the rules for MAIL and RCPT.

Pure: text in, refusal or None out. RFC 5321 s4.1.2 (paths and parameters), RFC 8689 s4.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_PATH = re.compile(
    r"""(?P<word>FROM|TO):<(?P<path>(?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>(?:[ ](?P<rest>.+))?""",
    re.IGNORECASE | re.VERBOSE,
)

# parameter -> (keyword that offers it, the values it may have; "" allows it to have none)
_MAIL_PARAMETERS = {
    "SIZE": ("SIZE", r"[0-9]{1,20}"),
    "BODY": ("8BITMIME", r"7BIT|8BITMIME"),
    "SMTPUTF8": ("SMTPUTF8", r""),
    "REQUIRETLS": ("REQUIRETLS", r""),
    "AUTH": ("AUTH", r".+"),
    "RET": ("DSN", r"FULL|HDRS"),
    "ENVID": ("DSN", r".+"),
}
_RCPT_PARAMETERS = {"NOTIFY": ("DSN", r".+"), "ORCPT": ("DSN", r".+;.+")}


@dataclass(slots=True)
class Session:
    """What the client has said on one channel; nothing of it is known on the other.

    Attributes:
        greeted: EHLO, HELO or LHLO was done.
        offered: EHLO keyword in upper case -> its arguments, as this client was really told.
        authenticated: AUTH was done.
        sender: reverse path of the open transaction; None when there is none.
        parameters: of its MAIL command.
        recipients: forward paths accepted so far.
        content: octets that came by BDAT so far.
    """

    greeted: bool = False
    offered: dict[str, str] = field(default_factory=dict)
    authenticated: bool = False
    sender: str | None = None
    parameters: tuple[str, ...] = ()
    recipients: list[str] = field(default_factory=list)
    content: bytes = b""

    def end_transaction(self) -> None:
        """Forget sender, recipients and content (RFC 5321 s4.1.1.5)."""
        self.sender, self.parameters, self.recipients, self.content = None, (), [], b""

    def greet(self, reply: str) -> None:
        """Begin anew with what the reply to EHLO offered; the reply to HELO offers nothing."""
        self.end_transaction()
        self.greeted = True
        lines = (line[4:].split(" ", 1) for line in reply.splitlines()[1:])
        self.offered = {word.upper(): "".join(rest) for word, *rest in lines}


def split_path(argument: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Split ``FROM:<a@example.org> SIZE=1`` into ``("FROM", "a@example.org", ("SIZE=1",))``.

    Returns:
        The word in upper case, the path without brackets and the parameters; None if the
        argument breaks the grammar, for example by a blank behind the colon.
    """
    found = _PATH.fullmatch(argument)
    if found is None:
        return None
    return found["word"].upper(), found["path"], tuple((found["rest"] or "").split())


def refuse_mail(session: Session, argument: str, *, tls: bool) -> str | None:
    """Return the reply that refuses this MAIL command, or None if it is in order.

    Args:
        session: of the channel on which it came.
        argument: behind the verb, e.g. ``FROM:<a@example.org> REQUIRETLS``.
        tls: whether that channel is TLS: without it there is no REQUIRETLS, whatever was offered.
    """
    parts = split_path(argument)
    if not session.greeted:
        return "503 5.5.1 Say hello first"
    if session.sender is not None:
        return "503 5.5.1 One sender at a time"
    if parts is None or parts[0] != "FROM":
        return "501 5.5.4 Syntax: MAIL FROM:<address>"
    offered = {word: rest for word, rest in session.offered.items() if tls or word != "REQUIRETLS"}
    others = [each for each in parts[2] if not ("BINARYMIME" in offered and is_binary([each]))]
    refusal = _refuse_parameters(others, _MAIL_PARAMETERS, offered)
    return refusal or _refuse_size(parts[2], offered.get("SIZE", ""))


def refuse_rcpt(session: Session, argument: str) -> str | None:
    """Return the reply that refuses this RCPT command, or None if it is in order."""
    parts = split_path(argument)
    if session.sender is None:
        return "503 5.5.1 MAIL first"
    if parts is None or parts[0] != "TO" or not parts[1]:
        return "501 5.5.4 Syntax: RCPT TO:<address>"
    return _refuse_parameters(parts[2], _RCPT_PARAMETERS, session.offered)


def is_binary(parameters: Iterable[str]) -> bool:
    """Tell whether the content is to come by BDAT, and by nothing else (RFC 3030 s3)."""
    return any(parameter.upper() == "BODY=BINARYMIME" for parameter in parameters)


def _refuse_parameters(
    parameters: Iterable[str], known: dict[str, tuple[str, str]], offered: dict[str, str]
) -> str | None:
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        keyword, values = known.get(name.upper(), (None, ""))
        if keyword not in offered:
            return f"555 5.5.4 {name}: no such parameter here"
        if bool(equals) != bool(values) or not re.fullmatch(values, value, re.IGNORECASE):
            return f"501 5.5.4 {name}: bad value"
    return None


def _refuse_size(parameters: Iterable[str], limit: str) -> str | None:
    sizes = [int(p.partition("=")[2]) for p in parameters if p.upper().startswith("SIZE=")]
    if sizes and limit.isdecimal() and 0 < int(limit) < sizes[0]:  # RFC 1870 s4: 0 is no limit
        return "552 5.3.4 Message too big"
    return None
