"""An interface server played by a test: what it hears from its port is written down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..contract import InterfaceReceiver, OpenSocket
from ..envelope import Message

__all__ = ["Recorder"]


class Recorder(InterfaceReceiver):
    """Writes down what it hears; the test says which sockets are open."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        #: Open sockets: local part -> path.
        self.sockets: dict[str, str] = {}
        #: Number of the last message of a socket that is known to be accepted; and which ones are ordered.
        self.orders: dict[str, int] = {}
        self.ordered: set[str] = set()

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """What was heard of one kind, without the kind."""
        return [what[1:] for what in self.heard if what[0] == kind]

    def heard_by(self, local: str) -> list[Message]:
        """The messages that came for one client, said to it or to its groups, in their order."""
        found = []
        for kind, *what in self.heard:
            if kind == "reply" and what[0] == local:
                found.append(what[1])
            elif kind == "group":
                found += [what[2]] * what[1].count(local)
        return found

    def reply(self, local: str, message: Message) -> None:
        self.heard.append(("reply", local, message))

    def group_message(self, group: str, members: Sequence[str], message: Message) -> None:
        self.heard.append(("group", group, tuple(members), message))

    def control(self, kind: str, local: str, body: Message) -> None:
        self.heard.append(("control", kind, local, body))

    def level(self, channel: str, sent: int, waiting: int, capacity: int) -> None:
        self.heard.append(("level", channel, sent, waiting, capacity))

    def data_lost(self) -> None:
        self.heard.append(("data lost",))

    def entries_lost(self, count: int) -> None:
        self.heard.append(("entries lost", count))

    def layer_lost(self, reason: str) -> None:
        self.heard.append(("lost", reason))

    def layer_back(self) -> None:
        self.heard.append(("back",))

    def fenced(self) -> None:
        self.heard.append(("fenced",))

    def is_open(self, local: str) -> bool:
        return local in self.sockets

    def open_sockets(self) -> Iterable[OpenSocket]:
        return [
            OpenSocket(local, path, self.orders.get(local, 0), local in self.ordered)
            for local, path in self.sockets.items()
        ]
