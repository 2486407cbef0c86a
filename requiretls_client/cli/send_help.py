"""The text of ``requiretls send --help`` and ``requiretls-sendmail --help``."""

from __future__ import annotations

TEXT = """\
usage: {program} [OPTION ...] [--] [RECIPIENT ...]
       {program} -bp        list the queue
       {program} -q         try all that waits in the queue now

Read a message on standard input, header and body, and send it: through the account of the
configuration, or straight to the mail hosts of the recipients. What is missing in the header is
added (From, Date, Message-ID), Bcc is left out. The message is written into the spool first, and
leaves it when every recipient has it; what cannot be sent now is tried again by "requiretls flush",
which a timer should call. Nothing that asked for REQUIRETLS (RFC 8689) is ever sent without.

what the message asks for:
  --require-tls       REQUIRETLS: verified TLS to servers that keep it so, or not at all
  -O requiretls=yes   the same, as Postfix has it; "no" is the default, and no order
  --tls-optional      TLS-Required: No: deliver it even where TLS fails

who, and to whom:
  -t                  the recipients in To, Cc and Bcc (or Resent-), beside those given here
  -f, -r ADDRESS      envelope sender; "" or <> for a report. Default: "from" of the account, else
                      Sender or From of the header, else the user at this machine
  -F NAME             full name, where the message has no From
  --account NAME      of the configuration; "" goes straight to the mail hosts. Default: the account
                      whose "from" is the sender, else default_account

how it is read:
  -i, -oi             a line with a dot alone does not end the message{dot}
  --config, -C FILE   this configuration. Default: $XDG_CONFIG_HOME/requiretls-client/config.toml,
                      then /etc/requiretls-client/config.toml; without any, straight to mail hosts

what is said about it:
  -N never | success,failure,delay     reports that are wanted (RFC 3461)
  -R hdrs | full      how much a report returns; "full" and REQUIRETLS exclude each other
  -V ID               envelope id, for reports
  -oem -oew -oee      mail a report to the sender when it fails for good (m: default; e: and exit 0)
  -oep -oeq           only print why (p), or not even that (q)
  -v                  say what became of it, also when all is well
  --pretend           show account, envelope and header; connect to nothing, run no password command
  --no-spool          try once, and keep nothing
  -bm, -bp, -q        send a message (default), list the queue, try what waits in it
  --help, --version

For other programs' sake these are taken and ignored: -A -B -D -L -X -h -p with a word; other -o and
-O; -G -U -c -d -m -n -x; -bi and -I (newaliases) have nothing to do. -bs, -bd and -bv are not done.
Options come before recipients.{names}

{status}"""

_STATUS = """\
exit status, as in sysexits.h:
  0   {ok}
  64  the command line is wrong, or names no recipient
  65  the message cannot be sent as it is; its text is kept in the folder "dead" of the spool
  67  the recipient, or the message, was refused by a server; or nobody knows who is meant
  68  the domain does not exist, or takes no mail
  69  REQUIRETLS cannot be had: no TLS, no REQUIRETLS, nothing vouches for the mail host
  70  an error of this program; the text is kept as with 65
  73  the spool cannot be written, and one attempt did not deliver: nothing is kept
  74  standard input, or the spool, cannot be read
  75  {later}
  76  --no-spool, and the server broke the protocol, or the connection behind the message
  77  the login or the certificate was refused
  78  the configuration is wrong; the text is kept as with 65
Where several fail, the first counts. What failed for good is kept: "requiretls queue --failed".
"""

_SENDMAIL = {
    "ok": "sent; or safe in the spool, and will be tried again",
    "later": "not now, and --no-spool kept nothing",
    "dot": "",
    "names": " Called as mailq it is -bp, called as newaliases it does nothing.",
}
_SEND = {
    "ok": "sent",
    "later": "not now; it is in the spool, and will be tried again (with --no-spool: nothing is)",
    "dot": " (always so here)",
    "names": "",
}


def text(program: str, *, sendmail: bool) -> str:
    """Return the help of a program.

    Args:
        program: how it is called.
        sendmail: whether it behaves as sendmail does.
    """
    words = _SENDMAIL if sendmail else _SEND
    status = _STATUS.format_map(words)
    return TEXT.format(program=program, status=status, **words)
