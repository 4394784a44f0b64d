"""One account of all that a load offered: what was answered, refused, run, lost, and run twice. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["KINDS", "Account"]

#: What a load consists of. A group copy is one message for one member.
KINDS = ("http", "frame", "ordered", "copy", "background")
#: Those that are promised: copies for a group are not.
PROMISED = ("http", "frame", "ordered", "background")


@dataclass
class Account:
    """Units by kind and name; a name occurs once among the offered."""

    offered: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    #: Name -> when its answer came, and how often it came.
    answered: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    answers: Counter[str] = field(default_factory=Counter)
    #: Name -> status or reason, of what was refused with a word.
    refused: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    #: How often each unit ran in a worker.
    ran: Counter[str] = field(default_factory=Counter)
    #: Sockets that ended, with their close codes, and requests whose connection broke.
    closed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    #: Answers of ordered sockets that came behind a later one.
    inversions: list[str] = field(default_factory=list)
    #: Seconds that each request waited for its answer, of whatever kind.
    waits_seconds: list[float] = field(default_factory=list)

    def offer(self, kind: str, name: str, now: float) -> None:
        """A unit is on its way."""
        self.offered[kind][name] = now

    def answer(self, kind: str, name: str, now: float) -> None:
        """Its answer came."""
        self.answers[f"{kind} {name}"] += 1
        self.answered[kind].setdefault(name, now)

    def refuse(self, kind: str, name: str, reason: str) -> None:
        """It was refused."""
        self.refused[kind][name] = reason

    def read_marks(self, lines: Iterable[str]) -> None:
        """What the workers noted: `kind name`, a line each; ordered frames are noted as frames."""
        for line in lines:
            kind, _, name = line.strip().partition(" ")
            if kind == "frame" and name in self.offered["ordered"]:
                kind = "ordered"
            self.ran[f"{kind} {name}"] += 1

    @property
    def run_twice(self) -> list[str]:
        """Units that ran more than once."""
        return [unit for unit, times in self.ran.items() if times > 1]

    @property
    def doubled(self) -> list[str]:
        """Units whose answer came more than once."""
        return [unit for unit, times in self.answers.items() if times > 1]

    @property
    def losses(self) -> list[str]:
        """Promised units that were accepted and not done: no answer, no refusal."""
        return [f"{kind} {name}" for kind in PROMISED for name in self.lost(kind)]

    def lost(self, kind: str) -> list[str]:
        """Units that were neither answered nor refused (for background messages: that did not run).

        What waits behind a lost frame of a socket that stands still is not lost.
        """
        standing = self.standing_still
        return [
            name for name in self._missing(kind) if kind != "ordered" or not _waits_behind(name, standing)
        ]

    @property
    def standing_still(self) -> dict[str, int]:
        """Ordered sockets of which nothing ran from one frame on, with the number of that frame."""
        unrun: dict[str, int] = {}
        for name in self.offered["ordered"]:
            socket, number = name.split()
            if self.ran[f"ordered {name}"] or name in self.answered["ordered"]:
                unrun.pop(socket, None)
            else:
                unrun.setdefault(socket, int(number))
        return unrun

    def _missing(self, kind: str) -> list[str]:
        known = self.answered[kind].keys() | self.refused[kind].keys()
        if kind == "background":
            known = known | {name for name in self.offered[kind] if self.ran[f"background {name}"]}
        return [name for name in self.offered[kind] if name not in known]

    def not_run(self, kind: str) -> list[str]:
        """Units that no worker ran, among those that were lost."""
        return [name for name in self.lost(kind) if not self.ran[f"{kind} {name}"]]

    def table(self) -> str:
        """The account, a line for each kind."""
        lines = [f"{'':12}{'offered':>9}{'answered':>9}{'refused':>9}{'lost':>6}{'unrun':>6}"]
        for kind in KINDS:
            lines.append(
                f"{kind:12}{len(self.offered[kind]):9}{self._answered(kind):9}{len(self.refused[kind]):9}"
                f"{len(self.lost(kind)):6}{len(self.not_run(kind)) if kind != 'copy' else 0:6}"
            )
        reasons = Counter(reason for refused in self.refused.values() for reason in refused.values())
        lines.append(
            f"closed {len(self.closed)}  broken {len(self.broken)}  run twice {len(self.run_twice)}  "
            f"doubled {len(self.doubled)}  inversions {len(self.inversions)}  "
            f"standing still {len(self.standing_still)}  "
            f"longest wait {max(self.waits_seconds, default=0):.1f} s  refusals {dict(reasons)}"
        )
        return "\n".join(lines)

    def _answered(self, kind: str) -> int:
        if kind == "background":
            return sum(1 for name in self.offered[kind] if self.ran[f"background {name}"])
        return len(self.answered[kind])


def _waits_behind(name: str, standing: dict[str, int]) -> bool:
    socket, number = name.split()
    return socket in standing and int(number) > standing[socket]
