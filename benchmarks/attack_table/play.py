"""Play one attack on one client: a server of its own, a process of its own, a verdict."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attack_table.cases import CONTENT, CONTROLS, RECIPIENT, SENDER, USER, Case
from attack_table.clients import Client
from attack_table.evidence import TIMEOUT, Evidence, Outcome, Verdict
from attack_table.judges import PASSWORD, decide, worst
from requiretls_client.testing import CA, Certificate, Server

_CONTROL_OF = {"careful": "careful", "followup": "careful", "default": "default", "login": "login"}


@dataclass(frozen=True)
class Cell:
    """One cell of the table: the verdict, and the client's own word in each variant."""

    verdict: Verdict
    outcomes: tuple[Outcome, ...] = ()


class Certificates:
    """A CA in a file, and the certificates that the cases name."""

    def __init__(self, folder: Path, elsewhere: str | None) -> None:
        """Make them all; the CA's goes to ``folder``."""
        ca = CA()
        self.file = folder / "ca.pem"
        self.file.write_bytes(ca.pem)
        names = ["localhost", "127.0.0.1", *([elsewhere] if elsewhere else [])]
        self._known: dict[str, Certificate] = {
            "good": ca.issue(*names),
            "untrusted": CA().issue(*names),
            "misnamed": ca.issue("other.example.org"),
            "expired": ca.issue(*names, expired=True),
        }

    def __getitem__(self, name: str) -> Certificate:
        """Return the certificate of that name."""
        return self._known[name]


class Stage:
    """Where the attacks are played."""

    def __init__(self, certificates: Certificates, elsewhere: str | None) -> None:
        """Remember what all plays share; ``elsewhere`` is an address that is not loopback."""
        self._certificates = certificates
        self._elsewhere = elsewhere

    def play_all(self, client: Client, cases: Sequence[Case]) -> dict[str, Cell]:
        """Play ``cases`` on one client, the controls before; returns a cell for each case id."""
        useless: dict[str, str] = {}
        baseline: int | None = None
        for control in CONTROLS:
            seen, before = self._play(client, control, control.servers[0], None)
            baseline = baseline or before
            if seen.outcome.kind != "sent" or len(seen.ledger) != 1:
                useless[control.mode] = seen.outcome.text
        cells = {}
        for case in cases:
            reason = useless.get(_CONTROL_OF[case.mode])
            if case.elsewhere and self._elsewhere is None:
                cells[case.id] = Cell(Verdict("-", "left out"))
            elif reason is not None:
                cells[case.id] = Cell(Verdict("?", f"cannot send to a good server: {reason}"))
            else:
                cells[case.id] = self._cell(client, case, baseline)
        return cells

    def _cell(self, client: Client, case: Case, baseline: int | None) -> Cell:
        verdicts, outcomes = [], []
        for arguments in case.servers:
            try:
                seen, _ = self._play(client, case, arguments, baseline)
            except Exception as error:  # of the server or of a step: a fault of this program
                verdicts.append(Verdict("?", f"no verdict: {type(error).__name__}: {error}"))
                continue
            verdicts.append(decide(case.judge, seen, must_connect=case.must_connect))
            outcomes.append(seen.outcome)
        return Cell(worst(verdicts), tuple(outcomes))

    def _play(
        self, client: Client, case: Case, arguments: Any, baseline: int | None
    ) -> tuple[Evidence, int | None]:
        """Run one variant; returns what was seen and the client's memory before the work."""
        address: dict[str, Any] = {"address": self._elsewhere} if case.elsewhere else {}
        certificate = self._certificates[case.certificate]
        with Server(certificate=certificate, **address, **arguments) as server:
            outcome, before = client.run(self._job(case, server), baseline)
        return Evidence.of(outcome, server), before

    def _job(self, case: Case, server: Server) -> dict[str, Any]:
        job = {
            "host": server.host,
            "port": server.port,
            "cafile": str(self._certificates.file),
            "mode": "careful",
            "trust": "",
            "name": "client.example",
            "sender": SENDER,
            "recipient": RECIPIENT,
            "content": CONTENT,
            "user": USER,
            "password": PASSWORD,
            "timeout": TIMEOUT,
            **case.job,
        }
        return {**job, "content": base64.b64encode(job["content"]).decode()}
