"""``requiretls check``: what it prints, and the status it ends with."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from importlib.resources import files

import pytest
from small_internet import DOMAIN, FIRST, SECOND, WITHOUT
from support import CA_AT_HAND, NO_STARTTLS, OTHER, nothing_sent, verbs

from requiretls_client import cli, recording


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    """Keep policies away from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def ca_file(tmp_path):
    """Return a file with the authority of the tests' servers."""
    path = tmp_path / "ca.pem"
    path.write_bytes(CA_AT_HAND.pem)
    return path


@pytest.fixture(scope="module")
def schema():
    """Return what holds JSON against the shipped schema."""
    jsonschema = pytest.importorskip("jsonschema")
    data = json.loads(files("requiretls_client.cli").joinpath("check.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(data)
    return jsonschema.Draft202012Validator(data)


def check(*arguments):
    """Run the command in this process; return its status."""
    return cli.main(["check", *map(str, arguments)])


def internet(net, ca_file):
    """Return the options that lead into a small internet."""
    server = net.name_server()
    return [
        "--nameserver", "127.0.0.1", "--nameserver-port", server.port, "--trust-ad",
        "--ca-file", ca_file, "--allow-private", "--port", net.port, "--timeout", 5,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ({}, {}, 0),
        ({"tls_extensions": WITHOUT}, {}, 1),
        ({}, NO_STARTTLS, 1),
        ({"tls_extensions": WITHOUT}, NO_STARTTLS, 3),
    ],
    ids=["all", "second", "first", "none"],
)
def test_check_of_a_domain(net, ca_file, capsys, first, second, status):
    """The status says how many hosts qualify; each host is shown once, and nothing is sent."""
    servers = net.host(FIRST, **first), net.host(SECOND, **second)
    net.mx(FIRST, SECOND)
    assert check(f"bob@{DOMAIN}", *internet(net, ca_file)) == status
    output = capsys.readouterr().out
    assert output.startswith(f"bob@{DOMAIN}   REQUIRETLS delivery: ")
    parts = output.split("\n\n")
    assert [part.split()[:2] for part in parts[2:4]] == [["10", FIRST], ["20", SECOND]]
    for part, options in zip(parts[2:4], (first, second), strict=True):
        assert ("   FAIL   requiretls:" in part) == ("fix: " in part) == bool(options)
        assert ("(RFC 8689 section 4.2.1 step" in part) == bool(options)
    assert parts[4].startswith("What happens to a message\n")
    assert "ordinary               sent to " in parts[4]
    for server in servers:
        assert nothing_sent(server)
        assert set(verbs(server)) <= {"EHLO", "STARTTLS", "QUIT"}


def test_check_that_could_not_tell(net, ca_file, capsys):
    """A name server that does not answer is no verdict on the domain."""
    net.host(FIRST, tls_extensions=WITHOUT)
    net.mx(FIRST)
    options = internet(net, ca_file)
    options[options.index("--nameserver-port") + 1] = net.port  # nobody listens there on UDP
    assert check(DOMAIN, *options) == 4
    assert "4.4.3" in capsys.readouterr().out


def test_private_addresses(net, ca_file, capsys):
    """Domains lead to private addresses only with --allow-private."""
    net.host(FIRST)
    net.mx(FIRST)
    options = internet(net, ca_file)
    assert check(DOMAIN, *options) == 0
    cautious = [each for each in options if each != "--allow-private"]
    assert check(DOMAIN, *cautious) == 3
    assert "private" in capsys.readouterr().out


def test_json(net, ca_file, capsys, schema):
    """One object a line, in the versioned form of CheckReport.as_dict(), by the shipped schema."""
    net.host(FIRST)
    net.mx(FIRST)
    assert check(DOMAIN, f"x@{DOMAIN}", "--json", *internet(net, ca_file)) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["target"] for each in objects] == [DOMAIN, f"x@{DOMAIN}"]
    assert all(each["schema"] == "requiretls-check/1" for each in objects)
    assert all(each["verdict"]["allowed"] for each in objects)
    for each in objects:
        schema.validate(each)


def test_schema_describes_every_key(schema):
    """Nobody has to guess: each key of the schema has a sentence, and no other may appear."""

    def walk(part):
        if isinstance(part, dict):
            if "properties" in part:
                assert part["additionalProperties"] is False
                assert sorted(part["required"]) == sorted(part["properties"])
                for name, each in part["properties"].items():
                    assert each.get("description"), name
            for each in part.values():
                walk(each)

    walk(schema.schema)


def test_json_in_words_of_the_command_line(net, ca_file, capsys, schema):
    """What is to be changed is an option of the command, not an argument in Python."""
    net.host(FIRST, certificate=OTHER.issue(FIRST), tlsa=False)
    net.mx(FIRST)
    assert check(DOMAIN, "--json", *internet(net, ca_file)) == 3
    data = json.loads(capsys.readouterr().out)
    schema.validate(data)
    (*_, failed) = data["verdict"]["findings"]
    assert "--ca-file" in failed["fix"]
    assert data["hosts"][0]["certificate"]["names"] == [FIRST]


