"""``requiretls send`` and ``requiretls-sendmail`` as programs call them: real processes."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from sending import MESSAGE, Machine
from small_internet import WITHOUT
from support import CA_AT_HAND, NO_STARTTLS, nothing_sent

from requiretls_client.cli import send, send_options

SECRET = "canary-password"


@pytest.fixture
def relay(serve):
    """Start submission servers with our certificate."""

    def start(**options):
        return serve(certificate=CA_AT_HAND.issue("localhost"), **options)

    return start


def said(done):
    """Return what a program said on standard error: sentences, printable, without secrets."""
    text = done.stderr.decode()
    assert SECRET not in text
    assert "Traceback" not in text
    assert all(line.isprintable() for line in text.splitlines())
    return text


# -- sent ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [Machine.send, Machine.sendmail])
@pytest.mark.parametrize("strict", [False, True])
def test_sent(machine, relay, call, strict):
    """Silent and 0: the message is there, as asked, with its envelope, and nothing is kept."""
    server = relay(users={"alerts": SECRET})
    machine.relay(server, 'user = "alerts"', f'password_command = ["echo", "{SECRET}"]')
    done = call(machine, *(["--require-tls"] if strict else []), "-t", "-i")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (message,) = server.ledger
    assert (message.sender, *message.recipients) == ("alice@example.org", "bob@example.net")
    assert ("REQUIRETLS" in message.parameters) == strict
    assert b"canary-body\r\n" in message.content
    assert machine.kept("queue") == machine.kept("failed") == machine.kept("tmp") == []


def test_verbose(machine, relay):
    """-v says what became of it."""
    machine.relay(relay())
    done = machine.sendmail("-v", "bob@example.net")
    assert "sendmail: bob@example.net: delivered by localhost (250 2.0.0)" in said(done)


def test_bcc(machine, relay):
    """Bcc gets the message, and nobody reads who that was."""
    server = relay()
    machine.relay(server)
    machine.sendmail("-t", "third@example.net", stdin=f"Bcc: secret@example.net\n{MESSAGE}")
    (message,) = server.ledger
    assert list(message.recipients) == [
        "third@example.net",
        "secret@example.net",
        "bob@example.net",
    ]
    assert b"secret" not in message.content


@pytest.mark.parametrize(
    ("arguments", "account", "sender"),
    [
        ([], [], "alice@example.org"),
        (["-f", "x@example.org"], [], "x@example.org"),
        (["-f", ""], [], ""),
        ([], ['from = "alerts@example.org"'], "alerts@example.org"),
        (["-f", "root"], ['from = "alerts@example.org"'], "alerts@example.org"),
        (["-f", "x@example.org"], ['from = "alerts@example.org"'], "x@example.org"),
        (["-f", "root"], [], "root@host.example.org"),
    ],
)
def test_sender(machine, relay, arguments, account, sender):
    """-f counts where it is an address; else the account's own, the author, or the user here."""
    server = relay()
    machine.relay(server, *account, top='domain = "host.example.org"')
    assert machine.sendmail(*arguments, "-t").returncode == 0
    assert server.ledger[0].sender == sender


def test_account_by_sender(machine, serve, relay):
    """The account whose "from" is the sender takes the message; --account overrules that."""
    first, second = relay(), relay()
    ca_file = machine.home / "ca.pem"
    ca_file.write_bytes(CA_AT_HAND.pem)
    text = 'default_account = "a"\n'
    for name, server in (("a", first), ("b", second)):
        text += f'[accounts.{name}]\nhost = "localhost"\nport = {server.port}\n'
        text += f'from = "{name}@example.org"\nca_file = "{ca_file}"\n'
    machine.configure(text)
    machine.sendmail("bob@example.net", stdin="Subject: x\n\n")
    machine.sendmail("-f", "B@example.org", "bob@example.net", stdin="Subject: x\n\n")
    machine.sendmail("bob@example.net", stdin="From: b@example.org\n\n")
    machine.sendmail("--account", "a", "bob@example.net", stdin="From: b@example.org\n\n")
    assert (len(first.ledger), len(second.ledger)) == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "stdin", "whole"),
    [
        ([], "Subject: x\n\none\n.\ntwo\n", False),
        (["-i"], "Subject: x\n\none\n.\ntwo\n", True),
        ([], "Subject: x\r\n\r\none\r\n.\r\ntwo\r\n", False),
        ([], "Subject: x\n\none\n..\ntwo\n", True),
    ],
)
def test_dot(machine, relay, arguments, stdin, whole):
    """A dot alone ends the message unless -i; ``requiretls send`` always takes it as content."""
    server = relay()
    machine.relay(server)
    machine.sendmail(*arguments, "bob@example.net", stdin=stdin)
    machine.send("bob@example.net", stdin=stdin)
    assert [b"two" in each.content for each in server.ledger] == [whole, True]


