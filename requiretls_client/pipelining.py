"""One message in as few round trips as the server allows (RFC 2920, RFC 3030).

Where PIPELINING is offered, MAIL, every RCPT and DATA leave in one flight, and their replies are
counted one by one: none is guessed, and none is paired by what it says. The 354 to DATA keeps both
sides in step: a server that says too much, or too little, is found out there.

Where the caller asks for it and CHUNKING is offered too, ordinary content rides in the same flight,
with BDAT in place of DATA and without dot-stuffing. Nothing like the 354 stands between the answers
to the envelope and that to the message then, so that one answer too many could pass for it: hence
by request only, and never for a message with REQUIRETLS, which leaves after MAIL was accepted.

Content that only BDAT can carry (BODY=BINARYMIME) waits for the answers to the envelope, and so
does a file: it is not small. Before BDAT nothing may have come unasked, and while its octets leave
neither; a server that answers its envelope once too often has to be slow to pass.

What comes out is what smtplib's own dialogue comes to: the same result, the same exceptions.
Loaded with the first message to such a server.
"""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from requiretls_client import syntax
from requiretls_client.connection import Connection
from requiretls_client.content import is_binary
from requiretls_client.errors import DeliveryUnknown, ReplyError
from requiretls_client.wire import Wire

if TYPE_CHECKING:
    from requiretls_client.content import Content
    from requiretls_client.session import SMTP
    from requiretls_client.wire import Pipe

Reply = tuple[int, bytes]
Command = tuple[str, str]

# Commands in one flight, all answered before the next: RFC 2920 s3.1, a blocking client must not
# fill both windows.
GROUP = 200


@dataclass(slots=True)
class Envelope:
    """A message to send, ready for the wire.

    Attributes:
        sender: reverse path, bare.
        recipients: as the caller wrote them.
        mail: the MAIL command: verb, rest of the line.
        rcpts: an RCPT command for each recipient.
        content: as SMTP carries it, before dot-stuffing.
        early: the content may leave before MAIL was answered.
        binary: its octets go as they are, which DATA cannot do (RFC 3030 s3).
    """

    sender: str
    recipients: Sequence[str]
    mail: Command
    rcpts: list[Command]
    content: Content
    early: bool
    binary: bool = False


def applies(smtp: SMTP) -> bool:
    """Tell whether a message may leave so: not where a subclass has its own way to say a step."""
    from requiretls_client.session import SMTP

    steps: list[tuple[str, type]] = [
        ("mail", SMTP), ("rcpt", SMTP), ("data", SMTP), ("send", Connection),
        ("putcmd", Connection), ("getreply", Wire),
    ]  # fmt: skip
    return all(getattr(type(smtp), name) is getattr(base, name) for name, base in steps)


def envelope(
    smtp: SMTP,
    paths: Sequence[str],
    recipients: Sequence[str],
    content: Content,
    mail_options: Sequence[str],
    rcpt_options: Sequence[str],
    *,
    marked: bool,
    early: bool,
) -> Envelope:
    """Put a message that was checked into commands.

    Args:
        paths: the bare mailboxes of the sender and of each recipient.
        recipients: as the caller wrote them.
        marked: MAIL carries REQUIRETLS.
        early: the content may leave before MAIL was answered.
    """
    options, _ = syntax.split_mark(mail_options)
    if smtp.has_extn("size"):
        options.insert(0, f"SIZE={len(content)}")
    if marked:
        options.append(syntax.MARK)
    sender, *mailboxes = paths
    mail = "MAIL", " ".join([f" FROM:<{sender}>", *options])
    parameters = "".join(f" {option}" for option in rcpt_options)
    rcpts = [("RCPT", f" TO:<{mailbox}>{parameters}") for mailbox in mailboxes]
    binary = is_binary(options)
    return Envelope(sender, recipients, mail, rcpts, content, early, binary)


def transact(smtp: SMTP, envelope: Envelope) -> dict[str, Reply]:
    """Send one message; return the refused recipients, as ``sendmail()`` does.

    Raises:
        SMTPSenderRefused, SMTPRecipientsRefused, SMTPDataError: as smtplib.
        ReplyError: a reply that is neither yes nor no; the session is closed.
        DeliveryUnknown: the content has left, and no answer says yes or no.
        SMTPServerDisconnected: the connection ended before that.
    """
    groups = _groups(smtp, [envelope.mail, *envelope.rcpts])
    chunking = smtp.use_chunking and smtp.has_extn("chunking") and envelope.early
    riding = chunking and len(groups) == 1 and isinstance(envelope.content, bytes)
    by_itself = envelope.binary or chunking  # with BDAT, unless it rides
    smtp._refuse_owed_reply()
    smtp._accepted, smtp._refused = [], {}
    replies: list[Reply] = []
    try:
        for number, group in enumerate(groups, 1):
            closing = number == len(groups) and (riding or not by_itself)
            _send_group(smtp, envelope, group, closing=closing, riding=riding)
            replies += smtp._read_group(len(group) + closing)
            if replies[0][0] != 250 or replies[-1][0] == 421:
                break  # the other groups would only be refused
    except smtplib.SMTPServerDisconnected as error:
        _lost(smtp, envelope, replies, error, sent=riding)
    answer = replies.pop() if len(replies) == 2 + len(envelope.rcpts) else None
    _judge(smtp, envelope, replies, answer, riding=riding)
    if by_itself and not riding:
        answer = _send_chunk(smtp, envelope)
    elif not riding:
        answer = _send_content(smtp, envelope, answer)
    return _finish(smtp, answer or (421, b""))


