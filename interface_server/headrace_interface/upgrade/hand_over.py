"""Brings a server to a stand in which all that is open can be said in plain values, and says it.

Nobody is read from meanwhile, so clients' bytes wait in the kernel; what workers say is still written. What
is in the middle of something (a handshake, a request that is arriving, a file) is given a moment to end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from headrace_asgi.close_codes import SERVICE_RESTART
from headrace_asgi.envelope import Message

from ..direct_send import DirectTransport
from ..http.protocol import HttpProtocol
from ..websocket.protocol import WebSocketShell

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["HandingOver"]

#: Seconds for what is in the middle of something; everybody else waits as long.
_SETTLE_SECONDS = 0.25
_NO_ANSWER = "the channel layer is away, or does not answer in time"
#: Seconds between two looks whether all is settled.
_LOOK_SECONDS = 0.005
#: Seconds for the layer to answer what it was asked, and to end a take.
_LAYER_SECONDS = 1.0


class HandingOver:
    """One try. `leave` gets the state and the descriptors in it, and does not come back unless it fails;
    `put_off` hears why nothing was handed over: then everything goes on as before."""

    def __init__(
        self,
        server: Server,
        clock: Any,
        leave: Callable[[Message, Sequence[int]], None],
        put_off: Callable[[str], None],
    ) -> None:
        self._server = server
        self._clock = clock
        self._leave = leave
        self._put_off = put_off
        self._settle_by = 0.0
        #: The shells whose clients are not read from because of us.
        self._held: set[Any] = set()
        self._ports: list[Message | None] = []

    def begin(self) -> None:
        """Accept and read no more; what follows comes in later turns."""
        for port in self._server.listening:
            port.stopReading()
        self._settle_by = self._clock.seconds() + _SETTLE_SECONDS
        self._settle()

    # Settling

    def _settle(self) -> None:
        unsettled = [shell for shell in self._shells() if not self._hold(shell)]
        if unsettled and self._clock.seconds() < self._settle_by:
            self._clock.callLater(_LOOK_SECONDS, self._settle)
            return
        if any(getattr(shell, "awaits_layer", False) for shell in unsettled):
            self._go_on(_NO_ANSWER)
            return
        for shell in unsettled:
            self._end(shell)
        self._ports = []
        for place in self._server.places:
            place.port.hand_over(self._handed_over, _LAYER_SECONDS)

    def _shells(self) -> list[Any]:
        sockets = [shell for place in self._server.places for shell in place.connections.sockets()]
        return [*sockets, *self._server.context.http_shells]

    def _hold(self, shell: Any) -> bool:
        """Read no more from a client that can be handed over; False if it cannot, now."""
        if self._plain(shell) is None:
            return False
        if shell not in self._held:
            shell.transport.stopReading()
            self._held.add(shell)
        return True

    @staticmethod
    def _plain(shell: Any) -> Message | None:
        if not isinstance(shell, HttpProtocol | WebSocketShell):
            return None
        return shell.as_plain()

    def _end(self, shell: Any) -> None:
        """What cannot be handed over ends as in a drain."""
        if isinstance(shell, WebSocketShell):
            shell.close(SERVICE_RESTART, "server restarts")
        else:
            shell.abort()

    # The layer

    def _handed_over(self, state: Message | None) -> None:
        self._ports.append(state)
        if len(self._ports) < len(self._server.places):
            return
        if None in self._ports:
            self._go_on(_NO_ANSWER)
            return
        emptying = sum(place.departed.total for place in self._server.places)
        if emptying:
            self._go_on(f"{emptying} clients that are gone left messages that wait for room in a channel")
            return
        state, descriptors = self._state()
        try:
            self._leave(state, descriptors)
        except OSError as error:
            self._go_on(str(error))
        finally:
            for one in descriptors:
                os.close(one)

    def _state(self) -> tuple[Message, list[int]]:
        descriptors: list[int] = []

        def kept(of: Any) -> int:
            descriptors.append(os.dup(of.fileno()))
            return descriptors[-1]

        connections = []
        for kind, number, shell in self._of_all():
            plain = self._plain(shell)
            if plain is not None:
                ends = _ends(shell.transport)
                connections.append({"fd": kept(shell.transport), "place": number, "ends": ends, kind: plain})
        state = {
            "listening": [kept(port) for port in self._server.listening],
            "ports": self._ports,
            "connections": connections,
        }
        return state, descriptors

    def _of_all(self) -> Iterator[tuple[str, int, Any]]:
        """(kind, number of its place, shell) of each connection."""
        for number, place in enumerate(self._server.places):
            for socket in place.connections.sockets():
                yield "socket", number, socket
        for shell in self._server.context.http_shells:
            if isinstance(shell, HttpProtocol):
                yield "http", self._server.places.index(shell.place), shell

    def _go_on(self, reason: str) -> None:
        for place in self._server.places:
            place.port.go_on()
        for shell in self._held:
            transport = shell.transport
            if shell.reads and transport.connected and not transport.disconnecting:
                transport.startReading()
        for port in self._server.listening:
            port.startReading()
        self._put_off(reason)


def _ends(transport: Any) -> list[Any] | None:
    """The addresses of both ends, where a proxy said them."""
    ends = transport.introduced if isinstance(transport, DirectTransport) else None
    return None if ends is None else [[one.host, one.port, one.is_known] for one in ends]
