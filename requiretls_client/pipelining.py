"""One message in as few round trips as the server allows (RFC 2920, RFC 3030).

Where PIPELINING is offered, MAIL, every RCPT and DATA leave in one flight, and their replies are
counted one by one: none is guessed, and none is paired by what it says. The 354 to DATA keeps both
sides in step: a server that says too much, or too little, is found out there.

Where the caller asks for it and CHUNKING is offered too, ordinary content rides in the same flight,
with BDAT in place of DATA and without dot-stuffing. Nothing like the 354 stands between the answers
to the envelope and that to the message then, so that one answer too many could pass for it: hence
by request only, and never for a message with REQUIRETLS, which leaves after MAIL was accepted.

Content that only BDAT can carry (BODY=BINARYMIME) waits for the answers to the envelope, and so
does a file: it is not small. Before BDAT nothing may have come unasked, nor while its octets leave;
an answer too many would have to come late to pass.

What comes out is what smtplib's own dialogue comes to: the same result, the same exceptions.
Loaded with the first message to such a server.
"""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from requiretls_client import lines, syntax
from requiretls_client.connection import Connection
from requiretls_client.errors import DeliveryUnknown, ReplyError
from requiretls_client.session import SMTP
from requiretls_client.wire import Wire

if TYPE_CHECKING:
    from requiretls_client.sending import Mail
    from requiretls_client.verdict import Verdict

Reply = tuple[int, bytes]
Command = tuple[str, str]

# Commands in one flight, all answered before the next: RFC 2920 s3.1, a blocking client must not
# fill both windows.
GROUP = 200
DATA: Command = ("DATA", "")


@dataclass(slots=True)
class Envelope:
    """What is said about a message before its content.

    Attributes:
        commands: MAIL, and an RCPT for each recipient: verb, rest of the line.
        early: the content may leave before MAIL was answered.
    """

    commands: list[Command]
    early: bool


def offered(smtp: SMTP) -> bool:
    """Tell whether the server takes groups of commands, and the caller wants them."""
    return bool(smtp.use_pipelining and smtp.does_esmtp and smtp.has_extn("pipelining"))


def applies(smtp: SMTP) -> bool:
    """Tell whether a message may leave so: not where a subclass has its own way to say a step."""
    cls = type(smtp)
    return (
        cls.mail is SMTP.mail and cls.rcpt is SMTP.rcpt and cls.data is SMTP.data
        and cls.send is Connection.send and cls.putcmd is Connection.putcmd
        and cls.getreply is Wire.getreply
    )  # fmt: skip


def envelope(smtp: SMTP, mail: Mail, receipt: Verdict | None) -> Envelope:
    """Put a message that was checked into commands.

    Args:
        receipt: what a message with ``require_tls`` leaves under; its content waits for the answer
            to MAIL.
    """
    options = syntax.split_mark(mail.mail_options)[0] if mail.mail_options else []
    if smtp.has_extn("size"):
        options.insert(0, f"SIZE={len(mail.content)}")
    if receipt is not None and receipt.requiretls:
        options.append(syntax.MARK)
    sender, *mailboxes = mail.paths
    commands = [("MAIL", " ".join([f" FROM:<{sender}>", *options]))]
    parameters = " ".join(["", *mail.rcpt_options])
    commands += [("RCPT", f" TO:<{mailbox}>{parameters}") for mailbox in mailboxes]
    return Envelope(commands, receipt is None)


