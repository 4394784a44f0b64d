"""Who is connected: the local part of a reply channel and the shell that answers for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Protocol, cast

from headrace_asgi.envelope import Message

__all__ = ["Connections", "ReplyTarget", "RequestCall", "SocketShell"]


class ReplyTarget(Protocol):
    """What stands behind a local part."""

    @property
    def asked(self) -> tuple[str, float] | None:
        """(channel, since when it waits there): what it asks of the workers; infinity once one has it."""

    def reply(self, message: Message) -> None:
        """A message on the client's reply channel, unchecked."""

    def control(self, kind: str, body: Message) -> None:
        """A control entry; unknown kinds are ignored."""

    def group_message(self, message: Message, frame_cache: dict[Any, Any]) -> None:
        """A group's message; `frame_cache` is shared by all members, for what they build of it."""

    def abort(self) -> None:
        """Drop the connection at once: our own code failed for this client."""


class RequestCall(ReplyTarget, Protocol):
    """A request that waits for its answer."""

    def data_lost(self) -> None:
        """The layer came back empty."""


class SocketShell(ReplyTarget, Protocol):
    """An open or opening WebSocket."""

    local: str
    path: str
    #: Whether its connect was sent and its disconnect is still owed.
    registered: bool

    @property
    def progress(self) -> tuple[int, bool]:
        """Order number of the last message known to have been accepted, and whether the order is strict."""

    def close(self, code: int, reason: str) -> None:
        """The server closes the socket; a handshake still open is answered 503."""


class Connections:
    """Local parts ↔ clients of this process. A local part is never reused: 64 random bits."""

    def __init__(self) -> None:
        self._clients: dict[str, ReplyTarget] = {}
        self._sockets: dict[str, SocketShell] = {}
        self._random = ""
        self._at = 0

    def add(self, client: RequestCall) -> str:
        """Give a request a local part of 16 characters."""
        local = self._new_local()
        self._clients[local] = client
        return local

    def add_socket(self, shell: SocketShell) -> str:
        """Give a WebSocket a local part, and list it among `sockets`."""
        local = self._new_local()
        self._clients[local] = self._sockets[local] = shell
        return local

    def resume(self, local: str, client: RequestCall) -> None:
        """List a request that has its local part from another image of the process."""
        self._clients[local] = client

    def resume_socket(self, local: str, shell: SocketShell) -> None:
        """The same for a WebSocket."""
        self._clients[local] = self._sockets[local] = shell

    def get(self, local: str) -> ReplyTarget | None:
        """The client with this local part, if it is still there."""
        return self._clients.get(local)

    def remove(self, local: str) -> None:
        """Forget a local part; nothing happens if it is unknown."""
        self._clients.pop(local, None)
        self._sockets.pop(local, None)

    def asked(self) -> Iterator[tuple[str, float] | None]:
        """What each client asks of the workers."""
        return (client.asked for client in list(self._clients.values()))

    def sockets(self) -> Iterator[SocketShell]:
        """The WebSocket shells, open or opening; safe against changes while iterating."""
        return iter(list(self._sockets.values()))

    def requests(self) -> list[RequestCall]:
        """The requests that wait for their answers."""
        found = [client for local, client in self._clients.items() if local not in self._sockets]
        return cast("list[RequestCall]", found)

    @property
    def socket_count(self) -> int:
        """How many WebSockets there are."""
        return len(self._sockets)

    def __len__(self) -> int:
        return len(self._clients)

    def _new_local(self) -> str:
        at = self._at
        if at >= len(self._random):
            self._random = os.urandom(4096).hex()
            at = 0
        self._at = at + 16
        return self._random[at : at + 16]
