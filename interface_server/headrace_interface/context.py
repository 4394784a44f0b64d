"""What the connections of an interface process share: all of them, or those at one place of the layer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Any

from .connections import Connections
from .episodes import Episode
from .http import grammar
from .http.spool import Bodies
from .settings import InterfaceSettings
from .timers import Clock, Timers
from .untaken import Watch
from .websocket.departed import Departed
from .websocket.frame_buffer import SlowSockets
from .websocket.handshakes import Handshakes
from .websocket.shares import Shares
from .websocket.waiting_room import WaitingRoom
from .write_buffer import Backlog

if TYPE_CHECKING:
    from headrace_asgi.contract import InterfacePort

    from .access_log import AccessLog

__all__ = ["ServerContext"]


class ServerContext:
    """Settings, the port to the layer, who is connected, clock, log and counters.

    One for each place of the layer, as a port is: a client belongs to one of them. What is not about the
    layer they share.
    """

    #: Whether new work is taken: not while the layer is lost beyond its grace.
    accepting = True
    #: The process ends: no new sockets, and the next answer on a connection is its last.
    draining = False
    layer_up = False
    #: Whether the layer has ever known this process.
    was_up = False
    #: Whether it was said that no more requests may wait for the layer.
    told_held_full = False

    def __init__(
        self,
        settings: InterfaceSettings,
        port: InterfacePort,
        clock: Clock,
        access_log: AccessLog | None = None,
    ) -> None:
        self.settings = settings
        #: The reactor, for what else it can do (`IReactorTime` for Autobahn).
        self.clock: Any = clock
        #: None when it is off, so that it costs nothing.
        self.access_log = access_log
        self.timers = Timers(clock)
        self.counters: Counter[str] = Counter()
        #: What the bodies of requests take.
        self.bodies = Bodies(settings)
        #: What waits for slow HTTP clients.
        self.backlog = Backlog()
        #: WebSockets whose clients have yet to read.
        self.slow_sockets = SlowSockets(settings, self.timers)
        self.handshakes = Handshakes(settings.max_address_handshakes)
        #: Shells of all HTTP connections, for the drain.
        self.http_shells: set[Any] = set()
        self._episodes: dict[str, Episode] = {}
        self._date_second = -1
        self._date = b""
        #: Those of all places; who comes next goes to the first of them that is there.
        self.places: list[ServerContext] = []
        self._of_place(port)

    def _of_place(self, port: InterfacePort) -> None:
        """What belongs to one place."""
        self.port = port
        self.connections = Connections()
        #: Shells whose request waits for the layer, oldest first.
        self.held: dict[Any, None] = {}
        #: What the WebSockets have put on the channel of their frames, and those whose frames wait for room.
        self.shares = Shares(self.settings)
        self.waiting_room = WaitingRoom(self)
        self.departed = Departed()
        #: Whether workers take the requests, and the handshakes.
        self.request_watch = Watch(self.clock, "http.request", lambda: port.label, self._asked)
        self.handshake_watch = Watch(self.clock, "websocket.connect", lambda: port.label, self._asked)
        self.places.append(self)

    def at(self, port: InterfacePort) -> ServerContext:
        """A context for one more place of the layer, of the same process."""
        another = copy(self)
        another._of_place(port)
        return another

    def next_place(self) -> ServerContext:
        """The context for a new client: that of the next place which is there."""
        places = self.places
        if len(places) > 1:
            for _ in places:
                places.append(places.pop(0))
                if places[0].layer_up:
                    break
        return places[0]

    @property
    def named(self) -> str:
        """Which place of the layer this is, for a log line; nothing where there is no other."""
        return "" if len(self.places) == 1 else f" at {self.port.label}"

    @property
    def socket_count(self) -> int:
        """How many WebSockets there are, at all places."""
        return sum(place.connections.socket_count for place in self.places)

    def full(self, channel: str) -> None:
        """A client was answered 503 because its message was refused."""
        self._turned_away(
            channel,
            f"{channel} is full, so clients are answered 503: workers do not keep up with it, or Redis has "
            "no memory left. More workers, a larger capacity or more memory for Redis make room.",
            f"{channel} was full: {{count}} clients were answered 503 within {{seconds}} s.",
        )

    def late(self, watch: Watch) -> None:
        """A client was answered 503 because no worker took its message in time."""
        channel = watch.channel
        if watch.text:
            return  # that nobody takes anything was said already
        self._turned_away(
            channel + " late",
            f"{channel} is not taken before the queue deadline, so clients are answered 503: there are too "
            "few workers, or they are busy for too long.",
            f"{channel} was taken too late: {{count}} clients were answered 503 within {{seconds}} s.",
        )

    def stranger(self, peer: str) -> None:
        """Somebody connected who is no trusted proxy, where only those may."""
        self.counters["strangers"] += 1
        self._turned_away(
            "stranger",
            "A connection of {peer} is closed at once: with --proxy-protocol only those of --trusted-proxies "
            "may connect, and the peers of unix sockets without --no-trust-unix. So are others like it.",
            "{count} connections were closed at once within {seconds} s: none was of a trusted proxy.",
            peer=peer,
        )

    def not_introduced(self, peer: str, reason: str) -> None:
        """A trusted proxy did not say for whom its connection is; `reason` ends a sentence."""
        self.counters["not_introduced"] += 1
        self._turned_away(
            "not introduced",
            "A connection of {peer} is closed, because its header of the PROXY protocol is missing or wrong: "
            "{reason}. Does the proxy send it (send-proxy-v2, proxy_protocol on)? So are others like it.",
            "{count} connections of trusted proxies were closed within {seconds} s: their header of the "
            "PROXY protocol was missing or wrong.",
            peer=peer,
            reason=reason,
        )

    def plain_on_tls(self, peer: str) -> None:
        """Somebody came without TLS to a listener that speaks it."""
        self.counters["plain_on_tls"] += 1
        self._turned_away(
            "plain on tls",
            "A connection of {peer} is closed, because it came without TLS to a port that speaks it: its "
            "addresses begin with https:// and wss://. So are others like it.",
            "{count} connections came within {seconds} s without TLS to a port that speaks it.",
            peer=peer,
        )

    def tls_on_plain(self, peer: str) -> None:
        """Somebody began TLS on a listener that does not speak it."""
        self.counters["tls_on_plain"] += 1
        self._turned_away(
            "tls on plain",
            "A connection of {peer} is closed, because it began TLS on a port that does not speak it: use "
            "http:// and ws://, or give the server a certificate (--certfile). So are others like it.",
            "{count} connections began TLS within {seconds} s on a port that does not speak it.",
            peer=peer,
        )

    def flooded(self, peer: str, what: str) -> None:
        """A client of HTTP/2 sent too much of something that carries nothing; `what` is it, in the plural."""
        self.counters["http2_floods"] += 1
        self.counters["http2_floods_of_" + what.replace(" ", "_")] += 1
        self._turned_away(
            "http2 flood",
            "An HTTP/2 connection of {peer} is ended, because it brought too many or too large {what}. So "
            "are others like it.",
            "{count} HTTP/2 connections were ended within {seconds} s: they brought too much that carries "
            "nothing.",
            peer=peer,
            what=what,
        )

    def _turned_away(self, kind: str, begins: str, ends: str, **about: str) -> None:
        episode = self._episodes.get(kind)
        if episode is None:
            episode = self._episodes[kind] = Episode(self.clock, begins, ends)
        episode.happened(**about)

    def _asked(self) -> Iterable[tuple[str, float] | None]:
        """What the clients ask of the workers; while the layer is away that is no worker's fault."""
        return self.connections.asked() if self.layer_up else ()

    def date(self) -> bytes:
        """The value of a Date header (RFC 9110 5.6.7), made once a second."""
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            self._date = grammar.date(second)
        return self._date
