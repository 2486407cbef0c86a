"""What stands in a command: addresses, options, names, verbs. And how foreign text is shown.

Pure. Bad grammar is a ``ValueError`` before anything is sent, and nothing is repaired into an
address that the caller did not write. The messages say which argument is wrong and where, not
what it holds: it may be a secret in the wrong place.

RFC 5321 sections 4.1.1.1 and 4.1.2, RFC 6531 section 3.3 for characters beyond ASCII. Wider than
the RFC on purpose: an address without a domain (``root``), as smtplib allows, and underscores in
host names, which local networks are full of.
"""

from __future__ import annotations

import functools
import re
import smtplib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What is allowed is said by what is not, so that all beyond ASCII is in: a class that names those
# characters takes re some 15 ms to compile, each.
_ATEXT = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f]'
_ATOMS = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_QUOTED = r'"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*"'
_LETDIG = r"[^\x00-/:-@\[-^`{-\x7f]"  # letters, digits, underscore
_LABEL = rf"{_LETDIG}(?:[^\x00-,./:-@\[-^`{{-\x7f]*{_LETDIG})?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_LITERAL = r"\[[!-Z^-~]+\]"

_PLAIN = re.compile(
    r"[A-Za-z0-9_+\-]+(?:\.[A-Za-z0-9_+\-]+)*@"
    r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?)*"
)
_MAILBOX = re.compile(rf"(?:{_ATOMS}|{_QUOTED})(?:@(?:{_NAME}|{_LITERAL}))?")
# The display forms of RFC 5322 with one mailbox: "Bob <b@example.org>", "b@example.org (Bob)".
_COMMENT = r'\([^()<>@,;:"\\]*\)'
_DISPLAY = re.compile(
    rf"(?:{_QUOTED}|{_COMMENT}|{_ATEXT}|[. ])*<(?P<angled>[^<>]+)>(?: *{_COMMENT})? *"
    rf"|(?P<bare>[^ ()<>]+) +{_COMMENT} *"
)
_EHLO_NAME = re.compile(rf"{_NAME}\.?|{_LITERAL}")
_HOST = re.compile(rf"{_NAME}\.?")
# RFC 5321 s4.1.2: esmtp-param. RFC 6533 puts UTF-8 into values (ORCPT).
_OPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]*(?:=[^\x00-\x20=\x7f]+)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# The first word of a line that holds no control character, below the first line.
_KEYWORD = re.compile(r"\n([^\x00-\x20\x7f-\x9f]++)(?: [^\x00-\x1f\x7f-\x9f]*+)?(?![^\n])")

# SEND, SOML and SAML began a mail transaction in RFC 821; an old server may still know them.
MAIL_VERBS = frozenset({"MAIL", "SEND", "SOML", "SAML"})

# What ordinary mail may not say unexamined, see Connection.
GUARDED_VERBS = MAIL_VERBS | {"AUTH"}

# RFC 8314 s5.2: below the required level only finding out what the server can, and STARTTLS.
SETUP_VERBS = frozenset({"EHLO", "LHLO", "STARTTLS", "NOOP", "RSET", "QUIT"})

_ONE_COMMAND = re.compile(r"([A-Za-z]++)([^\x00-\x1f\x7f]*+)\r\n")
_COMMAND = re.compile(r"[ \t]*([A-Za-z]*)([^\r\n]*)[\r\n]+")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FROM = re.compile(r'[ \t]*FROM:[ \t]*<((?:"(?:[^"\\]|\\.)*"|[^"<>])*)>(.*)', re.IGNORECASE)

_TO = re.compile(r'[ \t]*TO:[ \t]*<((?:"(?:[^"\\]|\\.)*"|[^"<>])*)>(.*)', re.IGNORECASE)

_EOL = re.compile(rb"[\r\n]")
_DOT = re.compile(rb"(?:\r\n|\r|\n)\.(?:\r\n|\n|\r(?=[^\n]))")  # a line that is a dot

_BDAT = re.compile(r" +([0-9]{1,20})(?: +LAST)? *", re.IGNORECASE)

MARK = "REQUIRETLS"
MAX_PATH = 254  # RFC 5321 s4.5.3.1.3: 256 octets with the angle brackets


