"""Local parts of reply channels."""

from __future__ import annotations

from typing import Any

from headrace_asgi.names import require_channel_name
from headrace_interface.connections import Connections


class Someone:
    """A client or a WebSocket."""

    local = path = ""
    registered = False

    def reply(self, message: Any) -> None: ...
    def control(self, kind: str, body: Any) -> None: ...
    def group_message(self, message: Any, frame_cache: Any) -> None: ...
    def abort(self) -> None: ...
    def close(self, code: int, reason: str) -> None: ...
    def data_lost(self) -> None: ...


def test_local_parts_are_names_and_never_the_same_d3() -> None:
    connections = Connections()
    locals_ = [connections.add(Someone()) for _ in range(5000)]
    assert len(set(locals_)) == 5000
    assert {len(local) for local in locals_} == {16}
    require_channel_name("hr1.0.abc!" + locals_[0])


def test_clients_are_found_and_forgotten() -> None:
    connections, client = Connections(), Someone()
    local = connections.add(client)
    assert connections.get(local) is client
    assert len(connections) == 1
    connections.remove(local)
    connections.remove(local)
    assert connections.get(local) is None
    assert len(connections) == 0


def test_sockets_are_listed_apart() -> None:
    connections, client, socket = Connections(), Someone(), Someone()
    connections.add(client)
    local = connections.add_socket(socket)
    assert list(connections.sockets()) == [socket]
    assert (connections.socket_count, len(connections)) == (1, 2)
    for _ in connections.sockets():
        connections.remove(local)
    assert connections.socket_count == 0
