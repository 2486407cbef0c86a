"""The command line of sendmail, as ``requiretls send`` and ``requiretls-sendmail`` read it.

Pure. By hand, because no argument parser knows ``-oi``, ``-FName``, ``-ti`` and ``-q`` beside
``-q30m``. Which flags take an argument is as in Postfix's sendmail(1); those that mean nothing here
are taken with their arguments and ignored, as every sendmail does.

The first argument that is no option ends them, and what begins with ``-`` behind it is refused
unless ``--`` stands before: a program that puts an address of strangers behind its own arguments
must not give them options. (The configuration file that ``-C`` names can run commands.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from requiretls_client import syntax

SEND, QUEUE, FLUSH, NOTHING, HELP, VERSION = "send", "queue", "flush", "nothing", "help", "version"

# After these a word follows, attached or as the next argument.
_WITH_WORD = frozenset("ABCDFLNORVXbefhopr")
_ALONE = frozenset("GIUcimntvx")
_ATTACHED = frozenset("dq")  # the word only attached, or none
_IGNORED = frozenset("ABDGLUXcdhmnpx")
_MODES = {"m": SEND, "p": QUEUE, "i": NOTHING}
_ERRORS = frozenset("mpeqw")
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_ENVELOPE_ID = re.compile(r"[!-~]{1,100}")  # RFC 3461 s4.4


class UsageError(ValueError):
    """The command line is wrong; the sentence says what to write."""


@dataclass(slots=True)
class Options:
    """What the command line says.

    Attributes:
        mode: what to do: ``send``, ``queue`` (-bp), ``flush`` (-q), ``nothing`` (newaliases: there
            is no alias database), ``help`` or ``version``.
        recipients: of the command line.
        from_header: those of the header too (-t).
        dot_ends: a line with nothing but a dot ends the message.
        sender: -f or -r; None if neither was given, "" for the null path.
        full_name: -F.
        config: -C or --config; None searches.
        account: --account; None lets the configuration choose.
        require_tls: --require-tls, or -O requiretls=yes.
        tls_optional: --tls-optional.
        notify: -N: NOTIFY of RFC 3461.
        ret: -R: RET of RFC 3461.
        envelope_id: -V: ENVID of RFC 3461.
        errors: -oe: ``m`` mails a report to the sender, ``e`` does and ends with 0, ``w`` as ``m``,
            ``p`` prints, ``q`` does neither.
        verbose: -v: say what became of the message, not only what went wrong.
        pretend: show what would be done, and do none of it.
        keep: the spool may be used.
    """

    mode: str = SEND
    recipients: list[str] = field(default_factory=list)
    from_header: bool = False
    dot_ends: bool = True
    sender: str | None = None
    full_name: str = ""
    config: str | None = None
    account: str | None = None
    require_tls: bool = False
    tls_optional: bool = False
    notify: str = ""
    ret: str = ""
    envelope_id: str = ""
    errors: str = "m"
    verbose: bool = False
    pretend: bool = False
    keep: bool = True


def parse(arguments: Sequence[str], *, dot_ends: bool = True) -> Options:
    """Read a command line.

    Args:
        arguments: without the program's name.
        dot_ends: what holds without ``-i``.

    Raises:
        UsageError: what it says cannot be done.
    """
    options = Options(dot_ends=dot_ends)
    left = list(arguments)
    while left and left[0].startswith("-") and left[0] not in ("-", "--"):
        word = left.pop(0)
        if word.startswith("--"):
            _long(options, word, left)
        else:
            _flags(options, word[1:], left)
    if left[:1] == ["--"]:
        options.recipients = left[1:]
    else:
        options.recipients = left
        for each in left:
            if each.startswith("-"):
                shown = syntax.printable(each)
                raise UsageError(
                    f"{shown} stands behind a recipient: options come first; an address that "
                    "begins with - needs -- before it"
                )
    _check(options)
    return options


def _check(options: Options) -> None:
    """Refuse what contradicts itself."""
    if options.require_tls and options.tls_optional:
        raise UsageError("--require-tls and --tls-optional contradict each other (RFC 8689 s4.1)")
    if options.require_tls and options.ret == "FULL":
        raise UsageError("-R full contradicts --require-tls: a report must not carry the message "
                         "(RFC 8689 s5); say -R hdrs")  # fmt: skip
    if options.mode in (QUEUE, FLUSH) and options.recipients:
        raise UsageError(f"{'-bp' if options.mode == QUEUE else '-q'} takes no recipients")


def _flags(options: Options, cluster: str, left: list[str]) -> None:
    """Read one argument of single letters, of which the last may have a word."""
    while cluster:
        letter, cluster = cluster[0], cluster[1:]
        if letter in _ALONE:
            word = ""
        elif letter in _ATTACHED or (letter in _WITH_WORD and cluster):
            word, cluster = cluster, ""
        elif letter in _WITH_WORD:
            if not left:
                raise UsageError(f"-{letter} needs a word behind it")
            word = left.pop(0)
        else:
            raise UsageError(f"there is no option -{syntax.printable(letter)}; see --help")
        if letter not in _IGNORED:
            _FLAGS[letter](options, word)


def _mode(options: Options, word: str) -> None:
    if word not in _MODES:
        raise UsageError(
            f"-b{syntax.printable(word)} is not done here: this program sends a message (-bm), "
            "lists the queue (-bp) or tries it again (-q)"
        )
    options.mode = _MODES[word]


def _flush(options: Options, word: str) -> None:
    if word:
        raise UsageError(
            f"-q{syntax.printable(word)} is not done here: there is no daemon, and -q alone tries "
            "the whole queue; use a timer for it"
        )
    options.mode = FLUSH


def _sender(options: Options, word: str) -> None:
    try:
        options.sender = syntax.mailbox(word, "the sender")
    except ValueError as error:
        raise UsageError(f"-f: {error}") from None


def _full_name(options: Options, word: str) -> None:
    if not word.isprintable():
        raise UsageError("-F: the name holds a control character")
    options.full_name = word


def _option(options: Options, word: str) -> None:
    """Read -o: a letter with its value; what is not known here is ignored."""
    if word == "i":
        options.dot_ends = False
    elif word[:1] == "e":
        _error_mode(options, word[1:])


def _error_mode(options: Options, word: str) -> None:
    if word not in _ERRORS:
        raise UsageError(f"-oe{syntax.printable(word)}: the error mode is one of m, e, w, p, q")
    options.errors = word


def _long_option(options: Options, word: str) -> None:
    """Read -O NAME=VALUE. Postfix 3.11 knows ``requiretls``; its ``no`` is the default."""
    name, _, value = word.partition("=")
    if name.strip().lower() != "requiretls":
        return
    if value.strip().lower() not in ("yes", "no"):
        raise UsageError("-O requiretls must be yes or no")
    options.require_tls = value.strip().lower() == "yes"


def _notify(options: Options, word: str) -> None:
    words = [each.strip() for each in word.upper().split(",")]
    if words != ["NEVER"] and not set(words) <= _NOTIFY:
        raise UsageError("-N must be never, or of success, failure, delay (RFC 3461 s4.1)")
    options.notify = ",".join(dict.fromkeys(words))


def _ret(options: Options, word: str) -> None:
    if word.upper() not in ("HDRS", "FULL"):
        raise UsageError("-R must be hdrs or full (RFC 3461 s4.3)")
    options.ret = word.upper()


def _envelope_id(options: Options, word: str) -> None:
    if not _ENVELOPE_ID.fullmatch(word):
        raise UsageError("-V must be 1 to 100 printable characters without a blank (RFC 3461 s4.4)")
    options.envelope_id = word


def _set(name: str, value: object) -> Callable[[Options, str], None]:
    return lambda options, word: setattr(options, name, value)


def _keep_word(name: str) -> Callable[[Options, str], None]:
    return lambda options, word: setattr(options, name, word)


_FLAGS: dict[str, Callable[[Options, str], None]] = {
    "C": _keep_word("config"),
    "F": _full_name,
    "I": _set("mode", NOTHING),
    "N": _notify,
    "O": _long_option,
    "R": _ret,
    "V": _envelope_id,
    "b": _mode,
    "e": _error_mode,
    "f": _sender,
    "i": _set("dot_ends", False),
    "o": _option,
    "q": _flush,
    "r": _sender,
    "t": _set("from_header", True),
    "v": _set("verbose", True),
}

_LONG: dict[str, Callable[[Options, str], None]] = {
    "--require-tls": _set("require_tls", True),
    "--tls-optional": _set("tls_optional", True),
    "--pretend": _set("pretend", True),
    "--no-spool": _set("keep", False),
    "--help": _set("mode", HELP),
    "--version": _set("mode", VERSION),
}
_LONG_WITH_WORD: dict[str, Callable[[Options, str], None]] = {
    "--account": _keep_word("account"),
    "--config": _keep_word("config"),
}


def _long(options: Options, argument: str, left: list[str]) -> None:
    name, equals, word = argument.partition("=")
    if name in _LONG_WITH_WORD:
        if not equals and not left:
            raise UsageError(f"{name} needs a word behind it")
        _LONG_WITH_WORD[name](options, word if equals else left.pop(0))
    elif argument in _LONG:
        _LONG[argument](options, "")
    else:
        raise UsageError(f"there is no option {syntax.printable(argument)}; see --help")
