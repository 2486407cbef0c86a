"""``requiretls completion``: what a shell needs to complete ``requiretls``.

Generated from the parsers themselves, so that no option is ever forgotten. argparse has no public
way to ask a parser what it knows; the few private names used here have been the same since it
exists, and a test runs the shells.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from dataclasses import dataclass

STATUS = """to switch it on:
  bash  source <(requiretls completion bash)       in ~/.bashrc
  zsh   source <(requiretls completion zsh)        in ~/.zshrc, after compinit
  fish  requiretls completion fish | source        in ~/.config/fish/config.fish
"""
_FILES = frozenset({"FILE", "PATH", "DIR", "FOLDER"})  # a metavar that says: complete file names


@dataclass(frozen=True, slots=True)
class Option:
    """One option, or a positional argument with a choice of words (``names`` is empty then).

    Attributes:
        names: such as ``-q`` and ``--quiet``.
        text: its help, one line.
        takes: the metavar of its value; "" for none.
        choices: what the value may be; empty for anything.
    """

    names: tuple[str, ...]
    text: str
    takes: str
    choices: tuple[str, ...]

    @property
    def is_file(self) -> bool:
        """Whether its value is a file name."""
        return self.takes in _FILES


@dataclass(frozen=True, slots=True)
class Command:
    """One command: ``requiretls`` itself (its path is empty), or one below it.

    Attributes:
        path: names from the top, such as ``("cache", "list")``.
        text: its help, one line.
        options: in the order of its help.
        below: the commands below it.
    """

    path: tuple[str, ...]
    text: str
    options: tuple[Option, ...]
    below: tuple[Command, ...]

    def all(self) -> Iterator[Command]:
        """Yield it and everything below it."""
        yield self
        for each in self.below:
            yield from each.all()

    @property
    def words(self) -> list[str]:
        """What may stand behind it."""
        flags = [name for option in self.options for name in option.names]
        choices = [word for option in self.options if not option.names for word in option.choices]
        return [*(each.path[-1] for each in self.below), *choices, *flags]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=sorted(_SHELLS), help="which shell")


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    print(_SHELLS[options.shell](command_tree()), end="")
    return 0


def command_tree() -> Command:
    """Return all commands with their options, as their parsers have them."""
    from requiretls_client.cli import _COMMANDS

    below = []
    for name, text in _COMMANDS.items():
        parser = argparse.ArgumentParser(prog=name)
        importlib.import_module(f"requiretls_client.cli.{name}").add_arguments(parser)
        below.append(_command((name,), text, parser))
    top = _command((), "", argparse.ArgumentParser())
    return Command((), "", top.options, tuple(below))


def _command(path: tuple[str, ...], text: str, parser: argparse.ArgumentParser) -> Command:
    options, below = [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            below += [
                _command((*path, name), helps.get(name, ""), each)
                for name, each in action.choices.items()
            ]
        elif (action.option_strings or action.choices) and action.help != argparse.SUPPRESS:
            options.append(_option(action))
    return Command(path, text, tuple(options), tuple(below))


def _option(action: argparse.Action) -> Option:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return Option(
        tuple(action.option_strings),
        " ".join((action.help or "").split()).replace("%%", "%"),
        "" if action.nargs == 0 else metavar,
        tuple(map(str, action.choices or ())),
    )


# -- bash ----------------------------------------------------------------------------------------

_BASH = """# bash completion for requiretls: source <(requiretls completion bash)
_requiretls() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} path= words= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case $path/${{COMP_WORDS[i]}} in
            {paths}) path=$path/${{COMP_WORDS[i]}} ;;
        esac
    done
    case "$path $prev" in
{values}    esac
    case $path in
{words}    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}}
complete -F _requiretls requiretls
"""


def bash(top: Command) -> str:
    """Return the script for bash."""
    commands = list(top.all())
    paths = "|".join(_path(each) for each in commands if each.path)
    values = "".join(
        f"        {'|'.join(_bash_word(f'{_path(each)} {name}') for name in option.names)})\n"
        f"            {_bash_values(option)}\n            return ;;\n"
        for each in commands
        for option in each.options
        if option.takes and option.names
    )
    words = "".join(
        f"        {_bash_word(_path(each))}) words={_bash_word(' '.join(each.words))} ;;\n"
        for each in commands
    )
    return _BASH.format(paths=paths, values=values, words=words)


def _bash_values(option: Option) -> str:
    if option.is_file:
        complete = "compopt -o filenames 2> /dev/null; "
        return complete + 'mapfile -t COMPREPLY < <(compgen -f -- "$cur")'
    words = _bash_word(" ".join(option.choices))
    return f'mapfile -t COMPREPLY < <(compgen -W {words} -- "$cur")'


def _path(command: Command) -> str:
    return "".join(f"/{name}" for name in command.path)


def _bash_word(text: str) -> str:
    """Return a word in quotes, for bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


