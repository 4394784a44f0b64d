"""A worker thread's way to several Redis: a port for each, one wait for all of them.

While there is something to do, each turn takes from one Redis, the next one with the next turn. Only when all
are empty is a take begun at each; the first that brings something ends the others, and their answers are read
before anything runs: so nothing is held that nobody runs. A Redis that cannot be reached is opened again by a
thread of its own (where threads may be started), and what is to be said to it is kept meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from headrace_asgi.backoff import Backoff
from headrace_asgi.contract import (
    Acknowledge,
    Delivery,
    Finish,
    Out,
    Outcome,
    RefusedHandler,
    Send,
    SendGroup,
    SendLater,
    WorkerPort,
)
from headrace_asgi.errors import (
    ConfigurationError,
    HeadraceError,
    KeySpoilt,
    LayerUnavailable,
    OutcomeUnknown,
)
from headrace_asgi.later import place_of_id
from headrace_asgi.log_limit import LogLimit, Trouble, left_out_note
from headrace_asgi.names import require_channel_name, require_group_name

from ..plan.shard_map import ShardMap
from .worker_port import RedisWorkerPort

__all__ = ["ShardsWorkerPort"]

log = logging.getLogger("headrace.layer")

#: Pauses between two tries to reach a Redis that is away: at first, and at most.
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.05, 1.0
#: Seconds that a Redis has to end its take when another one brought something, or to answer one that does not
#: wait. A slower one goes on by itself and is left out until it answers: nobody waits for one that hangs, and
#: what it takes when it goes on is run.
END_SECONDS = 0.1
#: Seconds for which this process asks a Redis for nothing but messages after it was late, or a thread failed
#: to open it: longer than such a thread needs for its next try.
LEFT_OUT_SECONDS = 10.0
#: Between two requests to end a take that Redis has not begun yet.
END_AGAIN_SECONDS = 0.005
#: Things kept for one Redis that is away; further ones are refused.
MOST_KEPT = 1_000
#: Seconds for which a message to a group is said again to a Redis that is there and refuses it: as long as a
#: worker usually tries what is refused.
REFUSED_SECONDS = 1.0


class OneShard(Protocol):
    """One of several Redis."""

    place: str
    label: str

    def open_worker_port(self, on_refused: RefusedHandler) -> WorkerPort: ...


class SeveralShards(Protocol):
    """What a port needs of its layer."""

    map: ShardMap
    expiry: float

    @property
    def shards(self) -> Mapping[str, OneShard]: ...

    def in_turn(self) -> Sequence[OneShard]: ...
    def is_away(self, place: str) -> bool: ...
    def note_away(self, place: str, seconds: float = ...) -> None: ...
    def note_back(self, place: str) -> None: ...


class _Kept(NamedTuple):
    """Something to say to a Redis, and when that is given up, in seconds of `time.monotonic()`."""

    item: Out
    until: float


class _Berth:
    """The port to one Redis, while there is one, and what is kept for it while there is none."""

    def __init__(self, shard: OneShard, on_refused: Callable[[_Berth, Out, Outcome], None]) -> None:
        self.shard = shard
        self.place = shard.place
        self._on_refused = partial(on_refused, self)
        self.port: RedisWorkerPort | None = None
        #: Whether it can be used. Set by the thread that opened it, cleared by the owner: while it is False,
        #: the port is that thread's.
        self.is_open = False
        #: Whether that thread was started, since it was open last.
        self.is_opening = False
        self.kept: list[_Kept] = []
        #: When what is being said once more is given up, by the identity of the item.
        self.tried: dict[int, float] = {}
        self.trouble = Trouble()

    def open(self) -> None:
        """Connect. Raises LayerUnavailable or ConfigurationError."""
        if self.port is None:
            port = self.shard.open_worker_port(self._on_refused)
            if not isinstance(port, RedisWorkerPort):
                raise TypeError(f"{self.shard.label} has ports of another kind: {port!r}")
            port.waits_for_hanging = False
            self.port = port
        else:
            self.port.reopen()
        self.is_open = True

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked: it is there, and its last take was answered."""
        return self.is_open and self.port is not None and not self.port.is_waiting