def test_tls_optional(machine, relay):
    """--tls-optional and a field of the message come to one TLS-Required: No."""
    server = relay(tls_extensions=WITHOUT)
    machine.relay(server)
    assert machine.send("--tls-optional", "-t").returncode == 0
    assert machine.send("-t", stdin=f"TLS-Required: No\n{MESSAGE}").returncode == 0
    for each in server.ledger:
        assert each.content.count(b"TLS-Required: No\r\n") == 1


def test_stricter_wins(machine, relay):
    """Where the configuration requires TLS, TLS-Required: No of a message is left out, and said."""
    server = relay()
    machine.relay(server, "require_tls = true")
    for arguments, stdin in ((["--tls-optional"], MESSAGE), ([], f"TLS-Required: No\n{MESSAGE}")):
        done = machine.send("-t", *arguments, stdin=stdin)
        assert done.returncode == 0
        assert "does not hold and is left out (RFC 8689 s4.1)" in said(done)
    for each in server.ledger:
        assert "REQUIRETLS" in each.parameters
        assert b"TLS-Required" not in each.content
    done = machine.send("-t", "--require-tls", stdin=f"TLS-Required: No\n{MESSAGE}")
    assert done.returncode == 65
    assert len(server.ledger) == 2


def test_dsn(machine, relay):
    """-N, -R and -V reach a server that offers DSN."""
    server = relay(tls_extensions=[*WITHOUT, "REQUIRETLS", "DSN"])
    machine.relay(server, "require_tls = true")
    machine.sendmail("-N", "delay,failure", "-R", "hdrs", "-V", "a+b", "-t")
    commands = " ".join(server.commands())
    for word in ("NOTIFY=DELAY,FAILURE", "RET=HDRS", "ENVID=a+2Bb"):
        assert word in commands
    assert machine.sendmail("-R", "full", "-t").returncode == 64
    assert len(server.ledger) == 1


# -- exit status -----------------------------------------------------------------------------------

REFUSED = {"script": {"RCPT": "550 5.1.1 No such user"}}
LATER = {"script": {"RCPT": "450 4.2.0 Later"}}
STATUSES = [
    ("refused by the server", REFUSED, [], (67, 67, 67)),
    ("refused content", {"script": {".": "554 5.7.1 No"}}, [], (67, 67, 67)),
    ("no REQUIRETLS", {"tls_extensions": WITHOUT}, ["--require-tls"], (69, 69, 69)),
    ("no STARTTLS", NO_STARTTLS, ["--require-tls"], (69, 69, 69)),
    ("later", LATER, [], (75, 0, 75)),
    ("busy", {"script": {"GREETING": "421 4.3.2 Busy"}}, [], (75, 0, 75)),
    ("lost behind the message", {"script": {".": "close"}}, [], (75, 0, 76)),
    ("no replies", {"script": {"RCPT": "nonsense"}}, [], (75, 0, 76)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "arguments", "statuses"), [r[1:] for r in STATUSES], ids=[r[0] for r in STATUSES]
)
def test_status(machine, relay, options, arguments, statuses):
    """send, sendmail, send --no-spool: what failed is told; what waits is sendmail's business."""
    from requiretls_client.testing import close

    script = {k: close if v == "close" else v for k, v in options.get("script", {}).items()}
    server = relay(**{**options, **({"script": script} if script else {})})
    machine.relay(server)
    arguments = [*arguments, "-t"]
    runs = (machine.send(*arguments), machine.sendmail(*arguments),
            machine.send("--no-spool", *arguments))  # fmt: skip
    assert tuple(each.returncode for each in runs) == statuses
    waits = statuses[0] == 75
    assert len(machine.kept("queue")) == (2 if waits else 0)
    assert bool(machine.kept("failed")) != waits
    assert (said(runs[1]) == "") == waits
    assert "bob@example.net" in said(runs[0])
    assert ("waits in the spool" in said(runs[0])) == waits
    assert "nothing of the message is kept" in said(runs[2])
    if "--require-tls" in arguments:  # RFC 8689 s5: reports may go, and hold nothing of the text
        assert not any(b"canary-body" in line.data for line in server.transcript)
        assert {each.sender for each in server.ledger} <= {""}