def mailbox(address: str, argument: str) -> str:
    """Return the bare mailbox of an envelope address, exactly as the caller wrote it.

    Args:
        address: ``a@example.org``, ``<a@example.org>`` or ``Name <a@example.org>``; "" and
            ``<>`` mean the null path.
        argument: what to call it in an error.

    Returns:
        The mailbox without angle brackets; "" for the null path.

    Raises:
        TypeError: not a str.
        ValueError: control characters, several mailboxes, or bad grammar.
    """
    if not isinstance(address, str):
        raise TypeError(f"{argument} must be a str, not {type(address).__name__}")
    if address in ("", "<>"):  # exactly: a blank is not the null path of a bounce
        return ""
    if _PLAIN.fullmatch(address) and len(address) <= MAX_PATH:
        return address  # what most are, and what all the rest would leave as it is
    _refuse_control(address, argument)
    bare = address.strip(" ")
    display = _DISPLAY.fullmatch(bare)
    if display:
        bare = display["angled"] or display["bare"]
    if not _MAILBOX.fullmatch(bare) or smtplib.quoteaddr(bare) != f"<{bare}>":
        raise ValueError(f"{argument} is not one mailbox of RFC 5321 s4.1.2")
    if len(_utf8(bare, argument)) > MAX_PATH:
        raise ValueError(f"{argument} is longer than {MAX_PATH} octets (RFC 5321 s4.5.3.1.3)")
    return bare


def check_envelope(
    sender: str, recipients: Sequence[str], mail_options: Sequence[str]
) -> list[str]:
    """Refuse an envelope that could not be sent as it stands.

    Returns:
        The bare mailboxes: the sender's ("" for the null path), then each recipient's.

    Raises:
        TypeError: an address that is not a str.
        ValueError: bad grammar; ``UnicodeEncodeError`` (which is one) for an address beyond
            ASCII without ``SMTPUTF8`` among ``mail_options`` (RFC 6531 s3.5).
    """
    paths: list[str] = []
    for number, address in enumerate([sender, *recipients], -1):
        path = address
        if not (isinstance(path, str) and _PLAIN.fullmatch(path) and len(path) <= MAX_PATH):
            path = mailbox(address, f"to_addrs[{number}]" if number >= 0 else "from_addr")
            if not path and number >= 0:
                raise ValueError(f"to_addrs[{number}] is empty")
        paths.append(path)
    if not "".join(paths).isascii() and "SMTPUTF8" not in map(str.upper, mail_options):
        for path in paths:
            path.encode("ascii")
    return paths


def checked_options(options: Iterable[str], argument: str) -> tuple[str, ...]:
    """Return ESMTP parameters as a tuple, each ``keyword`` or ``keyword=value``.

    Raises:
        TypeError: a str instead of several.
        ValueError: bad grammar, or a value for REQUIRETLS, which has none (RFC 8689 s2).
    """
    if isinstance(options, (str, bytes)):
        raise TypeError(f"{argument} must be a sequence of str, not one str")
    options = tuple(options)
    for number, option in enumerate(options):
        if not isinstance(option, str):
            raise TypeError(f"{argument}[{number}] must be a str, not {type(option).__name__}")
        if "\r" in option or "\n" in option:
            # smtplib's own words for this, options included: they are parameters, no secrets.
            shown = printable(" ".join(options).replace("\n", "\\n").replace("\r", "\\r"))
            raise ValueError(
                f"command and arguments contain prohibited newline characters: {shown}"
            )
        if not _OPTION.fullmatch(option):
            raise ValueError(f"{argument}[{number}] is not an esmtp-param of RFC 5321 s4.1.2")
        if option.upper().startswith("REQUIRETLS="):
            raise ValueError("REQUIRETLS takes no value (RFC 8689 s2)")
    return options


def split_mark(options: Iterable[str]) -> tuple[list[str], bool]:
    """Return the options without REQUIRETLS, and whether it was among them."""
    others = [option for option in options if option.upper() != MARK]
    return others, len(others) < len(tuple(options))


def refuse_full_return(options: Iterable[str]) -> None:
    """Refuse RET=FULL for a message with REQUIRETLS: a bounce must not carry its body.

    Raises:
        ValueError: RFC 8689 section 5 has it disregarded; we do not send what is not meant.
    """
    if any(option.upper() == "RET=FULL" for option in options):
        raise ValueError("RET=FULL contradicts REQUIRETLS (RFC 8689 s5); say RET=HDRS")


def check_ehlo_name(name: str) -> None:
    """Refuse an EHLO argument that is neither a host name nor an address literal.

    A CR or LF is left to smtplib's ``putcmd``, which refuses it in its own words.

    Raises:
        ValueError: bad grammar (RFC 5321 s4.1.1.1).
    """
    if not ("\r" in name or "\n" in name or _EHLO_NAME.fullmatch(name)):
        raise ValueError("the EHLO name is neither a host name nor an address literal")


