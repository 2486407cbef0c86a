"""The password of an account: from a command, the environment, systemd, a keyring or the file.

Read when it is needed and kept nowhere. Errors name the account and the key, never what was read.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

from requiretls_client.cli.config import Account

COMMAND_SECONDS = 60.0  # a person may have to unlock something


class PasswordUnavailable(Exception):
    """The password cannot be had now; the sentence says why."""


def read(account: Account) -> str:
    """Return the password of an account that has a user.

    Raises:
        PasswordUnavailable: nothing came of it.
    """
    key, value = account.secret or ("password", "")
    try:
        secret: str = _READERS[key](account, value)
    except OSError as error:
        raise _unavailable(account, key, error.strerror or type(error).__name__) from None
    if not secret:
        raise _unavailable(account, key, "it gives an empty password")
    return secret


def _unavailable(account: Account, key: str, why: str) -> PasswordUnavailable:
    return PasswordUnavailable(f"no password for account {account.name} from its {key}: {why}")


def _literal(account: Account, value: str) -> str:
    return value


def _command(account: Account, value: str | tuple[str, ...]) -> str:
    """Run a command; the first line that it prints is the password, its errors are shown."""
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command
            value,
            shell=isinstance(value, str),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"it did not end within {COMMAND_SECONDS:g} s"
        raise _unavailable(account, "password_command", why) from None
    if done.returncode != 0:
        why = f"it ended with status {done.returncode}"
        raise _unavailable(account, "password_command", why)
    return _first_line(account, "password_command", done.stdout)


def _environment(account: Account, name: str) -> str:
    if name not in os.environ:
        raise _unavailable(account, "password_env", f"there is no variable {name}")
    return os.environ[name]


def _credential(account: Account, name: str) -> str:
    """Read what systemd put there for ``LoadCredential=`` (systemd.exec(5))."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        why = "CREDENTIALS_DIRECTORY is not set: no systemd unit with LoadCredential= runs us"
        raise _unavailable(account, "credential", why)
    with open(os.path.join(folder, name), "rb") as file:
        return _first_line(account, "credential", file.read())


def _keyring(account: Account, value: bool) -> str:
    """Ask the desktop's keyring for the password of the user at the host."""
    try:
        import keyring
    except ImportError:
        why = "it is not installed: pip install 'requiretls-client[keyring]'"
        raise _unavailable(account, "keyring", why) from None
    try:
        found = keyring.get_password(account.host, account.user or "")
    except Exception as error:  # back ends raise what they like
        raise _unavailable(account, "keyring", type(error).__name__) from None
    if found is None:
        why = f"it has none; put it there with: keyring set {account.host} {account.user}"
        raise _unavailable(account, "keyring", why)
    return str(found)


def _first_line(account: Account, key: str, output: bytes) -> str:
    try:
        return output.decode().partition("\n")[0].removesuffix("\r")
    except UnicodeDecodeError:
        raise _unavailable(account, key, "it is not UTF-8") from None


_READERS: dict[str, Any] = {
    "password": _literal,
    "password_command": _command,
    "password_env": _environment,
    "credential": _credential,
    "keyring": _keyring,
}