def test_summary_and_quiet(net, ca_file, capsys):
    """--summary is a line for each target in their order, --quiet nothing; the status stays."""
    net.host(FIRST)
    net.host(SECOND, tls_extensions=WITHOUT)
    net.mx(FIRST, SECOND)
    net.records["null.example MX"] = ["0 "]
    targets = [DOMAIN, "null.example", f"bob@{DOMAIN}"]
    assert check(*targets, "--quiet", *internet(net, ca_file)) == 3
    assert capsys.readouterr() == ("", "")
    assert check(*targets, "--summary", *internet(net, ca_file)) == 3
    assert capsys.readouterr().out.splitlines() == [
        f"some\t{DOMAIN}\t1 of 2 mail hosts qualifies",
        "none\tnull.example\tno mail host is known",
        f"some\tbob@{DOMAIN}\t1 of 2 mail hosts qualifies",
    ]


def test_names_on_standard_input(net, ca_file, capsys, monkeypatch):
    """``-`` reads one name a line; blank lines and comments are none."""
    net.host(FIRST)
    net.mx(FIRST)
    monkeypatch.setattr(
        sys, "stdin", io.StringIO(f"# all\n\n{DOMAIN}  # ours\n a@{DOMAIN}\na..b\n")
    )
    assert check("-", "--summary", *internet(net, ca_file)) == 2
    printed = capsys.readouterr()
    assert [line.split("\t")[1] for line in printed.out.splitlines()] == [DOMAIN, f"a@{DOMAIN}"]
    assert "target" in printed.err
    monkeypatch.setattr(sys, "stdin", io.StringIO("# nothing\n"))
    assert check("-") == 2
    assert "no name came in" in capsys.readouterr().err


def test_save_and_load(net, ca_file, capsys, tmp_path, monkeypatch):
    """What --save kept gives the same output and status with --load, without any network."""
    net.host(FIRST)
    net.host(SECOND, tls_extensions=WITHOUT)
    net.mx(FIRST, SECOND)
    path = tmp_path / "run.json"
    assert check(DOMAIN, "a..b", "--save", path, *internet(net, ca_file)) == 2
    live = capsys.readouterr().out

    def no_network(*_):
        raise AssertionError("a replay wants the network")

    monkeypatch.setattr("socket.socket.connect", no_network)
    monkeypatch.setattr("socket.socket.sendto", no_network)
    assert check("--load", path) == 1
    assert capsys.readouterr().out == live
    path.write_text(path.read_text()[:-100])
    assert check("--load", path) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_page(net, ca_file, capsys, tmp_path):
    """--html writes a page beside what is printed; of several targets one with an index."""
    net.host(FIRST)
    net.mx(FIRST)
    path = tmp_path / "page.html"
    assert check(DOMAIN, f"x@{DOMAIN}", "--quiet", "--html", path, *internet(net, ca_file)) == 0
    text = path.read_text()
    assert text.count("<article") == 2
    assert f'<a href="#check-2">x@{DOMAIN}</a>' in text


@pytest.mark.parametrize("option", ["--save", "--html"])
def test_full_disk(capsys, option):
    """What cannot be written is one sentence and status 2; the report was printed all the same."""
    assert check("--relay", "127.0.0.1:9", option, "/dev/full") == 4
    printed = capsys.readouterr()
    assert "REQUIRETLS delivery: COULD NOT TELL" in printed.out
    assert printed.err.count("\n") == 1
    assert "No space left" in printed.err


@pytest.mark.parametrize(
    ("terminal", "color", "variable", "tree", "coloured"),
    [
        (True, "auto", "", True, True),
        (True, "auto", "1", True, False),
        (True, "never", "", False, False),
        (False, "auto", "", False, False),
        (False, "always", "", True, True),
        (True, "always", "1", True, True),  # the option is for this call, the variable for all
    ],
)
def test_colours(net, ca_file, monkeypatch, capsys, terminal, color, variable, tree, coloured):
    """Trees and colours on a terminal, plain text elsewhere; NO_COLOR and --color are obeyed."""
    pytest.importorskip("rich")
    net.host(FIRST)
    net.mx(FIRST)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if variable:
        monkeypatch.setenv("NO_COLOR", variable)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert check(DOMAIN, "--color", color, *internet(net, ca_file)) == 0
    output = capsys.readouterr().out
    assert ("\N{BOX DRAWINGS LIGHT VERTICAL AND RIGHT}" in output) is tree
    assert ("\x1b[32m" in output) is coloured
    assert output.isascii() is not tree


