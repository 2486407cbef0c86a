"""The configuration file: where it is looked for, what it says, and how errors read."""

from __future__ import annotations

import os

import pytest

from requiretls_client.cli import config as configuration
from requiretls_client.cli import password
from requiretls_client.cli.config import Account, Config, ConfigError, LookupSettings, load

SECRET = "canary-password"
WHOLE = """
default_account = "work"
default_recipient = "admin@example.org"
domain = "host.example.org"

[aliases]
root = ["admin@example.org", "Second <second@example.org>"]
Postmaster = "root"

[accounts.work]
host = "smtp.example.org"
port = 465
from = "alerts@example.org"
require_tls = true
user = "alerts"
password_command = ["pass", "show", "smtp"]
ca_file = "/etc/ssl/our.pem"
server_hostname = "smtp.example.net"
timeout = 20

[accounts.bare]
host = "192.0.2.1"

[spool]
folder = "/var/spool/x"
deadline = 2.5

[lookups]
nameservers = ["127.0.0.1", "::1"]
nameserver_port = 5353
trust_ad = true
ca_file = "/etc/ssl/our.pem"
allow_private = true
port = 2525
"""


@pytest.fixture
def write(tmp_path):
    """Return what writes a configuration, readable by its owner only, and returns its path."""

    def put(text, mode=0o600, name="config.toml"):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    return put


def test_everything(write):
    """Every key arrives where it belongs."""
    path = write(WHOLE)
    assert load(path) == Config(
        path=path,
        accounts={
            "work": Account(
                "work", "smtp.example.org", 465, True, "alerts@example.org", True, "alerts",
                ("password_command", ("pass", "show", "smtp")), "/etc/ssl/our.pem",
                "smtp.example.net", 20.0,
            ),
            "bare": Account("bare", "192.0.2.1"),
        },
        default_account="work",
        aliases={"root": ("admin@example.org", "second@example.org"), "postmaster": ("root",)},
        default_recipient="admin@example.org",
        domain="host.example.org",
        spool_folder="/var/spool/x",
        spool_deadline=2.5,
        lookups=LookupSettings(("127.0.0.1", "::1"), 5353, True, "/etc/ssl/our.pem", True, 2525),
    )  # fmt: skip


def test_require_tls_for_all(write):
    """require_tls at the top holds for every account that does not say otherwise."""
    config = load(
        write(
            'require_tls = true\ndefault_account = ""\n[accounts.a]\nhost = "a"\n'
            '[accounts.b]\nhost = "b"\nrequire_tls = false\n'
        )
    )
    assert config.require_tls
    assert [config.accounts[name].require_tls for name in "ab"] == [True, False]


@pytest.mark.parametrize(
    ("line", "names", "want"),
    [("", "a", "a"), ('default_account = ""', "a", ""), ('default_account = "b"', "ab", "b")],
)
def test_default_account(write, line, names, want):
    """Where there is one account it is the default, unless the file says that there is none."""
    tables = "".join(f'[accounts.{name}]\nhost = "h"\n' for name in names)
    assert load(write(f"{line}\n{tables}")).default_account == want


def test_implicit_tls(write):
    """TLS at once goes with port 465, and with another one where the file says so."""
    text = 'default_account = ""\n'
    for name, lines in (("a", ""), ("b", "port = 465"), ("c", "port = 465\nimplicit_tls = false"),
                        ("d", "port = 4650\nimplicit_tls = true")):  # fmt: skip
        text += f'[accounts.{name}]\nhost = "h"\n{lines}\n'
    accounts = load(write(text)).accounts
    assert [accounts[name].implicit_tls for name in "abcd"] == [False, True, False, True]