def test_login_refused(machine, relay):
    """A refused login keeps the message until the account is mended; without spool it is 77."""
    server = relay(users={"alerts": SECRET})
    machine.relay(server, 'user = "alerts"', 'password_command = ["echo", "wrong"]')
    runs = machine.send("-t"), machine.sendmail("-t"), machine.send("--no-spool", "-t")
    assert [each.returncode for each in runs] == [75, 0, 77]
    assert "refused the login of account work: 535" in said(runs[0])
    machine.relay(server, 'user = "alerts"', f'password_command = ["echo", "{SECRET}"]')
    assert machine.run("flush", "--all").returncode == 0
    assert len(server.ledger) == 2


def test_untrusted_server(machine, serve):
    """A certificate that nobody vouches for is 77, and no password goes there."""
    server = serve(users={"alerts": SECRET})
    machine.relay(server, 'user = "alerts"', f'password_command = ["echo", "{SECRET}"]')
    for done in (machine.send("-t"), machine.sendmail("-t"), machine.send("--no-spool", "-t")):
        assert done.returncode == 77
        assert "RFC 8689" in said(done) or "RFC" in said(done)
    assert nothing_sent(server)


@pytest.mark.parametrize("records", [{}, {"nowhere.example MX": ["0 "]}], ids=["nxdomain", "null"])
def test_no_such_domain(machine, net, records):
    """A domain that does not exist, or takes no mail, is 68."""
    net.records.update(records)
    server = net.name_server()
    machine.configure(f'[lookups]\nnameservers = ["127.0.0.1"]\nnameserver_port = {server.port}')
    for done in (machine.send("bob@nowhere.example"), machine.sendmail("bob@nowhere.example")):
        assert done.returncode == 68
        assert "nowhere.example" in said(done)


def test_server_that_is_down(machine, relay):
    """Nobody there: the message waits, with its REQUIRETLS, and leaves with it."""
    server = relay()
    machine.relay(server)
    port = f"port = {server.port}"
    config = machine.home / "config/requiretls-client/config.toml"
    config.write_text(config.read_text().replace(port, "port = 9"))
    assert machine.send("--require-tls", "-t").returncode == 75
    assert machine.sendmail("--require-tls", "-t").returncode == 0
    assert len(machine.kept("queue")) == 2
    config.write_text(config.read_text().replace("port = 9", port))
    assert machine.run("flush", "--all").returncode == 0
    assert ["REQUIRETLS" in each.parameters for each in server.ledger] == [True, True]
    assert machine.kept("queue") == []


# -- nothing is lost -------------------------------------------------------------------------------

UNUSABLE = [
    ("nobody is named", [], MESSAGE, 64),
    ("nobody in the header", ["-t"], "Subject: x\n\nhi\n", 64),
    ("unknown person", ["root"], MESSAGE, 67),
    ("bad address", ["a b"], MESSAGE, 65),
    ("NUL in the header", ["bob@example.net"], "Subject: a\0b\n\n", 65),
    ("To names nobody", ["-t"], "To: (x)\n\nhi\n", 65),
    ("unknown account", ["--account", "x", "-t"], MESSAGE, 78),
    ("no configuration", ["--config", "/nonexistent", "-t"], MESSAGE, 78),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "stdin", "status"), [r[1:] for r in UNUSABLE], ids=[r[0] for r in UNUSABLE]
)
@pytest.mark.parametrize("call", [Machine.send, Machine.sendmail])
def test_what_cannot_be_sent_is_kept(machine, arguments, stdin, status, call):
    """What cannot become a message is kept as it came, with the reason, and said."""
    if "/nonexistent" in arguments:  # nobody knows where the spool should have been
        machine.patch.setattr("requiretls_client.cli.spool.default_folder", lambda: machine.spool)
    done = call(machine, *arguments, stdin=stdin)
    assert done.returncode == status
    first, second = said(done).splitlines()
    raw, why = machine.kept("dead")
    assert second.endswith(f"the text is kept in {raw}")
    assert raw.read_bytes() == stdin.encode()
    assert first.endswith(why.read_text().strip())
    assert [each.stat().st_mode & 0o777 for each in (raw, why)] == [0o600, 0o600]


