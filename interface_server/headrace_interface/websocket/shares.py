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
    from ..settings import InterfaceSettings

__all__ = ["HEAVY_BYTES", "QUIET_MESSAGES", "Room", "Shares"]

#: With fewer messages than this in the channel nobody is in anybody's way, and nothing is written down unless
#: it is heavy. A worker takes up to 20 at once.
QUIET_MESSAGES = 16
#: Weight of one batch that is written down in any case: what is not written down stays under 16 times this
#: while it is quiet, and under an address's share of such messages while there is room.
HEAVY_BYTES = 16 * 1024
#: Messages in the channel of a socket whose client is gone: nobody waits for an answer to them.
DEPARTED_MESSAGES = 4
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

    def __init__(self, settings: InterfaceSettings) -> None:
        """Take the limits; `settings` says what each is for."""
        self._settings = settings
        self._least_share = min(settings.address_share, settings.process_share)
        self.most = Room(settings.share_messages or maxsize, settings.share_bytes or maxsize)
        self._most_departed = Room(min(DEPARTED_MESSAGES, self.most.messages), self.most.weight)
        self._capacity = DEFAULT_CAPACITY
        #: How many messages were ever put on the channel, and how many of them were taken.
        self.sent = self.taken = 0
        self._puts: deque[_Put] = deque()
        self._sockets: dict[str, _Account] = {}
        self._addresses: dict[str, _Account] = {}
        self._all = _Account()
        #: Whether nobody needs to be looked at, nor what is put to be written down unless it is heavy.
        self.quiet = True
        #: Whether there is so little that no address can be beyond its share: then one message of a socket of
        #: which nothing is there need not be looked at or written down either.
        self.roomy = True

    def level(self, sent: int, waiting: int, capacity: int) -> None:
        """How full the channel is: of `sent` messages in all `waiting` are there, and `capacity` may be."""
        if sent < self.sent:  # the counting began anew, with an empty channel
            self._forget_all()
        self.sent = sent
        self.taken = taken = sent - waiting
        self._capacity = capacity
        puts = self._puts
        while puts and puts[0].total <= taken:
            self._taken(puts.popleft())
        self.quiet = waiting < QUIET_MESSAGES and not puts
        self.roomy = waiting < capacity * self._least_share

    def put(self, local: str, address: str, messages: int, weight: int) -> None:
        """The layer accepted these; the last `level` was that of its answer."""
        self._puts.append(_Put(self.sent, local, address, messages, weight))
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

    def has_room_for_one(self, put_at: int) -> bool:
        """Whether one light message of a socket needs no account: there is room, and nothing of it is there.

        `put_at` is how many messages the channel had ever had after the last one of the socket.
        """
        return self.roomy and put_at <= self.taken

    def room(self, local: str, address: str, next_weight: int, departed: bool = False) -> Room:
        """What a socket may put now, if its next message has this weight.

        One that has nothing there may put one message of any weight, unless its address or the process is
        far beyond its limits. Beyond those, only who has less there than the average may add up to that.
        What a client left behind when it went leaves a few at a time.
        """
        most = self._most_departed if departed else self.most
        if self.quiet:
            return most
        own = self._sockets.get(local) or _Account()
        host = self._addresses.get(address) or _Account()
        settings, capacity, every = self._settings, self._capacity, self._all
        messages = min(
            most.messages - own.messages,
            _left(own.messages, host.messages, host.sockets, max(1, int(settings.address_share * capacity))),
            _left(
                own.messages, every.messages, every.sockets, max(1, int(settings.process_share * capacity))
            ),
        )
        weight = min(
            most.weight - own.weight,
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
