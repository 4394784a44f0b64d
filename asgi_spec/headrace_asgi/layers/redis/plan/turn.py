"""What one reactor turn sends, gathered so that messages for one list travel in one command. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from headrace_asgi.contract import Done

from .command import Argument, RedisCommand
from .outgoing import Outgoing
from .plan import ENTRIES_PER_COMMAND, Plan

__all__ = ["Batch", "Frame", "Turn"]


@dataclass(slots=True)
class Frame:
    """One frame of a socket; `again` if Redis did not know the socket before."""

    place: str
    local: str
    order: int
    entry: bytes
    done: Done
    ordered: bool = False
    again: bool = False


@dataclass(slots=True)
class Batch:
    """One command and who wants to know its outcomes, in their order; `frames` if it sends frames."""

    command: RedisCommand
    dones: list[Done]
    frames: list[Frame]


class Turn:
    """Messages without a socket by channel, and frames of sockets by place, in the order they came."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._outgoing: Outgoing[Done] = Outgoing(plan)
        self._frames: dict[str, list[Frame]] = {}
        self._ordered: dict[str, list[Frame]] = {}
        self.empty = True

    @property
    def has_frames(self) -> bool:
        """Whether a frame of a plain socket came in this turn before."""
        return bool(self._frames)

    def send(self, channel: str, entry: bytes, done: Done) -> None:
        """Put an entry on a channel."""
        self.empty = False
        self._outgoing.add(channel, entry, done)

    def frame(self, frame: Frame) -> None:
        """Send a frame of a socket."""
        self.empty = False
        frames = self._ordered if frame.ordered else self._frames
        frames.setdefault(frame.place, []).append(frame)

    def batches(self, process: str) -> list[Batch]:
        """The commands by which `process` sends all of it; then the next turn begins."""
        self.empty = True
        batches = [Batch(command, dones, []) for command, dones in self._outgoing.commands(process)]
        # A socket that turns out not to be ordered has its first plain frames behind its last ordered ones.
        ordered, self._ordered = self._ordered, {}
        for place, listed in ordered.items():
            # A socket has one frame on its way: between two commands none can pass another of its own.
            for start in range(0, len(listed), ENTRIES_PER_COMMAND):
                part = listed[start : start + ENTRIES_PER_COMMAND]
                triples = [(frame.local, frame.order, frame.entry) for frame in part]
                command = self._plan.frames_ordered(place, process, triples)
                batches.append(Batch(command, [frame.done for frame in part], part))
        frames, self._frames = self._frames, {}
        for place, listed in frames.items():
            # All in one command: between two room could be made for a frame behind a refused one.
            arguments: list[Argument] = []
            for frame in listed:
                arguments += (frame.local, frame.order, frame.entry)
            command = self._plan.frames(place, process, arguments)
            batches.append(Batch(command, [frame.done for frame in listed], listed))
        return batches