def test_bug_of_ours(machine):
    """Even where this program fails, what was piped in is kept."""

    def fail(*_):
        raise KeyError("canary")

    machine.patch.setattr("requiretls_client.cli.submission.make_job", fail)
    done = machine.sendmail("-t")
    assert done.returncode == 70
    assert "please report it: KeyError" in said(done)
    assert machine.kept("dead")[0].read_text() == MESSAGE


@pytest.mark.parametrize("stdin", ["", "\n", " \n\n"])
def test_nothing_to_send(machine, stdin):
    """Without input there is nothing to send and nothing to keep."""
    done = machine.sendmail("bob@example.net", stdin=stdin)
    assert done.returncode == 65
    assert said(done) == "sendmail: standard input is empty\n"
    assert not machine.spool.exists()


@pytest.mark.parametrize("up", [True, False])
def test_spool_that_cannot_be_written(machine, relay, up):
    """There is one attempt; if it fails, 73 and the word that nothing is kept."""
    server = relay(**({} if up else LATER))
    (machine.home / "file").touch()
    machine.relay(server, spool=machine.home / "file/spool")
    for call in (machine.send, machine.sendmail):
        done = call("-t")
        assert done.returncode == (0 if up else 73)
        assert "cannot keep the message in" in said(done)
        assert ("nothing of the message is kept" in said(done)) != up
    assert len(server.ledger) == (2 if up else 0)


def test_no_spool(machine, relay):
    """--no-spool leaves no trace."""
    machine.relay(relay())
    assert machine.send("--no-spool", "-t").returncode == 0
    assert not machine.spool.exists()


# -- reports ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "status", "reports", "silent"),
    [
        ("-oem", 67, 1, False), ("-oew", 67, 1, False), ("-oee", 0, 1, False),
        ("-oep", 67, 0, False), ("-oeq", 67, 0, True), ("-Nnever", 67, 0, False),
    ],
)  # fmt: skip
def test_error_modes(machine, relay, flag, status, reports, silent):
    """A final failure is mailed to the sender (RFC 3464), printed, or neither, as asked."""
    server = relay(script={"RCPT": ["550 5.1.1 No such user", "250 2.1.5 Ok"]})
    machine.relay(server)
    done = machine.sendmail(flag, "-t")
    assert done.returncode == status
    assert (said(done) == "") == silent
    assert len(server.ledger) == reports
    for report in server.ledger:
        assert (report.sender, *report.recipients) == ("", "alice@example.org")
        assert b"delivery-status" in report.content
        assert b"5.1.1" in report.content
    assert len(machine.kept("failed")) == 1


def test_report_about_requiretls(machine, relay):
    """RFC 8689 s5: a report about such a message holds none of its text, and asks for the same."""
    server = relay(script={"RCPT": ["550 5.1.1 No such user", "250 2.1.5 Ok"]})
    machine.relay(server, "require_tls = true")
    machine.sendmail("-t")
    (report,) = server.ledger
    assert "REQUIRETLS" in report.parameters
    assert b"canary-body" not in report.content


# -- other modes -----------------------------------------------------------------------------------


def test_queue_and_flush(machine, relay):
    """-bp and mailq list what waits, -q sends it."""
    server = relay(script={"RCPT": ["450 4.2.0 Later", "250 2.1.5 Ok"]})
    machine.relay(server)
    machine.sendmail("-t")
    for done in (machine.sendmail("-bp"), machine.sendmail(name="mailq")):
        assert done.returncode == 0
        assert b"bob@example.net" in done.stdout
    assert machine.sendmail("-q").returncode == 0
    assert len(server.ledger) == 1
    assert machine.sendmail("-q").returncode == 0
    assert len(server.ledger) == 1


