"""A worker thread's way to RabbitMQ: what consumers said, then the next messages."""

from __future__ import annotations

import time
from collections.abc import Sequence

from headrace_asgi.contract import (
    Control,
    Delivery,
    Finish,
    Out,
    Outcome,
    RefusedHandler,
    Send,
    SendGroup,
    WorkerPort,
)
from headrace_asgi.envelope import decode, encode
from headrace_asgi.errors import LayerUnavailable, OutcomeUnknown
from headrace_asgi.names import require_channel_name, require_channel_names, require_group_name

from .reader import Bell, ReadMessage, TakingLine
from .session import BrokerSession
from .thread import BrokerThread

__all__ = ["RabbitMQWorkerPort"]

#: The one place there is.
_PLACE = "0"


class RabbitMQWorkerPort(WorkerPort):
    """One worker thread's port. Not thread-safe, except `wake`.

    The broker has no clock that we could read: `Delivery.expiry_ms` is on the monotonic clock of this
    machine. A message lies no longer than its expiry, and may be started for as long again after its take.
    """

    def __init__(self, thread: BrokerThread, on_refused: RefusedHandler, expiry_seconds: float) -> None:
        """Connect. Raises LayerUnavailable, and LayerRefused for a login that is refused."""
        self._thread = thread
        self._on_refused = on_refused
        self._expiry_ms = int(expiry_seconds * 1000)
        self._bell = Bell()
        #: The session that `_line` is of: a layer that was closed has another one.
        self._session: BrokerSession | None = None
        self._line: TakingLine
        self._thread.ask(lambda session: session.connect())

    def turn(
        self, out: Sequence[Out], channels: Sequence[str], limit: int, block_seconds: float
    ) -> list[Delivery]:
        """Write `out`, then take up to `limit` messages, waiting up to `block_seconds` for the first.

        Raises TypeError, before anything is written, for a name that none can have; LayerUnavailable if
        nothing of `out` was written.
        """
        listed = require_channel_names(channels) if channels else []
        if out:
            self._say(out)
        if self.on_said is not None:
            self.on_said()
        if not listed:
            return []
        try:
            return self._take(listed, limit, block_seconds)
        except LayerUnavailable:
            if out:
                return []  # what was said has been written, and must not be said again
            raise
        finally:
            self._bell.is_rung = False

    def _say(self, out: Sequence[Out]) -> None:
        """Write in order; what follows itself on channels, or to groups, goes out together."""
        refused: list[tuple[Out, Outcome]] = []
        written = False
        for run in _runs(out):
            try:
                outcomes = self._write(run)
            except OutcomeUnknown:
                outcomes = [Outcome.UNKNOWN] * len(run)
            except LayerUnavailable:
                if not written:
                    raise
                outcomes = [Outcome.UNAVAILABLE] * len(run)
            written = True
            for item, outcome in zip(run, outcomes, strict=True):
                # Copies for full members of a group are dropped, as the contract says.
                if not outcome.accepted and not (isinstance(item, SendGroup) and outcome is Outcome.FULL):
                    refused.append((item, outcome))
        for item, outcome in refused:
            self._on_refused(item, outcome)

    def _write(self, run: Sequence[Out]) -> list[Outcome]:
        said = [one for one in run if isinstance(one, SendGroup)]
        groups = [(require_group_name(group), one.packed) for one in said for group in one.groups]
        if groups:
            outcomes = iter(self._thread.ask(lambda session: session.send_group(groups)))
            # SENT is the highest number: of several groups the one that went worst counts.
            return [min(next(outcomes) for _ in one.groups) for one in said]
        sends = [one for one in run if isinstance(one, Send)]
        if not sends:
            # Notes and finishes are for processes and sockets of our own kind, which this layer has none of.
            return [Outcome.SENT] * len(run)
        messages = [(require_channel_name(one.channel), one.packed) for one in sends]
        seconds = [one.expiry_seconds for one in sends]
        return self._thread.ask(lambda session: session.send(messages, seconds))

    def _take(self, channels: Sequence[str], limit: int, block_seconds: float) -> list[Delivery]:
        async def take(session: BrokerSession) -> list[ReadMessage]:
            if session is not self._session:
                self._session, self._line = session, session.reader.new_line()
            return await session.reader.take(self._line, channels, limit, block_seconds, self._bell)

        taken = self._thread.ask(take)
        now = time.monotonic()
        return [self._delivery(one, now) for one in taken]

    def _delivery(self, one: ReadMessage, now: float) -> Delivery:
        lives_ms = self._expiry_ms if one.lives_ms is None else one.lives_ms
        return Delivery(
            channel=one.channel,
            message=one.message,
            entry=one.raw,
            expiry_ms=int(now * 1000) + lives_ms,
            place=_PLACE,
            taken_at=now,
            retries=one.retries,
        )

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries back before all that waits in their channels, in their order.

        Raises LayerUnavailable if none of them is back, OutcomeUnknown if some may be.
        """
        if not deliveries:
            return
        entries = [(one.channel, one.entry, _left_ms(one)) for one in deliveries]
        self._thread.ask(lambda session: session.put_back(entries))

    def requeue(self, delivery: Delivery) -> bool:
        """Put a delivery at the tail of its channel with one retry more; False if that is full.

        Raises LayerUnavailable, OutcomeUnknown.
        """
        entry = decode(delivery.entry)
        again = encode(bytes(entry.payload), channel=entry.channel, retries=min(entry.retries + 1, 255))
        lives_ms = _left_ms(delivery)
        return self._thread.ask(lambda session: session.put_behind(delivery.channel, again, lives_ms))

    def may_start(self, delivery: Delivery, now: float) -> bool:
        """Whether a delivery may start: not if it was taken longer ago than it may live. No round trip."""
        return not 0 < delivery.expiry_ms <= now * 1000

    def wake(self) -> None:
        """End a waiting `turn`, or the next one. Callable from any thread and from a signal handler."""
        self._bell.ring()

    def close(self) -> None:
        """End the channel on which it takes."""
        session, self._session = self._session, None
        if session is None or not self._thread.has(session):
            return
        try:
            self._thread.ask(lambda session: self._line.close())
        except LayerUnavailable:
            return


def _left_ms(delivery: Delivery) -> int | None:
    """What a delivery still has to live; None for one of which nothing is known."""
    if not delivery.expiry_ms:
        return None
    return max(1, delivery.expiry_ms - int(time.monotonic() * 1000))


def _runs(out: Sequence[Out]) -> list[list[Out]]:
    """What consumers said, in order, parted where it turns from channels to groups or to notes."""
    runs: list[list[Out]] = []
    kind: object = None
    for item in out:
        this: object = type(item) if isinstance(item, Send | SendGroup) else (Control, Finish)
        if this != kind:
            runs.append([])
            kind = this
        runs[-1].append(item)
    return runs
