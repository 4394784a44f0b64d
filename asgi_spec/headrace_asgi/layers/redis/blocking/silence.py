"""How long to wait for a Redis that says nothing.

A connection may be silent because it is dead, or because Redis hangs (a swapping machine, a paused process, a
slow script). Then another one is silent too, and what this one was asked for is carried out when Redis goes
on: a take that was given up would pop messages for nobody. So it is kept while Redis answers nobody.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from ..address import ServerAddress

__all__ = ["ANSWER_SECONDS", "SilenceTimeout", "hangs"]

#: Longest wait for the answer to a command that does not block, before anybody asks why.
ANSWER_SECONDS = 5.0
#: Seconds in which a Redis that works says something to a new connection.
PROBE_SECONDS = 1.0
#: Seconds that a connection gets once more when others are answered: its answer may be on the way.
LATE_SECONDS = 1.0
#: Without a login this is answered too, by an error; and with TLS by the end of the connection.
_PROBE = b"PING\r\n"


def hangs(address: ServerAddress) -> bool:
    """Whether Redis, as it seems, accepts connections and answers none. Blocks for up to two seconds."""
    try:
        with socket.socket(socket.AF_UNIX) if address.path else _connected(address) as probe:
            probe.settimeout(PROBE_SECONDS)
            if address.path:
                probe.connect(address.path)
            probe.sendall(_PROBE)
            try:
                probe.recv(1)
            except TimeoutError:
                return True
    except OSError:
        pass  # nobody is there: that is no hang
    return False


def _connected(address: ServerAddress) -> socket.socket:
    return socket.create_connection((address.host, address.port), PROBE_SECONDS)


class SilenceTimeout:
    """Decides, each time that an answer is late, how many seconds more to wait for it."""

    def __init__(self, hanging: Callable[[], bool], ended: Callable[[], bool]) -> None:
        """`hanging` asks whether Redis answers nobody, `ended` whether we want to leave anyway."""
        self._hanging = hanging
        self._ended = ended
        self._late = False

    def begin(self) -> None:
        """Something new is asked."""
        self._late = False

    def more_seconds(self) -> float:
        """Seconds to wait further, 0 to give the connection up."""
        if self._ended():
            return 0.0
        if self._hanging():
            self._late = False
            return ANSWER_SECONDS
        if self._late:
            return 0.0
        self._late = True
        return LATE_SECONDS