class ShardsWorkerPort(WorkerPort):
    """See the module. Not thread-safe, except `wake` and `renew`."""

    def __init__(self, layer: SeveralShards, on_refused: RefusedHandler) -> None:
        """Connect. Raises LayerUnavailable if no Redis can be reached, LayerRefused if one refuses us."""
        self._layer = layer
        self._on_refused = on_refused
        self._berths = {place: _Berth(shard, self._refused) for place, shard in layer.shards.items()}
        self._order = list(self._berths)
        self._channels: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}
        self._complaints = LogLimit()
        self._woken = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._stop_opening = threading.Event()
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        """Open what answers; what was found to be away a moment ago is left to a thread, unless all were."""
        errors: dict[str, LayerUnavailable] = {}
        for berth in sorted(self._berths.values(), key=lambda one: self._layer.is_away(one.place)):
            if self._layer.is_away(berth.place) and any(one.is_open for one in self._berths.values()):
                errors[berth.place] = LayerUnavailable(f"{berth.shard.label} did not answer a moment ago")
                continue
            try:
                berth.open()
            except LayerUnavailable as error:
                self._layer.note_away(berth.place)
                errors[berth.place] = error
        if len(errors) == len(self._berths):
            raise next(iter(errors.values()))
        for place, why in errors.items():
            self._note_outage(self._berths[place], why)

    @property
    def counters(self) -> Counter[str]:
        """Entries by "<channel>|taken", "…|expired" and "…|unreadable"."""
        ports = [berth.port for berth in self._berths.values() if berth.port is not None]
        return sum((port.counters for port in ports), Counter())

    @property
    def kept(self) -> list[Out]:
        """What is said to a Redis that is away when it is back. A group's members elsewhere have theirs."""
        return [
            item
            for berth in self._berths.values()
            for item, _ in berth.kept
            if not isinstance(item, SendGroup)
        ]

    # Saying and taking

    def turn(
        self, out: Sequence[Out], channels: Sequence[str], limit: int, block_seconds: float
    ) -> list[Delivery]:
        """As any port's; what is to be said to a Redis that is away is kept for it, and said when it is back.

        Raises LayerUnavailable if none can be reached, before anything is said.
        """
        parts = self._parts(out)
        self._welcome()
        if not any(berth.is_open for berth in self._berths.values()):
            raise LayerUnavailable(
                f"none of the Redis at {', '.join(self._layer.map.labels.values())} answers"
            )
        found = self._late()
        self._order.append(self._order.pop(0))
        for place in self._order:
            berth, said = self._berths[place], parts.get(place, [])
            listed = self._channels_at(place, channels) if channels and not found else ()
            if said or berth.kept or listed or (berth.port is not None and berth.port.owes):
                found += self._turn(berth, said, listed, limit)
        if self.on_said is not None:
            self.on_said()
        if not found and channels and block_seconds > 0:
            found = self._wait(channels, limit, block_seconds)
        self._woken = False
        return self._within(limit, found)

    def _parts(self, out: Sequence[Out]) -> dict[str, list[Out]]:
        """What is to be said at each place. Raises TypeError for a name that is none."""
        parts: dict[str, list[Out]] = {}
        for item in out:
            for place in self._places_of(item):
                parts.setdefault(place, []).append(item)
        return parts

    def _places_of(self, item: Out) -> Sequence[str]:
        if isinstance(item, SendGroup):
            for group in item.groups:
                require_group_name(group)
            return list(self._berths)
        if isinstance(item, Finish | Acknowledge) and item.place in self._berths:
            return (item.place,)
        if isinstance(item, SendLater) or (isinstance(item, Send) and item.id):
            return (place_of_id(item.id),)  # said again, it has to come to the place that knows the id
        named = item.channel if isinstance(item, Send | Acknowledge) else item.reply_channel
        channel = require_channel_name(named)
        if not self._layer.map.is_spread(channel):
            return (self._layer.map.of(channel),)
        open_ones = [one.place for one in self._layer.in_turn() if self._berths[one.place].is_open]
        return (open_ones or list(self._berths))[:1]

    def _channels_at(self, place: str, channels: Sequence[str]) -> tuple[str, ...]:
        """Those of `channels` that have a list at a place."""
        asked = (place, tuple(channels))
        found = self._channels.get(asked)
        if found is None:
            where = self._layer.map
            found = tuple(one for one in channels if where.is_spread(one) or where.of(one) == place)
            if len(self._channels) >= MOST_KEPT:
                self._channels.clear()
            self._channels[asked] = found
        return found

    def _turn(
        self, berth: _Berth, said: Sequence[Out], channels: Sequence[str], limit: int
    ) -> list[Delivery]:
        """One turn of the port of one Redis, if it can be asked."""
        berth.tried.clear()
        if not berth.is_ready or berth.port is None:
            self._keep(berth, said, self._layer.expiry)
            return []
        berth.tried.update({id(item): until for item, until in berth.kept})
        everything, berth.kept = [*(item for item, _ in berth.kept), *said], []
        if not everything and not berth.port.owes:
            return self._take(berth, channels, limit)
        try:
            return berth.port.turn(everything, channels, limit, 0)
        except OutcomeUnknown as error:
            self._away(berth, error)
            for item in everything:
                self._on_refused(item, Outcome.UNKNOWN)
        except LayerUnavailable as error:
            self._away(berth, error)
            self._keep(berth, everything, self._layer.expiry)
        return []

    def _take(self, berth: _Berth, channels: Sequence[str], limit: int) -> list[Delivery]:
        """Take what is there, without a wait; a Redis that does not answer soon is left out until it does."""
        found: list[Delivery] = []
        if self._begin(berth, channels, limit, None):
            give_up = time.monotonic() + END_SECONDS
            while _waits(berth) and (left := give_up - time.monotonic()) > 0:
                found += self._answers([berth], left)
        return found

    def _refused(self, berth: _Berth, item: Out, outcome: Outcome) -> None:
        """The word of one port. A group message is said again there only, as others have accepted it."""
        if isinstance(item, SendGroup) and outcome in (Outcome.FULL, Outcome.UNAVAILABLE):
            self._keep(berth, (item,), REFUSED_SECONDS)
        else:
            self._on_refused(item, outcome)

    def _keep(self, berth: _Berth, items: Sequence[Out], seconds: float) -> None:
        """Keep what cannot be said to one Redis now, so many seconds from when it first could not."""
        now = time.monotonic()
        for item in items:
            berth.kept.append(_Kept(item, min(now + seconds, berth.tried.get(id(item), now + seconds))))
        kept = [one for one in berth.kept if one.until > now][:MOST_KEPT]
        if len(kept) < len(berth.kept):
            stays = {id(one) for one in kept}
            given_up = [one.item for one in berth.kept if id(one) not in stays]
            berth.kept = kept
            self._give_up(berth, given_up)

    def _give_up(self, berth: _Berth, items: Sequence[Out]) -> None:
        for item in items:
            if isinstance(item, SendGroup):
                # Said again, it would reach the members at the others twice.
                self._complain(berth, item.group)
                self._on_refused(item, Outcome.GONE)
            else:
                self._on_refused(item, Outcome.UNAVAILABLE)

    def _complain(self, berth: _Berth, group: str) -> None:
        left_out = self._complaints.ask(berth.place)
        if left_out is not None:
            log.error(
                "The members of the group %s at %s missed a message: that Redis did not take it%s",
                group,
                berth.shard.label,
                left_out_note(left_out),
            )

    def _within(self, limit: int, found: list[Delivery]) -> list[Delivery]:
        """Give back what two Redis brought at the same moment, beyond the limit: others have time for it."""
        if not 0 < limit < len(found):
            return found
        kept, together = found[:limit], dict[tuple[str, str], list[Delivery]]()
        for one in found[limit:]:
            together.setdefault((one.place, one.channel), []).append(one)
        for some in together.values():
            try:
                self.give_back(some)
            except OutcomeUnknown as error:
                log.warning(
                    "%d messages may be back or lost, as their Redis did not answer: %s", len(some), error
                )
            except LayerUnavailable as error:
                log.warning("Taken in the same moment from several Redis, and kept: %s", error)
                kept += some
        return kept

    # Waiting for all

    def _wait(self, channels: Sequence[str], limit: int, block_seconds: float) -> list[Delivery]:
        """Begin a take at each place, and end them all when one has brought something."""
        deadline = time.monotonic() + block_seconds
        if any(berth.kept and berth.is_ready for berth in self._berths.values()):
            block_seconds = min(block_seconds, END_SECONDS)
        late = self._waiting()
        begun = [one for one in self._berths.values() if self._begin(one, channels, limit, block_seconds)]
        found = [delivery for berth in begun for delivery in self._taken(berth)]
        while not found and not self._woken and (left := deadline - time.monotonic()) > 0:
            found += self._answers(self._waiting(), left)
            if begun and not any(map(_waits, begun)):
                break
            if any(one.kept and one.is_ready for one in late):
                break
        give_up = time.monotonic() + END_SECONDS
        while (left_over := [one for one in begun if _waits(one)]) and time.monotonic() < give_up:
            for berth in left_over:
                self._end_wait(berth)
            found += self._answers([*left_over, *filter(_waits, late)], END_AGAIN_SECONDS)
        return found

    def _waiting(self) -> list[_Berth]:
        return [berth for berth in self._berths.values() if _waits(berth)]

    def _begin(self, berth: _Berth, channels: Sequence[str], limit: int, block_seconds: float | None) -> bool:
        listed = self._channels_at(berth.place, channels)
        if not listed or not berth.is_ready or berth.port is None:
            return False
        try:
            berth.port.begin_take(listed, limit, block_seconds)
        except LayerUnavailable as error:
            self._away(berth, error)
            return False
        return True

    def _end_wait(self, berth: _Berth) -> None:
        if berth.port is None:
            return
        try:
            berth.port.end_wait()
        except LayerUnavailable as error:
            self._away(berth, error)

    def _answers(self, waiting: Sequence[_Berth], seconds: float) -> list[Delivery]:
        """What comes within so many seconds, or until `wake`, to those of them that still wait."""
        poll = select.poll()
        poll.register(self._wake_in, select.POLLIN)
        by_descriptor = {one.port.fileno(): one for one in waiting if _waits(one) and one.port is not None}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        found = []
        for descriptor, _ in poll.poll(seconds * 1000):
            if descriptor in by_descriptor:
                found += self._taken(by_descriptor[descriptor])
            else:
                self._hear_wake()
        return found

    def _taken(self, berth: _Berth) -> list[Delivery]:
        """What the take at one Redis brought, if that is here."""
        if berth.port is None:
            return []
        try:
            return berth.port.taken() or []
        except LayerUnavailable as error:
            log.warning("A take was lost with what it had popped: %s", error)
            self._away(berth, error)
            return []

    def _late(self) -> list[Delivery]:
        """What takes brought that did not end in time."""
        found = []
        for berth in self._waiting():
            found += self._taken(berth)
            if _waits(berth):
                self._layer.note_away(berth.place, LEFT_OUT_SECONDS)
            elif berth.is_open:
                self._layer.note_back(berth.place)
        return found

    def wake(self) -> None:
        """End a waiting `turn`, or the next one. Callable from any thread and from a signal handler."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody waits
            self._wake_out.send(b"!")

    def _hear_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken = bool(self._wake_in.recv(4096)) or self._woken

    # Away and back

    def _away(self, berth: _Berth, error: HeadraceError) -> None:
        """One Redis cannot be reached: go on without it until a thread has opened it again."""
        if berth.is_open:  # else that thread runs already
            berth.is_open = berth.is_opening = False
            self._layer.note_away(berth.place)
            self._note_outage(berth, error)
            self._begin_opening(berth)

    def _note_outage(self, berth: _Berth, error: HeadraceError) -> None:
        if berth.trouble.happened(time.monotonic()):
            log.warning(
                "One of several Redis is away (%s): what is said to its clients waits, and nothing is taken "
                "from it until it is back",
                error,
            )

    def _begin_opening(self, berth: _Berth) -> None:
        if berth.is_open or berth.is_opening or not self.may_start_threads:
            return
        berth.is_opening = True
        opener = threading.Thread(
            target=self._open_again, args=(berth,), name=f"open-{berth.place}", daemon=True
        )
        opener.start()

    def _open_again(self, berth: _Berth) -> None:
        backoff = Backoff(FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, random.random)
        while not self._stop_opening.wait(backoff.next_seconds()):
            try:
                berth.open()
            except (LayerUnavailable, ConfigurationError) as error:
                self._layer.note_away(berth.place, LEFT_OUT_SECONDS)
                log.debug("%s is still away: %s", berth.shard.label, error)
            except Exception:
                if not self._stop_opening.is_set():
                    log.exception("Opening %s failed; it is tried again", berth.shard.label)
            else:
                self._layer.note_back(berth.place)
                self.wake()
                break
        # Whoever closed the ports meanwhile closed what was only half open.
        if self._stop_opening.is_set() and berth.port is not None:
            berth.port.close()

    def _welcome(self) -> None:
        """Say which Redis are back, and see that somebody opens the others."""
        for berth in self._berths.values():
            self._begin_opening(berth)
            if berth.is_open and (past := berth.trouble.over()) is not None:
                log.warning("%s is back after %.1f s", berth.shard.label, time.monotonic() - past.first_at)

    # What was taken and not done

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries that were not started back at the head of their channels, in their order.

        One round trip for each Redis. Raises LayerUnavailable or OutcomeUnknown, when the others are done.
        """
        by_place: dict[str, list[Delivery]] = {}
        for one in deliveries:
            by_place.setdefault(one.place, []).append(one)
        errors = []
        for place, some in by_place.items():
            try:
                self._port(place).give_back(some)
            except LayerUnavailable as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def requeue(self, delivery: Delivery) -> bool:
        """Put a delivery at the tail of its channel with one retry more; False if it is stale."""
        return self._port(delivery.place).requeue(delivery)

    def may_start(self, delivery: Delivery, now: float) -> bool:
        """Whether this delivery may start. If its Redis is away: not if it is ordered, as nobody can tell."""
        try:
            return self._port(delivery.place).may_start(delivery, now)
        except LayerUnavailable:
            return delivery.order is None

    def renew(self, delivery: Delivery) -> bool:
        """Extend the lease of a delivery that runs long; False if it lapsed. From any thread.

        Raises LayerUnavailable at once while its Redis is away: the leases at the others do not wait for it.
        """
        berth, port = self._berths[delivery.place], self._port(delivery.place)
        if self._layer.is_away(berth.place):
            raise LayerUnavailable(f"{berth.shard.label} did not answer a moment ago")
        try:
            return port.renew(delivery)
        except KeySpoilt:
            raise
        except LayerUnavailable:
            self._layer.note_away(berth.place)
            raise

    def _port(self, place: str) -> RedisWorkerPort:
        port = self._berths[place].port
        if port is None:
            raise LayerUnavailable(f"{self._berths[place].shard.label} was not reached yet")
        return port

    def close(self) -> None:
        """Close the connections; what is still kept is refused."""
        self._stop_opening.set()
        for berth in self._berths.values():
            kept, berth.kept = berth.kept, []
            self._give_up(berth, [item for item, _ in kept])
            if berth.port is not None:
                berth.port.close()
        self._wake_in.close()
        self._wake_out.close()


def _waits(berth: _Berth) -> bool:
    """Whether a take that was begun there has not been answered."""
    return berth.is_open and berth.port is not None and berth.port.is_waiting
