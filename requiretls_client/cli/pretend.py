"""What ``requiretls send --pretend`` shows: everything that was decided, and no secret.

Pure: nothing is connected to, and no password is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from requiretls_client import syntax
from requiretls_client.cli import fields
from requiretls_client.cli.config import Config
from requiretls_client.cli.job import Job


def text(job: Job, config: Config, folder: Path | None) -> str:
    """Return the text.

    Args:
        job: as it would be sent.
        config: what it was made with.
        folder: of the spool, or None without one.
    """
    lines = [f"{name + ':':<15}{value}" for name, value in _settings(job, config, folder)]
    given, body = fields.split(job.message)
    lines += [
        "",
        *(
            line
            for each in given
            for line in each.raw.decode("utf-8", "replace").split("\r\n")[:-1]
        ),
    ]
    lines += ["", f"({len(body)} octets of text)"]
    return "".join(f"{syntax.printable(line, 1000)}\n" for line in lines)


def _settings(job: Job, config: Config, folder: Path | None) -> Iterator[tuple[str, str]]:
    yield "configuration", config.path or "none"
    if job.account:
        account = config.account(job.account)
        how = "TLS at once" if account.implicit_tls else "STARTTLS"
        yield "account", f"{account.name} ({account.host}:{account.port}, {how})"
        if account.server_hostname:
            yield "name verified", account.server_hostname
        if account.secret:
            yield "user", account.user or ""
            yield "password", f"******** (from {account.secret[0]})"
        yield "trust", account.ca_file or "certifi"
    else:
        yield "account", f"none: straight to the mail hosts, port {config.lookups.port}"
        yield "trust", config.lookups.ca_file or "certifi"
    yield "asks for", _wish(job)
    yield "spool", str(folder) if folder else "none: one attempt"
    yield "from", f"<{job.sender}>"
    for each in job.recipients:
        yield "to", f"<{each}>"
    parameters = {"NOTIFY": job.notify, "RET": job.ret, "ENVID": job.envelope_id}
    for name, value in parameters.items():
        if value:
            yield name, value


def _wish(job: Job) -> str:
    if job.require_tls:
        return "REQUIRETLS (RFC 8689), or not at all"
    return "TLS-Required: No" if job.tls_optional else "nothing: ordinary mail"
