"""An interface server's line to a layer in memory: it notes what is asked, and lets a test answer instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from headrace_asgi.contract import Done, InterfacePort, InterfaceReceiver, Outcome
from headrace_asgi.layers.memory import InMemoryChannelLayer
from headrace_asgi.limits import STOP_SECONDS

__all__ = ["PASS_ON", "Asked", "RecordingPort"]

#: Messages of a channel. No worker takes any, and a test that needs a full one says so by its outcomes.
CAPACITY = 100_000


class PassOn(Enum):
    """The type of `PASS_ON`."""

    PASS_ON = "pass on"


#: The layer answers.
PASS_ON: Final = PassOn.PASS_ON


@dataclass(eq=False)
class Asked:
    """One call of the port; `message` is as it was then."""

    kind: str
    channel: str
    local: str
    message: dict[str, Any]
    done: Done = field(repr=False)
    path: str = ""
    expiry_seconds: float = 0.0
    order: int = 0
    ordered: bool = False
    answered: bool = False

    def answer(self, outcome: Outcome = Outcome.SENT) -> None:
        """What the layer says."""
        assert not self.answered, f"{self} is answered already"
        self.answered = True
        self.done(outcome)


class RecordingPort(InterfacePort):
    """Notes every call and passes it on to a memory layer, unless a test answers in its place.

    Nothing is answered inside a call. A socket whose connect a test answered is GONE for the layer.
    """

    #: What workers take. Their announcements would lapse, as there are none to repeat them.
    taken_channels: frozenset[str] = frozenset()

    def __init__(self, reactor: Any) -> None:
        """Take a reactor, or a clock: the layer's messages expire on it."""
        self._call_later = reactor.callLater
        self.layer = InMemoryChannelLayer(capacity=CAPACITY, clock=reactor.seconds)
        self.real = self.layer.open_interface_port(reactor)
        self.process = self.real.process
        self.label = self.real.label
        self.asked: list[Asked] = []
        #: Outcomes of the next calls, one each, before `auto` counts.
        self.outcomes: list[Outcome] = []
        #: What every call is answered; None leaves it open for the test.
        self.auto: PassOn | Outcome | None = PASS_ON
        self.receiver: InterfaceReceiver | None = None
        self.stopped = False
        #: How long `stop` was given.
        self.stop_seconds = 0.0
        #: Local parts of clients that left their groups.
        self.left: list[str] = []
        #: Channels whose level was asked for.
        self.levels_asked: list[str] = []

    def start(self, receiver: InterfaceReceiver) -> None:
        self.receiver = receiver
        self.real.start(receiver)

    def stop(self, done: Callable[[], None], seconds: float = STOP_SECONDS) -> None:
        self.stopped = True
        self.stop_seconds = seconds
        self.real.stop(done, seconds)

    def send(self, channel: str, message: dict[str, Any], expiry_seconds: float, done: Done) -> None:
        local = str(message.get("reply_channel", "")).partition("!")[2]
        asked = Asked("send", channel, local, dict(message), done, expiry_seconds=expiry_seconds)
        if self._is_passed_on(asked):
            self.real.send(channel, message, expiry_seconds, asked.answer)

    def connect(
        self, local: str, path: str, message: dict[str, Any], expiry_seconds: float, done: Done
    ) -> None:
        asked = Asked("connect", "websocket.connect", local, dict(message), done, path, expiry_seconds)
        if self._is_passed_on(asked):
            self.real.connect(local, path, message, expiry_seconds, asked.answer)

    def frame(self, local: str, message: dict[str, Any], order: int, ordered: bool, done: Done) -> None:
        asked = Asked("frame", "websocket.receive", local, dict(message), done, order=order, ordered=ordered)
        if self._is_passed_on(asked):
            self.real.frame(local, message, order, ordered, asked.answer)

    def ask_level(self, channel: str) -> None:
        self.levels_asked.append(channel)
        if self.auto is PASS_ON:
            self.real.ask_level(channel)

    def disconnect(self, local: str, message: dict[str, Any], order: int, done: Done) -> None:
        asked = Asked("disconnect", "websocket.disconnect", local, dict(message), done, order=order)
        if self._is_passed_on(asked):
            self.real.disconnect(local, message, order, asked.answer)

    def forget(self, local: str) -> None:
        self.asked.append(Asked("forget", "", local, {}, lambda outcome: None, answered=True))
        self.real.forget(local)

    def leave_groups(self, local: str) -> None:
        self.left.append(local)
        self.real.leave_groups(local)

    def of(self, name: str) -> list[Asked]:
        """The calls of one kind or for one channel; a name that ends with `?` is of all that begin so."""
        if name.endswith("?"):
            return [asked for asked in self.asked if asked.channel.startswith(name)]
        return [asked for asked in self.asked if name in (asked.kind, asked.channel)]

    @property
    def requests(self) -> list[Asked]:
        """The requests that were sent."""
        return self.of("http.request")

    @property
    def connected(self) -> set[str]:
        """Local parts of the sockets whose connect was answered."""
        return {asked.local for asked in self.of("connect") if asked.answered}

    def _is_passed_on(self, asked: Asked) -> bool:
        """Note a call, and answer it soon if the layer is not to."""
        self.asked.append(asked)
        answer = self.outcomes.pop(0) if self.outcomes else self.auto
        if isinstance(answer, Outcome):
            self._call_later(0, asked.answer, answer)
        return answer is PASS_ON
