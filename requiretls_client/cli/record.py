"""What a file of the spool says, as bytes: a head, the message, and notes one below the other.

Pure. Head and notes are lines of JSON behind a digest of themselves. The head is written once; it
holds the envelope, what the message asked for, and a digest of the message. A note is appended for
everything that happens. It may break off anywhere when the machine does: a last line that is no
note was never finished, and what stands before it holds. Anything else that does not fit its
digest is damage, and nobody may act on it: least of all on a damaged ``require_tls``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from requiretls_client.cli.job import Job
from requiretls_client.reports import Attempt, RecipientResult
from requiretls_client.verdict import Finding, Verdict

FORMAT = 1
_DIGEST = 32  # hexadecimal digits: against accidents, not against whoever may write the file
# A note, wherever it begins: the line feed before it may be what is damaged.
_SEALED = re.compile(rb"(?=([0-9a-f]{32} [^\n]*)\n)")

Event = dict[str, Any]


class DamagedError(ValueError):
    """A file of the spool does not say what it said once, or never was one."""


@dataclass(frozen=True, slots=True)
class Head:
    """What never changes about a message in the spool, without the message.

    Attributes:
        created: when it was accepted, seconds since the epoch.
        sender, recipients, require_tls, tls_optional, account, notify, ret, envelope_id: as in
            :class:`~requiretls_client.cli.job.Job`.
        report: its sender gets a report about a final failure.
        size: of the message in bytes.
        sha256: of the message.
    """

    created: float
    sender: str
    recipients: tuple[str, ...]
    require_tls: bool
    tls_optional: bool
    account: str
    notify: str
    ret: str
    envelope_id: str
    report: bool
    size: int
    sha256: str

    def job(self, message: bytes) -> Job:
        """Return the job, with the message that belongs to it.

        Raises:
            DamagedError: it is another message.
        """
        if len(message) != self.size or hashlib.sha256(message).hexdigest() != self.sha256:
            raise DamagedError("the message is damaged")
        return Job(
            message=message,
            sender=self.sender,
            recipients=self.recipients,
            require_tls=self.require_tls,
            tls_optional=self.tls_optional,
            account=self.account,
            notify=self.notify,
            ret=self.ret,
            envelope_id=self.envelope_id,
        )


# -- lines ---------------------------------------------------------------------------------------


def seal(data: Event) -> bytes:
    """Return a line of JSON behind its digest; it has one line feed, at its end."""
    body = json.dumps(data, separators=(",", ":")).encode("ascii")
    return _digest(body) + b" " + body + b"\n"


def unseal(line: bytes) -> Event | None:
    """Return what a line without its line feed says; None if it is not as it was written."""
    digest, _, body = line.partition(b" ")
    if digest != _digest(body):
        return None
    data = json.loads(body)
    return data if isinstance(data, dict) else None


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_DIGEST].encode("ascii")


def write_head(job: Job, created: float, *, report: bool) -> bytes:
    """Return the first line of a file; the message follows."""
    return seal(
        {
            "spool": FORMAT,
            "created": created,
            "sender": job.sender,
            "recipients": list(job.recipients),
            "require_tls": job.require_tls,
            "tls_optional": job.tls_optional,
            "account": job.account,
            "notify": job.notify,
            "ret": job.ret,
            "envelope_id": job.envelope_id,
            "report": report,
            "size": len(job.message),
            "sha256": hashlib.sha256(job.message).hexdigest(),
        }
    )


_KINDS: dict[str, tuple[type, ...]] = {
    "created": (int, float), "require_tls": (bool,), "tls_optional": (bool,), "report": (bool,),
    "size": (int,), "recipients": (list,),
    **dict.fromkeys(("sender", "account", "notify", "ret", "envelope_id", "sha256"), (str,)),
}  # fmt: skip


def read_head(line: bytes) -> Head:
    """Return what the first line says.

    Raises:
        DamagedError: it is damaged, or of a later version of this package.
    """
    data = unseal(line.removesuffix(b"\n"))
    if data is None:
        raise DamagedError("its first line is damaged")
    if data.get("spool") != FORMAT:
        raise DamagedError(f"it has format {data.get('spool')!r}, which this version cannot read")
    for name, kind in _KINDS.items():
        if not isinstance(data.get(name), kind):
            raise DamagedError(f"its first line has no proper {name}")
    recipients = data["recipients"]
    if not recipients or not all(isinstance(each, str) for each in recipients):
        raise DamagedError("its first line has no proper recipients")
    if data["require_tls"] and data["tls_optional"]:
        raise DamagedError("its first line asks for REQUIRETLS and for TLS-Required: No")
    fields = {name: data[name] for name in _KINDS}
    return Head(**{**fields, "recipients": tuple(recipients)})


def read_notes(data: bytes) -> tuple[list[Event], int]:
    """Return the notes behind the message, and how many bytes of ``data`` they are.

    Raises:
        DamagedError: a note stands behind something that is none. What was being written when the
            machine stopped is always the last.
    """
    events, end = [], 0
    while (stop := data.find(b"\n", end)) >= 0:
        event = unseal(data[end:stop])
        if event is None:
            break
        events.append(event)
        end = stop + 1
    for found in _SEALED.finditer(data, end):
        if unseal(found[1]) is not None:
            raise DamagedError("one of its notes is damaged")
    return events, end


# -- results -------------------------------------------------------------------------------------


def write_results(results: Iterable[RecipientResult]) -> list[Event]:
    """Return results as data; what many recipients have in common stands there once."""
    groups: dict[str, Event] = {}
    for result in results:
        data = result.as_dict()
        del data["address"]
        group = groups.setdefault(json.dumps(data), {"to": [], **data})
        group["to"].append(result.address)
    return list(groups.values())


def write_briefly(results: Iterable[RecipientResult]) -> list[Event]:
    """Return what matters of results as data, for a disk that has no room for their reasons."""
    return [{"to": [each.address], "state": each.state} for each in results]


def read_results(data: Iterable[Event]) -> list[RecipientResult]:
    """Return the results; without their details where these are not as this version has them."""
    return [_result(address, group) for group in data for address in group["to"]]


def _result(address: str, data: Event) -> RecipientResult:
    try:
        return RecipientResult(
            address=address,
            **{
                **_known(RecipientResult, data),
                "attempts": tuple(_attempt(each) for each in data["attempts"]),
                "findings": tuple(Finding(**_known(Finding, each)) for each in data["findings"]),
            },
        )
    except (KeyError, TypeError):
        return bare_result(address, str(data.get("state")), data.get("text") or _NO_ROOM)


_NO_ROOM = "the reason is not known any more: there was no room to note it"


def bare_result(address: str, state: str, text: str) -> RecipientResult:
    """Return a result of which nothing else is known."""
    code, status = {"refused": (550, "5.0.0"), "deferred": (451, "4.0.0")}.get(state, (None, None))
    return RecipientResult(
        address=address,
        state=state,
        code=code,
        status=status,
        temporary=state == "deferred",
        text=text,
        mx_host=None,
        mx_level=None,
        tls_level="none",
        attempts=(),
        findings=(),
    )


def _attempt(data: Event) -> Attempt:
    reply = data["reply"] and (data["reply"][0], data["reply"][1])
    return Attempt(
        **{**_known(Attempt, data), "verdict": _verdict(data["verdict"]), "reply": reply}
    )


def _verdict(data: Event) -> Verdict:
    findings = tuple(Finding(**_known(Finding, each)) for each in data["findings"])
    hosts = tuple(_verdict(each) for each in data["hosts"])
    return Verdict(**{**_known(Verdict, data), "findings": findings, "hosts": hosts})


def _known(kind: Any, data: Event) -> Event:
    """Return the data that are fields of a record; another version may have had more."""
    return {name: data[name] for name in kind.__slots__ if name in data}