# -- zsh -----------------------------------------------------------------------------------------


def zsh(top: Command) -> str:
    """Return the script for zsh."""
    functions = "".join(_zsh_function(each) for each in top.all())
    return (
        "#compdef requiretls\n# zsh completion: source <(requiretls completion zsh)\n"
        f"{functions}compdef _requiretls requiretls\n"
    )


def _zsh_function(command: Command) -> str:
    specs = [spec for option in command.options for spec in _zsh_specs(option)]
    name = "_".join(("_requiretls", *command.path))
    if not command.below:
        return (
            f"{name}() {{\n    _arguments {' '.join([*specs, _bash_word('*:: :_default')])}\n}}\n"
        )
    described = " ".join(_bash_word(f"{each.path[-1]}:{each.text}") for each in command.below)
    cases = "".join(
        f"        {each.path[-1]}) {'_'.join(('_requiretls', *each.path))} ;;\n"
        for each in command.below
    )
    return (
        f"{name}() {{\n    local context state state_descr line\n    typeset -A opt_args\n"
        f"    _arguments -C {' '.join(specs)} '1: :->command' '*:: :->rest'\n"
        f"    case $state in\n    command) local -a commands=({described})\n"
        f"        _describe command commands ;;\n"
        f"    rest) case $words[1] in\n{cases}        esac ;;\n    esac\n}}\n"
    )


def _zsh_specs(option: Option) -> Iterator[str]:
    value = ""
    if option.takes:
        how = "_files" if option.is_file else f"({' '.join(option.choices)})"
        value = f":{option.takes.replace(':', ' ')}:{how}"
    text = option.text.replace("[", "(").replace("]", ")").replace(":", "\\:")
    if not option.names:
        yield _bash_word(f"1{value}")
    for name in option.names:
        yield _bash_word(f"*{name}[{text}]{value}")


# -- fish ----------------------------------------------------------------------------------------


def fish(top: Command) -> str:
    """Return the script for fish."""
    lines = ["# fish completion for requiretls: requiretls completion fish | source"]
    for command in top.all():
        here = _fish_where(command)
        lines += [
            f"complete -c requiretls -n {here} -f -a {each.path[-1]} -d {_fish_word(each.text)}"
            for each in command.below
        ]
        lines += [
            f"complete -c requiretls -n {here} {_fish_option(each)}" for each in command.options
        ]
    return "\n".join(lines) + "\n"


def _fish_where(command: Command) -> str:
    """Return the condition that the words so far lead to this command."""
    seen = [f"__fish_seen_subcommand_from {name}" for name in command.path]
    if command.below:
        others = " ".join(each.path[-1] for each in command.below)
        seen.append(f"not __fish_seen_subcommand_from {others}")
    return _fish_word("; and ".join(seen))


def _fish_option(option: Option) -> str:
    parts = [
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    ]
    if option.choices:
        parts.append(f"-x -a {_fish_word(' '.join(option.choices))}")
    elif option.takes:
        parts.append("-r -F" if option.is_file else "-x")
    return " ".join([*parts, f"-d {_fish_word(option.text)}"])


def _fish_word(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SHELLS = {"bash": bash, "fish": fish, "zsh": zsh}