def usable_ehlo_name(name: str) -> str:
    """Return this machine's name where it fits EHLO, else the literal that smtplib falls back to.

    What an administrator called the machine (``joe's-mac``) is no mistake of the caller.
    """
    return name if _EHLO_NAME.fullmatch(name) else "[127.0.0.1]"


def split_host(host: str, port: int) -> tuple[str, int]:
    """Take ``host``, ``host:port``, ``[v6]`` or ``[v6]:port`` apart, once.

    Args:
        host: as given to ``connect()``.
        port: 0 for "not given".

    Raises:
        ValueError: a control character, or two ports that differ.
        OSError: a port that is not a number, as smtplib raises.
    """
    _refuse_control(host, "host")
    bracketed = host.startswith("[") and re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", host)
    if bracketed:
        host, tail = bracketed[1].removeprefix("IPv6:"), bracketed[2]
    elif host.count(":") == 1:
        host, _, tail = host.partition(":")
    else:
        tail = None
    if tail is None:
        return host, port
    if not (tail.isascii() and tail.isdigit()):
        raise OSError("nonnumeric port")
    if port and int(port) != int(tail):
        raise ValueError(f"the host names port {tail}, and port={port} was given beside it")
    return host, int(tail)


@functools.lru_cache(maxsize=256)  # asked for with each message
def reference_name(host: str, argument: str = "host") -> str:
    """Return the one form of a server's name that is sent as SNI and verified.

    Args:
        host: DNS name (also with U-labels or a final dot) or IP address, without a port.
        argument: what to call it in an error.

    Returns:
        A-labels or IP address, lower case, without the final dot.

    Raises:
        ValueError: neither of the two.
    """
    _refuse_control(host, argument)
    if is_address(host):
        import ipaddress

        try:
            return str(ipaddress.ip_address(host.partition("%")[0]))
        except ValueError:
            raise ValueError(f"{argument} is neither a host name nor an IP address") from None
    if not _HOST.fullmatch(host):
        raise ValueError(f"{argument} is neither a host name nor an IP address")
    name = host.removesuffix(".").lower()
    if not name.isascii():
        import idna

        name = idna.encode(name, uts46=True).decode("ascii")
    if len(name) > 253 or any(len(label) > 63 for label in name.split(".")):
        raise ValueError(f"{argument} is longer than DNS allows (RFC 1035 s2.3.4)")
    return name


def is_address(name: str) -> bool:
    """Tell an IP address, in canonical form or about to be refused, from a DNS name."""
    return ":" in name or name.replace(".", "").isdigit()


def check_port(port: int) -> None:
    """Refuse what is no TCP port to connect to.

    Raises:
        TypeError: not an int.
        ValueError: not from 1 to 65535.
    """
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"port must be an int, not {type(port).__name__}")
    if not 0 < port < 65536:
        raise ValueError("port must be from 1 to 65535")


def check_connecting(port: int, timeout: object, local_hostname: str | None = None) -> None:
    """Refuse what nobody could connect with, before anything is looked up.

    Args:
        port: of the mail hosts.
        timeout: seconds; what is no number is smtplib's sentinel for "not given".
        local_hostname: name for EHLO, or None.

    Raises:
        TypeError: ``port`` or ``timeout`` of a wrong type.
        ValueError: a bad one of the three.
    """
    check_port(port)
    if isinstance(timeout, (str, bytes, bool)):
        raise TypeError(f"timeout must be a number, not {type(timeout).__name__}")
    if isinstance(timeout, (int, float)) and not 0 < timeout < 1e6:  # Python's poll() ends at 2e6
        raise ValueError("timeout must be more than 0 and less than a million seconds")
    if local_hostname is not None:
        _refuse_control(local_hostname, "local_hostname")
        check_ehlo_name(local_hostname)


def mail_domain(text: str, argument: str = "domain") -> str:
    """Return the one form of a recipient domain: A-label, or an address literal as RFC 5321 has it.

    Raises:
        ValueError: neither a DNS name nor a literal of an IPv4 or IPv6 address.
    """
    if text.startswith("["):
        address = literal_address(text, argument)
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    name = reference_name(text, argument)
    if is_address(name):
        raise ValueError(f"{argument} is an address without brackets, and no domain")
    return name


def literal_address(text: str, argument: str = "domain") -> str:
    """Return the IP address in an address literal (RFC 5321 s4.1.3).

    Raises:
        ValueError: it holds none.
    """
    found = re.fullmatch(r"\[(IPv6:)?([0-9A-Fa-f:.]+)\]", text, re.IGNORECASE)
    if not found:
        raise ValueError(f"{argument} is no address literal of RFC 5321 s4.1.3")
    if bool(found[1]) != (":" in found[2]):
        raise ValueError(f"{argument} is no address literal of RFC 5321 s4.1.3")
    return reference_name(found[2], argument)