def transact(
    smtp: SMTP, mail: Mail, envelope: Envelope, *, in_groups: bool
) -> dict[str, Reply]:
    """Send one message; return the refused recipients, as ``sendmail()`` does.

    Args:
        smtp: the session.
        mail: the message.
        envelope: what is said about it.
        in_groups: the server takes groups of commands; else they go one by one.

    Raises:
        SMTPSenderRefused, SMTPRecipientsRefused, SMTPDataError: as smtplib.
        ReplyError: a reply that is neither yes nor no; the session is closed.
        DeliveryUnknown: the content has left, and no answer says yes or no.
        SMTPServerDisconnected: the connection ended before that.
    """
    groups = _groups(envelope.commands, GROUP if in_groups else 1)
    chunking = smtp.use_chunking and smtp.has_extn("chunking") and envelope.early
    riding = chunking and len(groups) == 1 and isinstance(mail.content, bytes)
    alone = not riding and (chunking or mail.binary)  # BDAT, behind the answers
    final = b""
    replies: list[Reply] = []
    pipe = smtp._current_pipe()
    begun = pipe.begun if pipe else 0
    try:
        for number, group in enumerate(groups, 1):
            if number == len(groups) and not alone:
                group = [*group, bdat(mail) if riding else DATA]
            smtp._send_flight(b"", [(group, mail.in_memory if riding else b"")])
            if group[-1] is DATA:
                final = ready(mail)  # while the server is at work
            smtp._read_group(len(group), replies)
            if replies[0][0] != 250 or replies[-1][0] == 421:
                break  # the other groups would only be refused
    except smtplib.SMTPServerDisconnected as error:
        left = pipe is not None and pipe.begun != begun
        if riding and left and not (replies and replies[0][0] >= 400):
            raise unknown(mail, f"the answer did not come: {error}") from error
        raise
    judged = judge(mail, replies, riding=riding, alone=alone)
    smtp._accepted, smtp._refused = judged.accepted, judged.refused
    if judged.error is not None:
        leave(smtp, judged)
        raise judged.error
    if riding:
        return judged.refused
    return _finish(smtp, mail, _send_content(smtp, mail, final, alone=alone))


def _groups(commands: list[Command], size: int) -> list[list[Command]]:
    """Cut the commands into groups whose replies fit into one window."""
    if len(commands) <= size:
        return [commands]
    return [commands[at : at + size] for at in range(0, len(commands), size)]


def ready(mail: Mail) -> bytes:
    """Return a short message as DATA sends it; b"" for one that is made so block by block."""
    content = mail.content
    short = isinstance(content, bytes) and len(content) <= lines.BLOCK
    return lines.final(mail.in_memory) if short else b""


def bdat(mail: Mail) -> Command:
    """Return the command that announces all of the content (RFC 3030 s2)."""
    return "BDAT", f" {len(mail.content)} LAST"


# -- what the replies come to ----------------------------------------------------------------------


@dataclass(slots=True)
class Judged:
    """What the server said to a message, paired with its commands by counting.

    Attributes:
        accepted: recipients that it took.
        refused: those that it did not, with its reply.
        error: what ends the message here, as smtplib has it; None: it goes on, or was taken.
        broken: the replies fit no server in step: nothing more may be said or believed.
        content_due: it waits for the content, although the message ends here.
    """

    accepted: list[str]
    refused: dict[str, Reply]
    error: smtplib.SMTPException | None = None
    broken: bool = False
    content_due: bool = False