@pytest.mark.parametrize(("options", "status"), [({}, 0), ({"tls_extensions": WITHOUT}, 3)])
def test_relay(serve, ca_file, capsys, options, status):
    """--relay looks at a submission server without any DNS."""
    server = serve(certificate=CA_AT_HAND.issue("localhost"), **options)
    assert check("--relay", f"{server.host}:{server.port}", "--ca-file", ca_file) == status
    assert ("5.7.30" in capsys.readouterr().out) == bool(status)
    assert nothing_sent(server)


def test_relay_that_is_down(capsys):
    """A connection that is refused may be taken later."""
    assert check("--relay", "127.0.0.1:9") == 4
    assert "could not be reached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a domain"),
        (["a\x1b[31m.example"], "control character"),
        (["--relay", "a:b:c"], "--relay must be"),
        (["--relay", "a:0"], "port"),
        (["--ca-file", "/nonexistent", DOMAIN], "--ca-file /nonexistent: No such file"),
        (["--ca-file", os.devnull, DOMAIN], f"--ca-file {os.devnull}: "),
        (["--ca-file", "", DOMAIN], "--ca-file : "),  # of a variable that is not set
        (["--ca-file", "system", DOMAIN], "--ca-file system: No such file"),
        (["--timeout", "inf", DOMAIN], "timeout must be"),
        (["--timeout", "1e9", "--relay", "127.0.0.1"], "timeout must be"),
        (["--nameserver", "ns.example", DOMAIN], "ns.example"),
        (["--load", "/nonexistent"], "No such file"),
        (["--load", "/nonexistent", DOMAIN], "name no others"),
        (["--load", os.devnull], "no JSON"),
        (["--load", "/dev/full\x1b"], "No such file"),
        (["--save", "/nonexistent/x", DOMAIN], "No such file"),
        (["--html", "/nonexistent/x", DOMAIN], "No such file"),
    ],
)
def test_wrong_call(capsys, arguments, said):
    """Status 2, a sentence on standard error, and no raw control character in it."""
    assert check(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert "\x1b" not in printed.err


def test_a_recording_of_nothing(capsys, tmp_path):
    """A file without any check is no good news."""
    path = tmp_path / "run.json"
    path.write_text(recording.dump([]))
    assert check("--load", path) == 2
    assert "holds no check" in capsys.readouterr().err


def test_nothing_checked_leaves_the_files(capsys, tmp_path):
    """What an earlier run has kept is not replaced by nothing, say after a misspelt name."""
    kept, page = tmp_path / "run.json", tmp_path / "page.html"
    for path in (kept, page):
        path.write_text("of yesterday")
    assert check("--save", kept, "--html", page, "a..b") == 2
    assert (kept.read_text(), page.read_text()) == ("of yesterday", "of yesterday")


def test_bad_target_beside_a_good_one(net, ca_file, capsys):
    """The good one is checked all the same, and a worse status than 2 is not hidden."""
    net.host(FIRST)
    net.mx(FIRST)
    assert check("a..b", DOMAIN, *internet(net, ca_file)) == 2
    assert "REQUIRETLS delivery: POSSIBLE" in capsys.readouterr().out
    del net.records[f"{DOMAIN} MX"]
    assert check(DOMAIN, "a..b", *internet(net, ca_file)) == 3


def test_help():
    """The status codes are in --help; the list of commands loads next to nothing, for cron."""
    done = subprocess.run(
        [sys.executable, "-m", "requiretls_client", "check", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    assert "4  could not tell" in done.stdout
    code = (
        "import sys\nfrom requiretls_client.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "import smtplib, argparse, importlib, signal\n"
        "print(sorted(set(sys.modules) - before))"
    )
    code = f"import smtplib, argparse, signal, importlib, sys\nbefore = set(sys.modules)\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    added = ast.literal_eval(done.stdout.splitlines()[-1])
    ours = {"requiretls_client", "requiretls_client.cli", "requiretls_client.errors"}
    assert {each for each in added if each.startswith("requiretls")} == ours
    # What argparse itself loads to print a help; nothing else.
    assert set(added) - ours <= {"gettext", "locale", "shutil", "_locale", "fnmatch", "zlib", "bz2",
                                 "_bz2", "lzma", "_lzma", "_compression", "textwrap"}  # fmt: skip


def test_reader_that_has_gone():
    """Output into a closed pipe ends the command quietly, as it ends others."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "requiretls_client", "check", "--relay", "127.0.0.1:9"],
        stdout=writing, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_interrupted(monkeypatch, capsys):
    """^C is a status and not a traceback."""

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("requiretls_client.checking.check_relay", interrupt)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert check("--relay", "127.0.0.1:9") == 130
    assert capsys.readouterr().err == "requiretls check: interrupted: 1 of 1 were not checked\n"