@pytest.mark.parametrize(
    ("name", "arguments"), [("newaliases", []), ("sendmail", ["-bi"]), ("sendmail", ["-I"])]
)
def test_newaliases(machine, name, arguments):
    """There is no alias database to make anew."""
    done = machine.sendmail(*arguments, name=name)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_pretend(machine, relay):
    """--pretend shows what was decided; it connects to nothing and runs no password command."""
    server = relay()
    ran = machine.home / "ran"
    machine.relay(
        server, 'user = "alerts"', f'password_command = ["touch", "{ran}"]', "require_tls = true",
        top='[aliases]\nroot = "admin@example.org"',
    )  # fmt: skip
    done = machine.send("--pretend", "-N", "never", "root", "bob@example.net")
    shown = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    for line in (
        f"account:       work (localhost:{server.port}, STARTTLS)",
        "user:          alerts",
        "password:      ******** (from password_command)",
        "asks for:      REQUIRETLS (RFC 8689), or not at all",
        "from:          <alice@example.org>",
        "to:            <admin@example.org>",
        "NOTIFY:        NEVER",
        "Subject: canary-subject",
        "(13 octets of text)",
    ):
        assert f"{line}\n" in shown
    assert "canary-body" not in shown
    assert server.transcript == []
    assert not ran.exists()
    assert not machine.spool.exists()


def test_pretend_without_account(machine):
    """Without an account the mail hosts are named, and a password in the file is starred."""
    done = machine.send("--pretend", "--no-spool", "--tls-optional", "-t", stdin=MESSAGE)
    assert "account:       none: straight to the mail hosts, port 25\n" in done.stdout.decode()
    assert "asks for:      TLS-Required: No\n" in done.stdout.decode()
    machine.configure(
        f'[accounts.a]\nhost = "h"\nport = 465\nserver_hostname = "n"\nuser = "u"\n'
        f'password = "{SECRET}"'
    )
    shown = machine.send("--pretend", "-t").stdout.decode()
    assert "password:      ******** (from password)\n" in shown
    assert "account:       a (h:465, TLS at once)\n" in shown
    assert SECRET not in shown


def test_hostile_message_shown(machine):
    """What a message holds cannot move the cursor of who looks at --pretend."""
    done = machine.send("--pretend", "bob@example.net", stdin="Subject: \x1b[31mred\n\n")
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize("call", [Machine.send, Machine.sendmail])
def test_help(machine, call):
    """--help has every flag and the whole table of statuses."""
    done = call(machine, "--help", stdin="")
    text = done.stdout.decode()
    assert call(machine, "-h", stdin="").stdout == done.stdout
    assert (done.returncode, done.stderr) == (0, b"")
    assert text.startswith("usage: ")
    for word in ("-t ", "-f, -r", "-F", "-oem", "-N", "-R", "-V", "-C", "--pretend", "-bp", "-q"):
        assert word in text
    for status in (0, 64, 65, 67, 68, 69, 70, 73, 74, 75, 76, 77, 78):
        assert f"\n  {status:<2}  " in text
    assert max(map(len, text.splitlines())) <= 100


def test_options_to_complete():
    """What shells complete is what the command line understands, and nothing is taken from it."""
    parser = argparse.ArgumentParser()
    send.add_arguments(parser)
    options = [action for action in parser._actions if action.option_strings]
    assert len(options) > 8
    for action in options:
        word = [] if action.nargs == 0 else ["x"]
        for name in action.option_strings:
            assert send_options.parse([name, *word]) if name != "-h" else True
            arguments = [name, *word, "--", "-h", "a@b.c"]
            assert parser.parse_args(arguments).arguments == arguments


def test_version(machine):
    """--version names the program."""
    assert machine.send("--version").stdout.startswith(b"requiretls send ")


@pytest.mark.parametrize(
    ("arguments", "status"), [(["-Z"], 64), (["-bs"], 64), (["-q5m"], 64), (["-f"], 64)]
)
def test_wrong_call(machine, arguments, status):
    """A wrong call is a sentence; nothing is read."""
    done = machine.sendmail(*arguments)
    assert done.returncode == status
    assert len(said(done).splitlines()) == 1


