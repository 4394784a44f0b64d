"""What is on its way to one client: what it subscribed to, and what it has yet to acknowledge. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from mqtt_topics import matches

from .codec import Publish, Unsubscribe, publish

__all__ = ["Deliveries"]

_PACKET_IDS = 0xFFFF


class Deliveries:
    """Decides what is sent to a client, and when. Methods answer the bytes that may leave now."""

    #: Filters that a client may have.
    max_filters = 100
    #: QoS 1 messages on their way at a time; the next ones wait.
    max_in_flight = 20
    #: Messages that wait; a client that is further behind is too slow.
    max_waiting = 200

    def __init__(self) -> None:
        #: Filter -> the QoS that was granted.
        self._filters: dict[str, int] = {}
        self._in_flight: set[int] = set()
        self._waiting: deque[Publish] = deque()
        self._last_id = 0

    @property
    def is_too_slow(self) -> bool:
        """Whether more waits than may."""
        return len(self._waiting) > self.max_waiting

    def subscribe(self, wanted: str, qos: int) -> bool:
        """Grant a filter; False if it is one too many."""
        if wanted not in self._filters and len(self._filters) >= self.max_filters:
            return False
        self._filters[wanted] = qos
        return True

    def unsubscribe(self, packet: Unsubscribe) -> None:
        """Take filters back, those too that nobody granted."""
        for each in packet.filters:
            self._filters.pop(each, None)

    def publish(self, message: Publish, may_drop: bool = False) -> bytes:
        """Send a message, once, if any filter is about it, with the least QoS of both ends (3.8.4).

        With `may_drop` one of QoS 0 is lost: the client does not keep up.
        """
        granted = [qos for wanted, qos in self._filters.items() if matches(wanted, message.topic)]
        if not granted:
            return b""
        message = replace(message, qos=min(message.qos, max(granted)))
        if not message.qos:
            return b"" if may_drop else publish(message)
        self._waiting.append(message)
        return self._next()

    def acknowledged(self, packet_id: int) -> bytes:
        """The client has a message; an identifier that is not on its way changes nothing."""
        self._in_flight.discard(packet_id)
        return self._next()

    def _next(self) -> bytes:
        parts = []
        while self._waiting and len(self._in_flight) < self.max_in_flight:
            packet_id = self._new_id()
            self._in_flight.add(packet_id)
            parts.append(publish(replace(self._waiting.popleft(), packet_id=packet_id)))
        return b"".join(parts)

    def _new_id(self) -> int:
        while True:
            self._last_id = self._last_id % _PACKET_IDS + 1
            if self._last_id not in self._in_flight:
                return self._last_id
