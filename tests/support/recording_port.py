"""An interface server's line to the layer that only records, for tests of shells without a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from headrace_asgi.contract import Done, InterfaceReceiver, Outcome

__all__ = ["Asked", "RecordingPort"]


@dataclass
class Asked:
    """One call of the port."""

    kind: str
    channel: str
    message: dict[str, Any]
    expiry_seconds: float
    done: Done = field(repr=False)

    @property
    def local(self) -> str:
        """The client's local part, out of its reply channel."""
        return str(self.message["reply_channel"].partition("!")[2])


class RecordingPort:
    """Records what is asked. `outcomes` are answered in order, at once; without any, `done` is the test's."""

    def __init__(self) -> None:
        self.process = "hr1.0.0123456789abcdef0123456789abcdef!"
        self.label = "memory"
        self.asked: list[Asked] = []
        self.outcomes: list[Outcome] = []
        #: What is answered when `outcomes` is empty; None leaves the call open.
        self.default: Outcome | None = Outcome.SENT
        self.receiver: InterfaceReceiver | None = None
        self.stopped = False
        #: Local parts of clients that left their groups.
        self.left: list[str] = []
        #: Channels whose level was asked for.
        self.levels_asked: list[str] = []

    def start(self, receiver: InterfaceReceiver) -> None:
        self.receiver = receiver

    def stop(self, done: Callable[[], None]) -> None:
        self.stopped = True
        done()

    def send(self, channel: str, message: dict[str, Any], expiry_seconds: float, done: Done) -> None:
        self._record("send", channel, message, expiry_seconds, done)

    def connect(
        self, local: str, path: str, message: dict[str, Any], expiry_seconds: float, done: Done
    ) -> None:
        self._record("connect", "websocket.connect", message, expiry_seconds, done)

    def frame(self, local: str, message: dict[str, Any], order: int, ordered: bool, done: Done) -> None:
        self._record("frame", "websocket.receive", message, 60, done)

    def ask_level(self, channel: str) -> None:
        self.levels_asked.append(channel)

    def disconnect(self, local: str, message: dict[str, Any], order: int, done: Done) -> None:
        self._record("disconnect", "websocket.disconnect", message, 0, done)

    def forget(self, local: str) -> None:
        self._record("forget", "", {}, 0, lambda outcome: None)

    def leave_groups(self, local: str) -> None:
        self.left.append(local)

    def of(self, channel: str) -> list[Asked]:
        """The calls for one channel; a name that ends with `?` stands for all that begin so."""
        if channel.endswith("?"):
            return [asked for asked in self.asked if asked.channel.startswith(channel)]
        return [asked for asked in self.asked if asked.channel == channel]

    @property
    def requests(self) -> list[Asked]:
        """The requests that were sent."""
        return self.of("http.request")

    def _record(
        self, kind: str, channel: str, message: dict[str, Any], expiry_seconds: float, done: Done
    ) -> None:
        # A copy, as packing makes one: what the shell changes afterwards does not reach the worker.
        self.asked.append(Asked(kind, channel, dict(message), expiry_seconds, done))
        outcome = self.outcomes.pop(0) if self.outcomes else self.default
        if outcome is not None:
            done(outcome)
