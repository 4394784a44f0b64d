"""An interface process played by a test: sockets without a network."""

from __future__ import annotations

from dataclasses import dataclass

from headrace_asgi.contract import Outcome
from headrace_asgi.control import ADD, GROUP
from headrace_asgi.envelope import Message, decode, pack_message, unpack_message
from headrace_asgi.names import local_part, new_process_queue

from .hub import Hub

__all__ = ["Heard", "MemoryProcess"]


@dataclass(frozen=True, slots=True)
class Heard:
    """What came for one client: a message, or a note, whose kind is `control`."""

    local: str
    message: Message
    control: str = ""


class MemoryProcess:
    """A registered process with sockets, for tests of workers on the memory layer.

    No call blocks. A reply channel is `process + local`. The test numbers the messages of a socket itself:
    connect 0, frames from 1, disconnect last + 1.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.process = new_process_queue("0")
        with hub as store:
            store.register(self.process)

    @property
    def taken_channels(self) -> frozenset[str]:
        """Channels that workers take, by their word of the last `ANNOUNCED_SECONDS`."""
        with self._hub as store:
            return store.taken_channels(self._hub.now_ms())

    def connect(self, local: str, path: str, message: Message) -> Outcome:
        """Register a socket and send its `websocket.connect`."""
        payload = pack_message(message)
        with self._hub as store:
            return store.connect(self.process + local, path, payload, self._hub.now_ms())

    def frame(self, local: str, message: Message, order: int, ordered: bool = True) -> Outcome:
        """Send a `websocket.receive`; `ordered` sends it through the mailbox."""
        payload = pack_message(message)
        socket = self.process + local
        now_ms = self._hub.now_ms()
        with self._hub as store:
            return store.frame(socket, payload, order, now_ms, ordered)

    def disconnect(self, local: str, message: Message, order: int) -> Outcome:
        """Unregister a socket, end its memberships and send its `websocket.disconnect`."""
        payload = pack_message(message)
        with self._hub as store:
            return store.disconnect(self.process + local, payload, order, self._hub.now_ms())

    def forget(self, local: str) -> None:
        """Unregister a socket that the application itself refused."""
        with self._hub as store:
            store.forget(self.process + local)

    def heard(self) -> list[Heard]:
        """Everything that came since the last call, in its order."""
        with self._hub as store:
            raws = store.take_all(self.process)
        return [heard for raw in raws for heard in self._heard(raw)]

    def _heard(self, raw: bytes) -> list[Heard]:
        entry = decode(raw)
        message = unpack_message(entry.payload)
        kind = str(message["control"]) if entry.control else ""
        if kind == ADD:  # the store keeps the members of this process
            return []
        if kind == GROUP:
            return [Heard(local, unpack_message(message["packed"])) for local in message["members"]]
        return [Heard(local_part(entry.channel or self.process), message, kind)]

    def close(self) -> None:
        """Withdraw the process: what is sent to it from now on is GONE."""
        with self._hub as store:
            store.withdraw(self.process)
