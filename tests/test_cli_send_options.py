"""The command line of sendmail: every flag with its argument forms, and what is refused."""

from __future__ import annotations

import pytest

from requiretls_client.cli.send_options import Options, UsageError, parse

BOB = "bob@example.net"
ROWS = [
    ([BOB], {"recipients": [BOB]}),
    ([BOB, "c@d.e"], {"recipients": [BOB, "c@d.e"]}),
    (["-t"], {"from_header": True}),
    (["-t", BOB], {"from_header": True, "recipients": [BOB]}),
    (["-i", BOB], {"dot_ends": False, "recipients": [BOB]}),
    (["-oi", BOB], {"dot_ends": False, "recipients": [BOB]}),
    (["-o", "i", BOB], {"dot_ends": False, "recipients": [BOB]}),
    (["-ti"], {"from_header": True, "dot_ends": False}),
    (["-it"], {"from_header": True, "dot_ends": False}),
    (["-tf", "a@b.c"], {"from_header": True, "sender": "a@b.c"}),
    (["-tfa@b.c"], {"from_header": True, "sender": "a@b.c"}),
    (["-f", "a@b.c", BOB], {"sender": "a@b.c", "recipients": [BOB]}),
    (["-fa@b.c", BOB], {"sender": "a@b.c", "recipients": [BOB]}),
    (["-f", "A <a@b.c>"], {"sender": "a@b.c"}),
    (["-f", "root"], {"sender": "root"}),
    (["-f", ""], {"sender": ""}),
    (["-f<>"], {"sender": ""}),
    (["-r", "a@b.c"], {"sender": "a@b.c"}),
    (["-ra@b.c"], {"sender": "a@b.c"}),
    (["-FCronDaemon", "-odi", "-oem", "-oi", "-t"],
     {"full_name": "CronDaemon", "dot_ends": False, "from_header": True}),
    (["-F", "Alice A."], {"full_name": "Alice A."}),
    (["-bm", BOB], {"recipients": [BOB]}),
    (["-b", "m", BOB], {"recipients": [BOB]}),
    (["-bp"], {"mode": "queue"}),
    (["-bi"], {"mode": "nothing"}),
    (["-I"], {"mode": "nothing"}),
    (["-q"], {"mode": "flush"}),
    (["-vq"], {"mode": "flush", "verbose": True}),
    (["-v", BOB], {"verbose": True, "recipients": [BOB]}),
    (["-oep"], {"errors": "p"}), (["-oeq"], {"errors": "q"}), (["-oee"], {"errors": "e"}),
    (["-oew"], {"errors": "w"}), (["-em"], {}), (["-e", "q"], {"errors": "q"}),
    (["-C", "/x"], {"config": "/x"}), (["-C/x"], {"config": "/x"}),
    (["--config", "/x"], {"config": "/x"}), (["--config=/x"], {"config": "/x"}),
    (["--account", "work"], {"account": "work"}), (["--account="], {"account": ""}),
    (["-N", "never"], {"notify": "NEVER"}), (["-Nfailure,delay"], {"notify": "FAILURE,DELAY"}),
    (["-N", "success, success"], {"notify": "SUCCESS"}),
    (["-R", "hdrs"], {"ret": "HDRS"}), (["-Rfull"], {"ret": "FULL"}),
    (["-V", "id+1=2"], {"envelope_id": "id+1=2"}),
    (["-O", "requiretls=yes"], {"require_tls": True}),
    (["-Orequiretls=yes"], {"require_tls": True}),
    (["-O", "RequireTLS = YES"], {"require_tls": True}),
    (["-O", "requiretls=no"], {}),
    (["-O", "requiretls=yes", "-O", "requiretls=no"], {}),
    (["-O", "DeliveryMode=b"], {}), (["-O", "SuperSafe"], {}),
    (["--require-tls"], {"require_tls": True}),
    (["--tls-optional"], {"tls_optional": True}),
    (["--pretend"], {"pretend": True}), (["--no-spool"], {"keep": False}),
    (["--help"], {"mode": "help"}), (["--version"], {"mode": "version"}),
    (["-B8BITMIME", BOB], {"recipients": [BOB]}), (["-B", "8BITMIME", BOB], {"recipients": [BOB]}),
    (["-L", "tag", "-Ltag", BOB], {"recipients": [BOB]}),
    (["-h", "12", "-h12", BOB], {"recipients": [BOB]}),
    (["-p", "SMTP:h", "-X", "/log", "-D", "/log", BOB], {"recipients": [BOB]}),
    (["-m", "-n", "-U", "-G", "-c", "-x", BOB], {"recipients": [BOB]}),
    (["-Am", "-Ac", BOB], {"recipients": [BOB]}),
    (["-d", "-d0.1", BOB], {"recipients": [BOB]}),
    (["-odb", "-oQ/tmp", "-om", "-o7", "-oX1", "-oAf", BOB], {"recipients": [BOB]}),
    (["--", "-f", BOB], {"recipients": ["-f", BOB]}),
    (["-i", "--", BOB], {"dot_ends": False, "recipients": [BOB]}),
    ([], {}),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "want"), ROWS, ids=[" ".join(row[0]) for row in ROWS])
def test_flags(arguments, want):
    """Each form means what it means to Postfix's sendmail, and what is not ours is ignored."""
    assert parse(arguments) == Options(**want)


def test_dot_by_default():
    """``requiretls send`` takes a dot as content without being told."""
    assert not parse([], dot_ends=False).dot_ends


WRONG = [
    (["-f"], "-f needs a word"),
    (["-tf"], "-f needs a word"),
    (["-Z"], "there is no option -Z"),
    (["-s", "x"], "there is no option -s"),
    (["-\x1b[31m"], r"there is no option -\x1b"),
    (["-bs"], "-bs is not done here"),
    (["-bd"], "-bd is not done here"),
    (["-bv", BOB], "-bv is not done here"),
    (["-q30m"], "-q30m is not done here"),
    (["-qIabc"], "-qIabc is not done here"),
    (["-oex"], "the error mode is one of"),
    (["-oe"], "the error mode is one of"),
    (["-f", "a b"], "-f: the sender is not one mailbox"),
    (["-f", "a@b.c, d@e.f"], "-f: the sender is not one mailbox"),
    (["-F", "a\nb"], "control character"),
    (["-N", "sometimes"], "-N must be never"),
    (["-N", "never,delay"], "-N must be never"),
    (["-R", "all"], "-R must be hdrs or full"),
    (["-V", "a b"], "-V must be"),
    (["-O", "requiretls=maybe"], "must be yes or no"),
    (["-O", "requiretls"], "must be yes or no"),
    (["--require-tls", "-R", "full"], "RFC 8689 s5"),
    (["--require-tls", "--tls-optional"], "contradict"),
    (["--require"], "there is no option --require;"),
    (["--require-tls=no"], "there is no option --require-tls=no"),
    (["--account"], "--account needs a word"),
    ([BOB, "--require-tls"], "options come first"),
    ([BOB, "-C/tmp/evil"], "options come first"),
    ([BOB, "--", "-C/tmp/evil"], "options come first"),
    (["-bp", BOB], "-bp takes no recipients"),
    (["-q", BOB], "-q takes no recipients"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[ascii(row[0]) for row in WRONG])
def test_refused(arguments, said):
    """What cannot be done is a sentence, and never taken for something weaker."""
    with pytest.raises(UsageError) as caught:
        parse(arguments)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