def _groups(smtp: SMTP, commands: list[Command]) -> list[list[Command]]:
    """Cut the commands into groups whose replies fit into one window; one by one if need be."""
    size = GROUP if smtp.use_pipelining and smtp.has_extn("pipelining") else 1
    return [commands[at : at + size] for at in range(0, len(commands), size)]


def _send_group(
    smtp: SMTP, envelope: Envelope, group: list[Command], *, closing: bool, riding: bool
) -> None:
    """Send one group; the last one with DATA, or with BDAT and the content."""
    if not closing:
        smtp._send_group(group)
    elif riding:
        smtp._send_group([*group, _bdat(envelope)], envelope.content)
    else:
        smtp._send_group([*group, ("DATA", "")])


def _bdat(envelope: Envelope) -> Command:
    return "BDAT", f" {len(envelope.content)} LAST"


def _judge(
    smtp: SMTP, envelope: Envelope, replies: list[Reply], answer: Reply | None, *, riding: bool
) -> None:
    """Pair the replies with the commands by counting; raise where the message ends here."""
    mail, *rest = replies
    if mail[0] != 250:
        _give_up(smtp, envelope, replies, answer, riding=riding)
        raise smtplib.SMTPSenderRefused(mail[0], mail[1], envelope.sender)
    for recipient, (code, text) in zip(envelope.recipients, rest, strict=False):
        if code in (250, 251):
            smtp._accepted.append(recipient)
        elif code < 400:  # smtplib calls it refused, and the server may mean yes
            smtp.close()
            if riding and answer is not None and answer[0] < 400:
                raise _unknown(smtp, envelope, f"RCPT was answered with {code}, the message taken")
            raise ReplyError(f"RCPT was answered with {code}, which is neither yes nor no")
        else:
            smtp._refused[recipient] = code, text
            if code == 421:
                raise smtplib.SMTPRecipientsRefused(dict(smtp._refused))
    if not smtp._accepted:
        _give_up(smtp, envelope, replies, answer, riding=riding)
        raise smtplib.SMTPRecipientsRefused(dict(smtp._refused))


def _give_up(
    smtp: SMTP, envelope: Envelope, replies: list[Reply], answer: Reply | None, *, riding: bool
) -> None:
    """Leave the transaction in which nobody is left to send to."""
    if riding and answer is not None and answer[0] < 400:
        smtp.close()
        raise _unknown(smtp, envelope, "the server took a message that it had refused before")
    if not riding and answer is not None and answer[0] == 354:
        if any(code in (250, 251) for code, _ in replies[1:]):
            smtp.close()  # MAIL was refused, they say; somebody would get an empty message
            return
        smtp.send(b".\r\n")  # RFC 2920 s3.1: an empty message, which nobody gets
        smtp._read_group(1)
    if smtp.sock is not None:
        smtp._rset()  # type: ignore[attr-defined]  # smtplib's


def _send_content(smtp: SMTP, envelope: Envelope, answer: Reply | None) -> Reply:
    """Send the content by itself, and return the answer to it."""
    pipe = smtp._current_pipe()
    try:
        if answer is None:  # 421 before it
            return 421, b""
        if answer[0] == 354:
            smtp._send_data(envelope.content)
        elif answer[0] < 400:
            smtp.close()
            raise ReplyError(f"DATA was answered with {answer[0]}")
        else:
            return answer
        return smtp._read_group(1)[0]
    except smtplib.SMTPServerDisconnected as error:
        _lost_behind(smtp, envelope, pipe, error)


def _send_chunk(smtp: SMTP, envelope: Envelope) -> Reply:
    """Send the content with BDAT, once the envelope was answered, and return the answer to it."""
    pipe = smtp._current_pipe()
    try:
        smtp._send_group([_bdat(envelope)], envelope.content)
        return smtp._read_group(1)[0]
    except smtplib.SMTPServerDisconnected as error:
        _lost_behind(smtp, envelope, pipe, error)


def _lost_behind(smtp: SMTP, envelope: Envelope, pipe: Pipe | None, error: Exception) -> NoReturn:
    """Raise for a connection that was lost while the content left, or behind it."""
    if pipe is None or pipe.command != ".":
        raise error  # the content, or its end, has not left
    text = f"the answer to the message did not come: {error}"
    raise _unknown(smtp, envelope, text) from error


def _finish(smtp: SMTP, answer: Reply) -> dict[str, Reply]:
    """Return the refused recipients of a message that was taken; raise for one that was not."""
    code, text = answer
    if code == 250:
        return smtp._refused
    if code < 400:
        smtp.close()
        lost = DeliveryUnknown(f"the message was answered with {code}, which is not 250")
        lost.recipients, lost.refused = tuple(smtp._accepted), dict(smtp._refused)
        raise lost
    if smtp.sock is not None:
        smtp._rset()  # type: ignore[attr-defined]  # smtplib's
    raise smtplib.SMTPDataError(code, text)


def _lost(
    smtp: SMTP, envelope: Envelope, replies: list[Reply], error: Exception, *, sent: bool
) -> NoReturn:
    """Raise for a connection that was lost among the replies to a group."""
    if sent and not (replies and replies[0][0] >= 400):
        raise _unknown(smtp, envelope, f"the answer did not come: {error}") from error
    raise error


def _unknown(smtp: SMTP, envelope: Envelope, text: str) -> DeliveryUnknown:
    lost = DeliveryUnknown(text)
    lost.refused = dict(smtp._refused)
    lost.recipients = tuple(smtp._accepted) or tuple(
        each for each in envelope.recipients if each not in lost.refused
    )
    return lost
