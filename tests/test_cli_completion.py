"""``requiretls completion``: the shells themselves complete what the parsers know."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys

import pytest
from real import places

from requiretls_client import cli
from requiretls_client.cli import completion


class Shell:
    """A shell that is installed, or one that tests/run has unpacked; works in a folder.

    Attributes:
        name: ``bash``, ``zsh`` or ``fish``.
        folder: the one that it works in, so that all paths can be relative to it.
    """

    def __init__(self, name, folder, root=None):
        """Take them; ``root`` is the folder that it runs in with chroot(8)."""
        self.name, self.folder = name, folder
        self._start = [name] if root is None else ["chroot", root, "env", "-C", "/mnt", name]

    def run(self, *arguments):
        """Run it with arguments; what came of it."""
        return subprocess.run(
            [*self._start, *arguments], cwd=self.folder, capture_output=True, text=True,
            check=False, timeout=60, env={**os.environ, "HOME": "."},
        )  # fmt: skip


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def shell(request, tmp_path_factory):
    """Return a shell, in an empty folder."""
    name = request.param
    if shutil.which(name):
        return Shell(name, tmp_path_factory.mktemp(name))
    path, reason = places.lookup("shells")
    if path is None:
        if os.environ.get("REQUIRETLS_REAL_REQUIRED") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(f"{name} is not installed; {reason}")
    return Shell(name, path / "root/mnt", path / "root")


@pytest.fixture(scope="module")
def script(shell):
    """Return the name of the file, in the shell's folder, with its script."""
    command = [sys.executable, "-m", "requiretls_client", "completion", shell.name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (shell.folder / f"requiretls.{shell.name}").write_text(done.stdout)
    return f"./requiretls.{shell.name}"


BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_requiretls
printf '%s\\n' "${COMPREPLY[@]}"
"""
# zsh completes only at a prompt, so it gets one on a terminal, and its screen is read.
ZSH = r"""
zmodload zsh/zpty
zpty z "TERM=dumb zsh -f -i"
zpty -w z 'stty cols 200; autoload -Uz compinit; compinit -u -D; source '"$1"'; PS1="AT""YOURSERVICE "'
zpty -r z screen '*ATYOURSERVICE *'
zpty -w -n z "$2"$'\t'
zpty -w -n z $'\x15'"print THE\"\"END"$'\n'
zpty -r z screen '*THEEND*'
print -r -- "$screen"
"""  # noqa: E501


def complete(shell, script, *words):
    """Return what the shell offers for the last of the words."""
    if shell.name == "bash":
        done = shell.run("-c", BASH, "bash", script, *words)
    elif shell.name == "fish":
        line = f"source {script}; complete -C '{' '.join(words)}'"
        done = shell.run("--no-config", "-c", line)
    else:
        done = shell.run("-f", "-c", ZSH, "zsh", script, " ".join(words))
    assert done.returncode == 0, done
    if shell.name == "zsh":
        return set(re.findall(r"[\w-]+", done.stdout.replace("\a", " ")))
    return {line.split("\t")[0] for line in done.stdout.splitlines() if line}


def test_it_is_valid(shell, script):
    """Each shell reads its script without a complaint."""
    done = shell.run("-n", script)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "offered", "not_offered"),
    [
        (["c"], {"check", "cache", "completion"}, {"demo"}),
        (["check", "--tr"], {"--trust-ad"}, {"--timeout"}),
        (["check", "--color", "a"], {"auto", "always"}, {"never"}),
        (["cache", ""], {"list", "refresh", "drop"}, {"check"}),
        (["cache", "drop", "--a"], {"--all"}, {"--json"}),
        (["completion", "f"], {"fish"}, {"zsh"}),
    ],
)
def test_what_is_offered(shell, script, words, offered, not_offered):
    """Commands, options, choices, and what is below a command; and nothing else."""
    found = complete(shell, script, "requiretls", *words)
    assert offered <= found
    assert not not_offered & found


def test_file_names(shell, script):
    """An option that takes a file completes file names, with blanks in them too."""
    (shell.folder / "my run.json").touch()
    found = complete(shell, script, "requiretls", "check", "--load", "my")
    if shell.name == "zsh":  # which writes the only match at once
        assert {"my", "run"} <= found
    else:
        assert {each.replace("\\", "") for each in found} == {"my run.json"}


def test_nothing_is_forgotten():
    """Every option of every parser is in every script, whoever adds it."""
    found = {each.path for each in completion.command_tree().all()}
    assert {(name,) for name in cli._COMMANDS} <= found
    for shell, make in completion._SHELLS.items():
        text = make(completion.command_tree())
        for command in completion.command_tree().all():
            for option in command.options:
                for name in option.names:
                    assert (name.lstrip("-") if shell == "fish" else name) in text


def test_awkward_help(shell):
    """Quotes, brackets, colons and percent signs of a help text break no script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--its", metavar="A:B", help="don't [say]: 50%% \\ `x` $(x)")
    option = completion._command(("x",), "it's: so", parser).options[-1]
    assert option.text == "don't [say]: 50% \\ `x` $(x)"
    top = completion.Command((), "", (), (completion.Command(("x",), "it's", (option,), ()),))
    (shell.folder / "awkward").write_text(completion._SHELLS[shell.name](top))
    done = shell.run("-n", "./awkward")
    assert (done.returncode, done.stderr) == (0, "")