def test_closed_standard_input(machine):
    """Without standard input nothing is sent."""
    done = subprocess.run(
        ["sh", "-c", f"exec {machine.executable()} bob@example.net <&-"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 74
    assert b"no standard input" in done.stderr


# -- as other programs call it ---------------------------------------------------------------------

PATCH = "From 0123 Mon Sep 17 00:00:00 2001\n" + MESSAGE
CALLERS = [
    ("Debian's cron", ["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"],
     "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> date\nMIME-Version: 1.0\n"
     "Content-Type: text/plain; charset=ANSI_X3.4-1968\nContent-Transfer-Encoding: 8bit\n"
     "X-Cron-Env: <SHELL=/bin/sh>\n\nschön\n", ["admin@example.org"]),
    ("ISC cron", ["-FCronDaemon", "-odi", "-oem", "-oi", "-t"],
     "From: root (Cron Daemon)\nTo: root\n\nhi\n", ["admin@example.org"]),
    ("busybox crond", ["-t", "-oem", "-i"], "To: root\nSubject: cron: x\n\nhi\n",
     ["admin@example.org"]),
    ("at", ["-i", "root"], "Subject: Output from your job        1\nTo: root\n\nhi\n",
     ["admin@example.org"]),
    ("PHP", ["-t", "-i"], "To: bob@example.net\r\nSubject: x\r\nX-PHP-Originating-Script: 0:x\r\n"
     "\r\nhi\r\n", ["bob@example.net"]),
    ("PHP with -f", ["-t", "-i", "-fwww@example.org"], MESSAGE, ["bob@example.net"]),
    ("s-nail", ["-i", "-r", "a@example.org", "--", "bob@example.net"], MESSAGE,
     ["bob@example.net"]),
    ("bsd-mailx", ["-i", "bob@example.net", "c@example.net"], MESSAGE,
     ["bob@example.net", "c@example.net"]),
    ("git send-email", ["-f", "alice@example.org", "-i", "bob@example.net"], PATCH,
     ["bob@example.net"]),
    ("mutt", ["-oem", "-oi", "-f", "alice@example.org", "--", "bob@example.net"], MESSAGE,
     ["bob@example.net"]),
    ("mdadm, smartd", ["-t"], "To: root\nSubject: DegradedArray\n\nhi\n", ["admin@example.org"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "stdin", "to"), [row[1:] for row in CALLERS], ids=[row[0] for row in CALLERS]
)
def test_callers(machine, relay, arguments, stdin, to):
    """What the programs of a Debian machine write arrives with REQUIRETLS."""
    server = relay()
    machine.relay(server, "require_tls = true", 'from = "alerts@example.org"',
                  top='[aliases]\nroot = "admin@example.org"')  # fmt: skip
    done = machine.process(*arguments, stdin=stdin)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (message,) = server.ledger
    assert list(message.recipients) == to
    assert "REQUIRETLS" in message.parameters
    body = stdin.replace("\r\n", "\n").partition("\n\n")[2].replace("\n", "\r\n").encode()
    assert message.content.endswith(b"\r\n\r\n" + body)


def test_modules(machine, relay):
    """Through an account neither DNS nor HTTP is loaded: cron calls this every minute."""
    server = relay()
    machine.relay(server)
    done = machine.process(
        "-t",
        program="import sys\nfrom requiretls_client.cli.sendmail import main\nmain()\n"
        "print(sorted({'dns', 'requests', 'sqlite3', 'cryptography', 'rich'} & set(sys.modules)))",
    )
    assert (done.stdout, done.stderr) == (b"[]\n", b"")
    assert len(server.ledger) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "place"),
    [
        (["-v", "bob@example.net"], MESSAGE, 0, None),
        (["bob@example.net"], f"TLS-Required: No\n{MESSAGE}", 0, None),
        ([], MESSAGE, 64, "dead"),
        (["bob@example.net"], MESSAGE, 75, "queue"),
    ],
)
def test_standard_error_that_cannot_be_written(machine, relay, arguments, stdin, status, place):
    """A log on a full disk costs no message, and changes no status."""
    server = relay(script={"RCPT": "450 4.2.1 Later"} if place == "queue" else {})
    machine.relay(server, top="require_tls = true")
    program = "import sys\nfrom requiretls_client.cli import main\nsys.exit(main())\n"
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, "send", *arguments],
            input=stdin.encode(), stderr=full, check=False, timeout=60, cwd=machine.home,
        )  # fmt: skip
    assert done.returncode == status
    assert [each for each in ("dead", "queue") if machine.kept(each)] == ([place] if place else [])
    assert len(server.ledger) == (place is None)
