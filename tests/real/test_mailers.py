"""Programs of Debian hand their mail to requiretls-sendmail, which brings it to real Postfix."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest
from msmtprc import ALIASES, MSMTPRC

from requiretls_client.cli.config import parse
from requiretls_client.cli.msmtp import convert

from . import places

PATCH = """\
From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001
From: Alice <alice@example.org>
Date: Tue, 24 Nov 2026 12:00:00 +0000
Subject: [PATCH] {token}

---
 file | 1 +
"""


class Mailers:
    """Debian's programs in the folder that they were unpacked into."""

    def __init__(self, root):
        """Name the folder."""
        self._root = root
        libraries = [*root.glob("lib/*-linux-gnu*"), *root.glob("usr/lib/*-linux-gnu*")]
        loader = next(root.glob("lib/*-linux-gnu*/ld-linux*.so.*"))
        # Not LD_LIBRARY_PATH, which sendmail's Python would inherit.
        self._loader = [loader, "--library-path", ":".join(map(str, libraries))]
        perl = [root / "usr/share/perl5", *root.glob("usr/share/perl/5.*"),
                *root.glob("usr/lib/*-linux-gnu*/perl/5.*"),
                *root.glob("usr/lib/*-linux-gnu*/perl-base")]  # fmt: skip
        self._perl = ":".join(map(str, perl))

    def run(self, program, *arguments, stdin="", **environment):
        """Run a program, which must succeed and say nothing on standard error; its output."""
        done = subprocess.run(
            [str(word) for word in (*self._loader, self._root / "usr" / program, *arguments)],
            input=stdin.encode(), capture_output=True, check=False, timeout=60,
            env={**os.environ, **{key: str(value) for key, value in environment.items()}},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b""), done
        return done.stdout.decode()

    def perl(self, script, *arguments, **environment):
        """Run a script of theirs in their Perl."""
        self.run("bin/perl", self._root / script, *arguments, PERL5LIB=self._perl, **environment)


@pytest.fixture(scope="session")
def mailers():
    """Return the programs, or skip where they could not be unpacked."""
    path, reason = places.lookup("mailers")
    if path is None:
        if os.environ.get("REQUIRETLS_REAL_REQUIRED") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return Mailers(path / "root")


@pytest.fixture
def sendmail(machine, postfix311, real_ca):
    """Return a sendmail whose account is at Postfix 3.11, and requires TLS."""
    machine.configure(
        f'[accounts.work]\nhost = "{postfix311.name}"\nca_file = "{real_ca.path}"\n'
        'require_tls = true\nfrom = "alerts@example.org"\n'
    )
    return machine.executable()


def mailx(mailers, sendmail, token, to):
    """Let bsd-mailx send."""
    settings = sendmail.parent / "mailrc"
    settings.write_text(f"set sendmail={sendmail}\n")
    mailers.run("bin/bsd-mailx", "-s", token, to, stdin="canary schön\n", MAILRC=settings)


def s_nail(mailers, sendmail, token, to):
    """Let s-nail send."""
    mailers.run(
        "bin/s-nail", "-:/", "-S", "v15-compat=y", "-S", f"mta={sendmail}",
        "-r", "alice@example.org", "-s", token, "-.", to,
        stdin="canary schön\n", LC_ALL="C.UTF-8",
    )  # fmt: skip


def php(mailers, sendmail, token, to):
    """Let PHP's mail() send, with CRLF and a header of its own."""
    code = f'exit(mail("{to}", "{token}", "canary schön", "X-Own: 1\\r\\nBcc: b{to}") ? 0 : 1);'
    mailers.run("bin/php8.2", "-n", "-d", f"sendmail_path={sendmail} -t -i", "-r", code)


def git(mailers, sendmail, token, to):
    """Let git send-email send."""
    patch = sendmail.parent / "0001-x.patch"
    patch.write_text(PATCH.format(token=token) + "canary schön\n")
    mailers.perl(
        "usr/lib/git-core/git-send-email", "--quiet", "--confirm=never", "--suppress-cc=all",
        "--8bit-encoding=UTF-8",
        "--from=alice@example.org", f"--to={to}", f"--sendmail-cmd={sendmail}", patch,
        GIT_AUTHOR_NAME="Alice", GIT_AUTHOR_EMAIL="alice@example.org",
        GIT_COMMITTER_NAME="Alice", GIT_COMMITTER_EMAIL="alice@example.org",
    )  # fmt: skip


@pytest.mark.parametrize("send", [mailx, s_nail, php, git])
def test_mailers(mailers, sendmail, postfix311, send):
    """Each one's message is stored with REQUIRETLS, whole, for its recipient."""
    token = uuid.uuid4().hex
    send(mailers, sendmail, token, f"{token}@{postfix311.domain}")
    stored = postfix311.wait_for(token)
    head, _, body = stored.partition(b"\n\n")
    assert b"require-tls-esmtp: yes" in head.lower()
    assert b"Message-ID: " in head or b"Message-Id: " in head
    assert b"\nBcc:" not in head
    text = body.decode() if b"8bit" in head else _decoded(stored)
    assert "canary schön" in text
    commands = postfix311.mail_commands()
    assert any("alerts@example.org" in each or "alice@example.org" in each for each in commands)
    assert not list(Path(sendmail.parent / "spool").glob("queue/*"))


def test_msmtp_agrees(mailers, tmp_path):
    """The real msmtp reads the same settings out of its file as ``init --msmtp`` does."""
    path = tmp_path / "msmtprc"
    path.write_text(MSMTPRC.replace("frobnicate 7\n", ""))
    path.chmod(0o600)
    config = parse("x", convert(MSMTPRC, lambda name: ALIASES).text.encode(), private=True)
    for name, account in config.accounts.items():
        shown = mailers.run("bin/msmtp", "-C", path, "-a", name, "--pretend", "a@b.c")
        words = dict(line.split(" = ", 1) for line in shown.splitlines() if " = " in line)
        assert words["host"].strip() == account.host
        assert int(words["port"].split()[0]) == account.port
        at_once = words["tls"] == "on" and words["tls_starttls"] == "off"
        assert at_once == account.implicit_tls
        if account.from_addr:
            assert words["from"] == account.from_addr
        assert words["user"] == (account.user or "(not set)")
        if account.secret and account.secret[0] == "password_command":
            assert words["passwordeval"] == account.secret[1]
        trust = words["tls_trust_file"]
        assert trust in (account.ca_file, "system" if account.ca_file is None else None)


def _decoded(stored):
    from email import message_from_bytes

    return message_from_bytes(stored).get_payload(decode=True).decode()
