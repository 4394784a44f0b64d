"""Who fills a channel waits: what this process has put there and may still be there, by who said it. Pure.

The layer says how many messages were ever put on the channel and how many are there now. What was put when
the total was S has been taken once the first S messages have, whoever put or took the others. Messages and
their weight (bytes: content, path and overhead) are counted per socket, per address and in all.
"""

from __future__ import annotations

from collections import deque
from sys import maxsize
from typing import TYPE_CHECKING, NamedTuple

from headrace_asgi.limits import DEFAULT_CAPACITY

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["HEAVY_BYTES", "QUIET_MESSAGES", "Room", "Shares"]

#: With fewer messages than this in the channel nobody is in anybody's way, and nothing is written down unless
#: it is heavy. A worker takes up to 20 at once.
QUIET_MESSAGES = 16
#: Weight of one batch that is written down in any case: what is not written down stays under 16 times this.
HEAVY_BYTES = 16 * 1024
#: How far beyond its limit an address or the process may come while those that said little are still served.
_STRETCH = 2


class Room(NamedTuple):
    """What may be put on the channel now: so many messages, of so much weight; no messages means wait."""

    messages: int
    weight: int


_NONE = Room(0, 0)


class _Account:
    """What is there of one socket; or of many, then `sockets` says of how many."""

    __slots__ = ("messages", "sockets", "weight")

    def __init__(self) -> None:
        self.messages = self.weight = self.sockets = 0


class _Put(NamedTuple):
    """A batch that was put; taken once the first `total` messages of the channel were."""

    total: int
    local: str
    address: str
    messages: int
    weight: int


class Shares:
    """What this process has in one channel. A socket is known by its local part."""

    def __init__(self, settings: Settings) -> None:
        """Take the limits; `settings` says what each is for."""
        self._settings = settings
        self.most = Room(settings.share_messages or maxsize, settings.share_bytes or maxsize)
        self._capacity = DEFAULT_CAPACITY
        self._sent = 0
        self._puts: deque[_Put] = deque()
        self._sockets: dict[str, _Account] = {}
        self._addresses: dict[str, _Account] = {}
        self._all = _Account()
        #: Whether nobody needs to be looked at, nor what is put to be written down unless it is heavy.
        self.quiet = True

    def level(self, sent: int, waiting: int, capacity: int) -> None:
        """How full the channel is: of `sent` messages in all `waiting` are there, and `capacity` may be."""
        if sent < self._sent:  # the counting began anew, with an empty channel
            self._forget_all()
        self._sent = sent
        self._capacity = capacity
        puts = self._puts
        if puts:
            taken = sent - waiting
            while puts and puts[0].total <= taken:
                self._taken(puts.popleft())
        self.quiet = waiting < QUIET_MESSAGES and not puts

    def put(self, local: str, address: str, messages: int, weight: int) -> None:
        """The layer accepted these; the last `level` was that of its answer."""
        self._puts.append(_Put(self._sent, local, address, messages, weight))
        self.quiet = False
        host = self._addresses.get(address)
        if host is None:
            host = self._addresses[address] = _Account()
        socket = self._sockets.get(local)
        if socket is None:
            socket = self._sockets[local] = _Account()
            host.sockets += 1
            self._all.sockets += 1
        for account in (socket, host, self._all):
            account.messages += messages
            account.weight += weight

    def room(self, local: str, address: str, next_weight: int) -> Room:
        """What a socket may put now, if its next message has this weight.

        One that has nothing there may put one message of any weight, unless its address or the process is
        far beyond its limits. Beyond those, only who has less there than the average may add up to that.
        """
        own = self._sockets.get(local) or _Account()
        host = self._addresses.get(address) or _Account()
        settings, capacity, every = self._settings, self._capacity, self._all
        messages = min(
            self.most.messages - own.messages,
            _left(own.messages, host.messages, host.sockets, max(1, int(settings.address_share * capacity))),
            _left(
                own.messages, every.messages, every.sockets, max(1, int(settings.process_share * capacity))
            ),
        )
        weight = min(
            self.most.weight - own.weight,
            _left(own.weight, host.weight, host.sockets, settings.address_share_bytes or maxsize),
            _left(own.weight, every.weight, every.sockets, settings.process_share_bytes or maxsize),
        )
        if messages <= 0 or weight <= 0 or (own.messages and next_weight > weight):
            return _NONE
        return Room(messages, weight)

    def _taken(self, put: _Put) -> None:
        socket, host = self._sockets[put.local], self._addresses[put.address]
        for account in (socket, host, self._all):
            account.messages -= put.messages
            account.weight -= put.weight
        if not socket.messages:
            del self._sockets[put.local]
            self._all.sockets -= 1
            host.sockets -= 1
            if not host.sockets:
                del self._addresses[put.address]

    def _forget_all(self) -> None:
        self._puts.clear()
        self._sockets.clear()
        self._addresses.clear()
        self._all = _Account()


def _left(own: int, total: int, sockets: int, limit: int) -> int:
    """What one may add where many have `total` together: up to the limit; beyond it, up to the average."""
    if total < limit:
        return limit - total
    if total >= _STRETCH * limit:
        return 0
    return -(-total // sockets) - own
