"""What every connection of one interface process shares."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from .connections import Connections
from .outlet import Backlog
from .settings import Settings
from .timers import Clock, Timers
from .websocket_outlet import SlowSockets

if TYPE_CHECKING:
    from headrace_asgi.contract import InterfacePort

    from .access_log import AccessLog

__all__ = ["Site"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Site:
    """One per process: settings, the line to the layer, who is connected, clock, log and counters."""

    def __init__(
        self,
        settings: Settings,
        port: InterfacePort,
        clock: Clock,
        access_log: AccessLog | None = None,
    ) -> None:
        self.settings = settings
        self.port = port
        #: The reactor, for what else it can do (`IReactorTime` for Autobahn).
        self.clock: Any = clock
        #: None when it is off, so that it costs nothing.
        self.access_log = access_log
        self.connections = Connections()
        self.timers = Timers(clock)
        self.counters: Counter[str] = Counter()
        #: What waits for slow HTTP clients.
        self.backlog = Backlog()
        #: WebSockets whose clients have yet to read.
        self.slow_sockets = SlowSockets(settings, self.timers)
        #: Whether new work is taken: not while draining, and not while the layer is lost beyond its grace.
        self.accepting = True
        self.draining = False
        self.layer_up = False
        #: Shells whose request waits for the layer, oldest first.
        self.held: dict[Any, None] = {}
        #: Shells of all HTTP connections, for the drain.
        self.http_shells: set[Any] = set()
        self._date_second = -1
        self._date = b""

    def date(self) -> bytes:
        """The value of a Date header (RFC 9110 5.6.7), made once a second."""
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            at = time.gmtime(second)
            self._date = (
                f"{_DAYS[at.tm_wday]}, {at.tm_mday:02d} {_MONTHS[at.tm_mon - 1]} {at.tm_year} "
                f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} GMT"
            ).encode("ascii")
        return self._date