def judge(mail: Mail, replies: Sequence[Reply], *, riding: bool, alone: bool = False) -> Judged:
    """Pair the replies to a message with its commands. Pure.

    Args:
        mail: the message.
        replies: to MAIL, to each RCPT and to DATA or BDAT; fewer where the last of them is 421, or
            MAIL was refused.
        riding: the content has left with the commands (BDAT), so that the last reply is about it.
        alone: it leaves by itself after them, so that no reply is about it yet.
    """
    judged = Judged([], {})
    first, *rest = replies
    answer = rest.pop() if len(replies) == 2 + len(mail.recipients) else None
    for recipient, reply in zip(mail.recipients, rest, strict=False):
        code = reply[0]
        if code in (250, 251):
            judged.accepted.append(recipient)
        elif code >= 400:
            judged.refused[recipient] = reply
        elif judged.error is None:  # smtplib calls it refused, and the server may mean yes
            text = f"RCPT was answered with {code}, which is neither yes nor no"
            judged.error, judged.broken = ReplyError(text), True
    taken = riding and answer is not None and answer[0] < 400
    if first[0] != 250:
        judged.error = smtplib.SMTPSenderRefused(first[0], first[1], mail.sender)
        # Somebody would get an empty message, or the whole one, from a sender that was refused.
        judged.broken = taken or bool(judged.accepted and answer and answer[0] == 354)
        judged.accepted, judged.refused = [], {}  # what was said to RCPT means nothing
    elif judged.error is None and (not judged.accepted or (rest and rest[-1][0] == 421)):
        judged.error = smtplib.SMTPRecipientsRefused(dict(judged.refused))
        judged.broken = taken
    if judged.error is not None:
        judged.content_due = not riding and answer is not None and answer[0] == 354
        if taken:
            text = "the server took a message that it had refused before"
            judged.error = unknown(mail, text, judged.refused)
        return judged
    if not alone:
        _judge_last(mail, judged, answer or (421, b""), riding=riding)
    return judged


def _judge_last(mail: Mail, judged: Judged, answer: Reply, *, riding: bool) -> None:
    """Add what the reply to DATA, or to the content, means."""
    code, text = answer
    if code >= 400:
        judged.error = smtplib.SMTPDataError(code, text)
    elif code != (250 if riding else 354):
        judged.broken = True
        judged.error = ReplyError(f"DATA was answered with {code}")
        if riding:
            why = f"the message was answered with {code}, which is not 250"
            judged.error = unknown(mail, why, judged.refused)


def leave(smtp: SMTP, judged: Judged) -> bool:
    """Leave the transaction of a message that ends before its content.

    Returns:
        Whether the session is in step: its answer to RSET is 250 and nothing else. If it is not,
        it is closed.
    """
    if judged.broken:
        smtp.close()
    elif judged.content_due:
        smtp.send(b".\r\n")  # RFC 2920 s3.1: an empty message, which nobody gets
        smtp._read_group(1)
    if smtp.sock is None:
        return False
    try:
        if smtp.rset()[0] == 250:
            return True
    except smtplib.SMTPServerDisconnected:
        return False
    smtp.close()  # it may wait for content, or keep the recipients for the next message
    return False


def _send_content(smtp: SMTP, mail: Mail, final: bytes, *, alone: bool) -> Reply:
    """Send the content, which is due or goes with a BDAT of its own; return the answer to it.

    Args:
        smtp: the session.
        mail: the message.
        final: what :func:`ready` returned.
        alone: by BDAT.
    """
    pipe = smtp._current_pipe()
    try:
        if alone:
            smtp._send_bdat(mail.content)
        elif final:
            smtp._send_flight(final, ())
        else:
            smtp._send_data(mail.content)
        return smtp._read_group(1)[0]
    except smtplib.SMTPServerDisconnected as error:
        if pipe is None or pipe.command != ".":
            raise  # the content, or its end, has not left
        text = f"the answer to the message did not come: {error}"
        raise unknown(mail, text, smtp._refused) from error


def _finish(smtp: SMTP, mail: Mail, answer: Reply) -> dict[str, Reply]:
    """Return the refused recipients of a message that was taken; raise for one that was not."""
    code, text = answer
    if code == 250:
        return smtp._refused
    if code < 400:
        smtp.close()
        why = f"the message was answered with {code}, which is not 250"
        raise unknown(mail, why, smtp._refused)
    if smtp.sock is not None:
        smtp._rset()  # type: ignore[attr-defined]  # smtplib's
    raise smtplib.SMTPDataError(code, text)


def unknown(mail: Mail, text: str, refused: dict[str, Reply] | None = None) -> DeliveryUnknown:
    """Return the error for a message of which nobody can tell whether it was taken."""
    lost = DeliveryUnknown(text)
    lost.refused = dict(refused or {})
    lost.recipients = tuple(each for each in mail.recipients if each not in lost.refused)
    return lost