def test_search(tmp_path, monkeypatch, write):
    """The user's file comes before the system's; without any there is no account."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(configuration, "SYSTEM", tmp_path / "system.toml")
    assert load() == Config()
    write('domain = "system.example"', name="system.toml")
    assert load().domain == "system.example"
    own = tmp_path / "home/requiretls-client/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text('domain = "own.example"')
    assert load().domain == "own.example"
    assert configuration.user_file() == own
    own.unlink()
    own.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"own|home"):  # there, and broken: no silent fallback
        load()
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # the XDG specification has it ignored
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    assert configuration.user_file() == tmp_path / "other/.config/requiretls-client/config.toml"


ACCOUNT = '[accounts.a]\nhost = "smtp.example.org"\n'
WRONG = [
    ("not toml", "x = ", "is not TOML"),
    ("nested", "x = " + "[" * 5000, "is not TOML"),
    ("latin-1", "x = '\udce4'", "is not TOML"),
    ("unknown", "verbose = true", "verbose: there is no such key; known: require_tls"),
    ("near", 'defualt_account = "x"', "did you mean default_account?"),
    ("near in account", ACCOUNT + "require-tls = true", "accounts.a.require-tls: there is no"),
    ("near in account 2", ACCOUNT + "require-tls = true", "did you mean require_tls?"),
    ("in spool", "[spool]\nretry = 1", "spool.retry: there is no such key"),
    ("in lookups", "[lookups]\nnameserver = 1", "did you mean nameservers?"),
    ("no table", "accounts = 1", "accounts: must be a table"),
    ("account no table", "[accounts]\na = 1", "accounts.a: must be a table"),
    ("no host", '[accounts.a]\nport = 587', "accounts.a.host: is missing"),
    ("bad host", '[accounts.a]\nhost = "a b"', "accounts.a.host: it is neither a host name"),
    ("port", ACCOUNT + "port = 0", "accounts.a.port: port must be from 1"),
    ("port text", ACCOUNT + 'port = "587"', "accounts.a.port: must be a number"),
    ("port truth", ACCOUNT + "port = true", "accounts.a.port: must be a number"),
    ("flag", ACCOUNT + "require_tls = 1", "accounts.a.require_tls: must be true or false"),
    ("flag text", ACCOUNT + 'require_tls = "yes"', "require_tls: must be true or false"),
    ("from", ACCOUNT + 'from = "root"', "accounts.a.from: it has no domain"),
    ("from two", ACCOUNT + 'from = "a@b.c, d@e.f"', "accounts.a.from: it is not one mailbox"),
    ("timeout", ACCOUNT + "timeout = -1", "accounts.a.timeout: must be a number above 0"),
    ("timeout nan", ACCOUNT + "timeout = nan", "accounts.a.timeout: must be a number above 0"),
    ("no default", 'default_account = "b"', "default_account: there is no table [accounts.b]"),
    ("two accounts", ACCOUNT + '[accounts.b]\nhost = "h"', "default_account: is missing"),
    ("user alone", ACCOUNT + 'user = "u"', "accounts.a.user: needs a password_command beside it"),
    ("secret alone", ACCOUNT + 'password_env = "X"', "password_env: needs a user beside it"),
    ("two secrets", ACCOUNT + 'user = "u"\npassword_env = "X"\nkeyring = true', "password_env too"),
    ("keyring off", ACCOUNT + 'user = "u"\nkeyring = false', "keyring: must be true, or left"),
    ("credential", ACCOUNT + 'user = "u"\ncredential = "../x"', "credential: is the name of"),
    ("command", ACCOUNT + 'user = "u"\npassword_command = [1]', "password_command: must be a str"),
    ("command empty", ACCOUNT + 'user = "u"\npassword_command = []', "password_command: must be a"),
    ("alias loop", '[aliases]\na = "b"\nb = "a"', "aliases.a: leads back to itself"),
    ("alias nobody", '[aliases]\na = "b"', "aliases.a: b is neither an address nor an alias"),
    ("alias empty", "[aliases]\na = []", "aliases.a: names nobody"),
    ("recipient", 'default_recipient = "root"', "default_recipient: it has no domain"),
    ("domain", 'domain = "192.0.2.1"', "domain: it is an address without brackets"),
    ("deadline huge", "[spool]\ndeadline = 1" + "0" * 400, "spool.deadline: int too large"),
    ("deadline", "[spool]\ndeadline = 0", "spool.deadline: must be a number above 0"),
    ("nameserver", '[lookups]\nnameservers = ["ns.example"]', "does not appear to be an IPv4"),
    ("relative", ACCOUNT + 'ca_file = "ca.pem"', "accounts.a.ca_file: must be an absolute path"),
    ("relative spool", '[spool]\nfolder = "spool"', "spool.folder: must be an absolute path"),
    ("no nameserver", "[lookups]\nnameservers = []", "lookups.nameservers: is empty"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_wrong(tmp_path, text, said):
    """What is wrong is one sentence with file and key."""
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_file_that_is_not_there(tmp_path):
    """A file that the command line names must exist."""
    with pytest.raises(ConfigError, match=r"nowhere.toml: cannot be read: No such file"):
        load(str(tmp_path / "nowhere.toml"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o777])
def test_readable_password(write, mode):
    """A file with a password that others may read or change is refused, and not quoted."""
    text = ACCOUNT + f'user = "u"\npassword = "{SECRET}"'
    assert load(write(text)).accounts["a"].secret == ("password", SECRET)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        load(write(text, mode))
    assert SECRET not in str(caught.value)
    assert load(write(ACCOUNT, mode)).accounts["a"].secret is None


def test_password_is_not_shown(write):
    """No repr() of the configuration holds it, nor an error about its value."""
    config = load(write(ACCOUNT + f'user = "u"\npassword = "{SECRET}"'))
    assert SECRET not in repr(config)
    with pytest.raises(ConfigError) as caught:
        load(write(ACCOUNT + f'user = "u"\npassword = "{SECRET}\\u0007"'))
    assert SECRET not in str(caught.value)


def test_unknown_account(write):
    """An account that is not there is an error that names those that are."""
    config = load(write(ACCOUNT))
    with pytest.raises(ConfigError, match=r"there is no account 'b'; there are: a"):
        config.account("b")
    with pytest.raises(ConfigError, match=r"no configuration file was found"):
        Config().account("b")


# -- passwords -------------------------------------------------------------------------------------


def account(key, value):
    """Return an account with one source of its password."""
    return Account("a", "smtp.example.org", user="u", secret=(key, value))


@pytest.mark.parametrize(
    "value",
    [
        ("printf", "%s", SECRET),
        f"echo {SECRET}; echo more",
        f"printf '{SECRET}\\r\\n'",
        f"echo noise >&2; echo {SECRET}",
    ],
    ids=["list", "shell", "crlf", "stderr"],
)
def test_password_command(value, capfd):
    """The first line that the command prints is the password; its errors are passed on."""
    assert password.read(account("password_command", value)) == SECRET
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == ("noise\n" if ">&2" in value else "")


def test_password_from_elsewhere(tmp_path, monkeypatch):
    """The environment and systemd's credentials are read when the password is needed."""
    monkeypatch.setenv("OURS", SECRET)
    assert password.read(account("password_env", "OURS")) == SECRET
    (tmp_path / "smtp").write_text(f"{SECRET}\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert password.read(account("credential", "smtp")) == SECRET


def test_password_from_keyring(monkeypatch):
    """The keyring is asked for the user at the host."""
    keyring = pytest.importorskip("keyring")
    asked = []
    monkeypatch.setattr(keyring, "get_password", lambda *names: asked.append(names) or SECRET)
    assert password.read(account("keyring", True)) == SECRET
    assert asked == [("smtp.example.org", "u")]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("password_command", ("false",), "it ended with status 1"),
        ("password_command", ("/nonexistent",), "No such file"),
        ("password_command", ("true",), "an empty password"),
        ("password_command", ("printf", r"\377"), "it is not UTF-8"),
        ("password_env", "NOT_THERE", "there is no variable NOT_THERE"),
        ("credential", "smtp", "CREDENTIALS_DIRECTORY is not set"),
        ("keyring", True, "keyring"),
    ],
)
def test_no_password(monkeypatch, key, value, said):
    """Where there is none, a sentence says which account and key, and why."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)
    with pytest.raises(password.PasswordUnavailable) as caught:
        password.read(account(key, value))
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"no password for account a from its {key}: ")


def test_password_command_that_hangs(monkeypatch):
    """It gets a time limit: a cron job must not wait for somebody to type."""
    monkeypatch.setattr(password, "COMMAND_SECONDS", 0.05)
    with pytest.raises(password.PasswordUnavailable, match=r"did not end within 0\.05 s"):
        password.read(account("password_command", ("sleep", "60")))


def test_credential_that_is_missing(tmp_path, monkeypatch):
    """A file that is not there is said without its contents."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", os.fspath(tmp_path))
    with pytest.raises(password.PasswordUnavailable, match="No such file"):
        password.read(account("credential", "smtp"))
