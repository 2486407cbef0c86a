"""``requiretls completion``: the shells themselves complete what the parsers know."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys

import pytest

from requiretls_client import cli
from requiretls_client.cli import completion


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def script(request, tmp_path_factory):
    """Return a shell that is installed, and the file with its script."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    command = [sys.executable, "-m", "requiretls_client", "completion", request.param]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    path = tmp_path_factory.mktemp("completion") / f"requiretls.{request.param}"
    path.write_text(done.stdout)
    return request.param, path


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


def complete(shell, path, *words):
    """Return what the shell offers for the last word."""
    if shell == "bash":
        command = ["bash", "-c", BASH, "bash", path, *words]
    elif shell == "fish":
        command = ["fish", "--no-config", "-c", f"source {path}; complete -C '{' '.join(words)}'"]
    else:
        command = ["zsh", "-f", "-c", ZSH, "zsh", path, " ".join(words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    if shell == "zsh":
        return set(re.findall(r"[\w-]+", done.stdout.replace("\a", " ")))
    return {line.split("\t")[0] for line in done.stdout.splitlines() if line}


def test_it_is_valid(script):
    """Each shell reads its script without a complaint."""
    shell, path = script
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True, check=False)
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
def test_what_is_offered(script, words, offered, not_offered):
    """Commands, options, choices, and what is below a command; and nothing else."""
    shell, path = script
    found = complete(shell, path, "requiretls", *words)
    assert offered <= found
    assert not not_offered & found


def test_file_names(script, tmp_path, monkeypatch):
    """An option that takes a file completes file names, with blanks in them too."""
    shell, path = script
    (tmp_path / "my run.json").touch()
    monkeypatch.chdir(tmp_path)
    found = complete(shell, path, "requiretls", "check", "--load", "my")
    if shell == "zsh":  # which writes the only match at once
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


def test_awkward_help(tmp_path):
    """Quotes, brackets, colons and percent signs of a help text break no script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--its", metavar="A:B", help="don't [say]: 50%% \\ `x` $(x)")
    option = completion._command(("x",), "it's: so", parser).options[-1]
    assert option.text == "don't [say]: 50% \\ `x` $(x)"
    top = completion.Command((), "", (), (completion.Command(("x",), "it's", (option,), ()),))
    for shell, make in completion._SHELLS.items():
        if shutil.which(shell):
            script = tmp_path / shell
            script.write_text(make(top))
            done = subprocess.run(
                [shell, "-n", script], capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, ""), shell