def domain_of(mailbox: str, argument: str) -> str:
    """Return the domain of a bare mailbox in the form of :func:`mail_domain`.

    Raises:
        ValueError: it has none.
    """
    _, at, domain = mailbox.rpartition("@")
    if not at:
        raise ValueError(f"{argument} has no domain to deliver to")
    return mail_domain(domain, argument)


def ehlo_keywords(reply: bytes) -> frozenset[str]:
    """Return the keywords of an EHLO reply, upper case; its greeting line is none.

    A keyword is the whole first word of a line. A line with a control character is void.

    Args:
        reply: the text of the reply as smtplib returns it, lines joined with LF.
    """
    return frozenset(_KEYWORD.findall(reply.decode("latin-1").upper()))


def commands(text: str | bytes | bytearray | memoryview) -> list[tuple[str, str]]:
    """Return the commands in ``text`` as (verb in upper case, rest of its line).

    The text is read as a careless server would read it: a bare CR or LF ends a line too, and
    blanks before a verb do not hide it. What begins with no letter has the verb "".

    Raises:
        ValueError: a control character, or no line end: a server could read the pieces of a
            command otherwise than we did.
    """
    if not isinstance(text, str):
        text = bytes(text).decode("latin-1")
    if one := _ONE_COMMAND.fullmatch(text):  # what most are, and nothing that can be misread
        return [(one[1].upper(), one[2])]
    if _UNPRINTABLE.search(text):
        raise ValueError("a command holds a control character")
    if not text.endswith("\n"):
        raise ValueError("a command must be sent whole, with its CRLF")
    found = _COMMAND.findall(text.lstrip("\r\n"))
    return [(verb.upper(), rest) for verb, rest in found]


def check_content(command: str, tail: bytes, s: str | bytes | bytearray | memoryview) -> None:
    """Refuse content sent by hand that ends before its last octet: commands would follow.

    Read as a careless server would: a bare CR or LF ends a line too.

    Args:
        command: what it is content of: DATA, or AUTH, whose answer is one line (RFC 4954 s4).
        tail: what of it has left before.
        s: what is to leave now.

    Raises:
        ValueError: see above.
    """
    data = s.encode("utf-8", "surrogatepass") if isinstance(s, str) else bytes(s)
    if command == "AUTH":
        if _EOL.search(data.rstrip(b"\r\n")):
            raise ValueError("the answer to AUTH is one line: a command would follow")
        return
    data = tail + data
    found = _DOT.search(data)
    if found and not (found.end() == len(data) and found[0] == b"\r\n.\r\n"):
        raise ValueError(
            "the content ends with a dot on a line of its own, between CRLF, and nothing may "
            "follow it (RFC 5321 s4.1.1.4)"
        )


def read_mail(rest: str) -> tuple[bool, bool]:
    """Read what stands behind the verb MAIL.

    Returns:
        (marked, null_path): whether REQUIRETLS is among its parameters, and whether the reverse
        path is empty. Both are False for a line that is not understood.
    """
    found = _FROM.fullmatch(rest)
    if not found:
        return False, False
    words = [word.upper() for word in found[2].split(" ") if word.isascii()]
    return MARK in words, not found[1]


def bdat_size(rest: str) -> int:
    """Return the number of octets that BDAT announces (RFC 3030 s2).

    Raises:
        ValueError: it announces none, so that nobody knows where its content ends.
    """
    found = _BDAT.fullmatch(rest)
    if not found:
        raise ValueError("BDAT needs the number of its octets (RFC 3030 s2)")
    return int(found[1])


def read_rcpt(rest: str) -> str:
    """Return the mailbox in what stands behind the verb RCPT; "" if it is not understood."""
    found = _TO.fullmatch(rest)
    return found[1] if found else ""


def printable(text: bytes | str, limit: int = 200) -> str:
    """Return foreign text for a message or log: only printable, and at most ``limit`` long.

    Control characters, and those that turn or break a line for the reader, are escaped.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    text = text.replace("\n", " ")
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _refuse_control(text: str, argument: str) -> None:
    found = _CONTROL.search(text)
    if found:
        raise ValueError(
            f"{argument} holds the control character 0x{ord(found[0]):02x} at {found.start()}"
        )
    _utf8(text, argument)


def _utf8(text: str, argument: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{argument} holds half a surrogate pair at {error.start}") from None
