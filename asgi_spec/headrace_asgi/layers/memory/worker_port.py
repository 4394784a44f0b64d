"""How a worker takes, answers and finishes on the memory layer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import assert_never

from headrace_asgi.acknowledgement import LATE_CLAIM_SECONDS
from headrace_asgi.contract import (
    Acknowledge,
    Control,
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
from headrace_asgi.envelope import Message, decode, encode, pack_message
from headrace_asgi.names import (
    is_process_queue,
    require_channel_name,
    require_channel_names,
    require_group_name,
)

from .hub import Bell, Hub
from .store import Store, TakenMessage

__all__ = ["MemoryWorkerPort", "keep_for"]

#: The one place there is.
_PLACE = "0"
#: Seconds after its take that an ordered delivery must ask before it starts (docs/protocol.md, section 7).
_LATE_SECONDS = 15.0


class MemoryWorkerPort(WorkerPort):
    """One worker thread's port. Not thread-safe, except `wake`."""

    def __init__(
        self, hub: Hub, on_refused: RefusedHandler, expiry_seconds: float, max_message_bytes: int
    ) -> None:
        self._hub = hub
        self._on_refused = on_refused
        self._expiry_seconds = expiry_seconds
        self._max_message_bytes = max_message_bytes
        self._bell: Bell = SimpleQueue()
        self._woken = False

    def turn(
        self, out: Sequence[Out], channels: Sequence[str], limit: int, block_seconds: float
    ) -> list[Delivery]:
        """Write `out`, then take up to `limit` messages, waiting up to `block_seconds` for the first.

        Raises TypeError or MessageTooLarge, before anything is written, for a message that cannot be packed.
        """
        self._write(out)
        if self.on_said is not None:
            self.on_said()
        if not channels:
            return []
        block_seconds = 0 if self._woken else block_seconds
        taken = self._hub.take(
            require_channel_names(channels), limit, block_seconds, self._bell, self._is_woken
        )
        self._woken = False
        return [self._delivery(one, message) for one, message in taken]

    def _is_woken(self) -> bool:
        return self._woken

    def _delivery(self, taken: TakenMessage, message: Message) -> Delivery:
        entry = taken.entry
        return Delivery(
            channel=taken.channel,
            message=message,
            entry=taken.raw,
            expiry_ms=entry.expiry_ms if taken.claim is None else 0,
            place=_PLACE,
            taken_at=self._hub.seconds(),
            order=entry.order,
            retries=entry.retries,
            claim=taken.claim,
        )

    def _write(self, out: Sequence[Out]) -> None:
        if not out:
            return
        now_ms = self._hub.now_ms()
        steps = [(item, self._step(item, now_ms)) for item in out]
        with self._hub as store:
            outcomes = [(item, step(store)) for item, step in steps]
        # Outside the lock: the handler may log, or use the layer.
        for item, outcome in outcomes:
            if not outcome.accepted:
                self._on_refused(item, outcome)

    def _step(self, item: Out, now_ms: int) -> Callable[[Store], Outcome]:
        match item:
            case Send():
                require_channel_name(item.channel)
                seconds = self._expiry_seconds if item.expiry_seconds is None else item.expiry_seconds
                expiry_ms = now_ms + int(seconds * 1000)
                return partial(Store.send, channel=item.channel, payload=item.packed, expiry_ms=expiry_ms)
            case SendGroup():
                groups = [require_group_name(group) for group in item.groups]
                expiry_ms = now_ms + int(self._expiry_seconds * 1000)
                return partial(
                    _send_groups,
                    groups=groups,
                    payload=item.packed,
                    expiry_ms=expiry_ms,
                    now_ms=now_ms,
                )
            case Control():
                payload = pack_message(item.body, self._max_message_bytes)
                return partial(_push_control, channel=item.reply_channel, payload=payload)
            case Finish():
                return partial(_finish, item=item, now_ms=now_ms)
            case Acknowledge():
                return partial(_settle, item=item, now_ms=now_ms)
            case SendLater():
                require_channel_name(item.channel)
                return partial(keep_for, now_ms=now_ms, expiry_seconds=self._expiry_seconds, item=item)
        assert_never(item)

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries back at the head of their channels, in their order; stale ones are dropped."""
        with self._hub as store:
            for delivery in reversed(deliveries):
                if delivery.claim is not None:
                    store.acknowledged.release(delivery.claim)
                elif self._may_go_back(store, delivery):
                    store.put_back(delivery.channel, delivery.entry)
                else:
                    store.count_stale(delivery.channel)

    def requeue(self, delivery: Delivery) -> bool:
        """Put a delivery at the tail of its channel with one retry more; False if it is stale."""
        if delivery.claim is not None:
            later = Acknowledge(delivery.channel, delivery.claim, delivery.place, "it was to be tried later")
            with self._hub as store:
                return _settle(store, later, self._hub.now_ms()) is Outcome.SENT
        entry = decode(delivery.entry)
        raw = encode(
            bytes(entry.payload),
            entry.expiry_ms,
            order=entry.order,
            channel=entry.channel,
            retries=entry.retries + 1,
        )
        with self._hub as store:
            if not self._may_go_back(store, delivery):
                store.count_stale(delivery.channel)
                return False
            store.put_again(delivery.channel, raw)
        return True

    def _may_go_back(self, store: Store, delivery: Delivery) -> bool:
        if delivery.order is None:
            return True
        return store.renew(delivery.message["reply_channel"], delivery.order, self._hub.now_ms())

    def may_start(self, delivery: Delivery, now: float) -> bool:
        """Whether a delivery may start: not if it expired, nor if it is late and somebody moved on.

        `now` is of the layer's clock. What an expired one owes is done at once.
        """
        if delivery.claim is not None:
            return now - delivery.taken_at <= LATE_CLAIM_SECONDS or self.renew(delivery)
        now_ms = self._hub.now_ms()
        if 0 < delivery.expiry_ms <= now_ms:
            socket = str(delivery.message.get("reply_channel"))
            with self._hub as store:
                store.drop(delivery.channel, socket, delivery.order, delivery.retries, now_ms)
            return False
        if delivery.order is None or now - delivery.taken_at <= _LATE_SECONDS:
            return True
        allowed = self.renew(delivery)
        if not allowed:
            with self._hub as store:
                store.count_stale(delivery.channel)
        return allowed

    def renew(self, delivery: Delivery) -> bool:
        """Extend the lease of a delivery; False if it lapsed before."""
        with self._hub as store:
            if delivery.claim is not None:
                return store.acknowledged.renew(delivery.claim, self._hub.now_ms())
            return self._may_go_back(store, delivery)

    def wake(self) -> None:
        """End a waiting `turn`, or the next one. Callable from any thread and from a signal handler."""
        self._woken = True
        self._bell.put(None)

    def close(self) -> None:
        """Nothing to close."""


def _send_groups(store: Store, groups: Sequence[str], payload: bytes, expiry_ms: int, now_ms: int) -> Outcome:
    store.send_groups(groups, payload, expiry_ms, now_ms)
    return Outcome.SENT


def _push_control(store: Store, channel: str, payload: bytes) -> Outcome:
    # A foreign server does not understand notes; that is no refusal.
    if not is_process_queue(channel):
        return Outcome.SENT
    return store.push(channel, encode(payload, channel=channel, control=True), is_control=True)


def _finish(store: Store, item: Finish, now_ms: int) -> Outcome:
    return store.finish(item.reply_channel, item.order, item.drain, now_ms)


def _settle(store: Store, item: Acknowledge, now_ms: int) -> Outcome:
    if item.failure is not None:
        return store.fail(item.channel, item.claim, item.failure, now_ms)
    return Outcome.SENT if store.acknowledged.finish(item.claim) else Outcome.STALE


def keep_for(store: Store, now_ms: int, expiry_seconds: float, item: SendLater) -> Outcome:
    """Keep a message until it is due; from then on its time to live counts."""
    waits_ms = item.due.ms if item.due.from_now else max(0, item.due.ms - int(time.time() * 1000))
    due_ms = now_ms + waits_ms
    entry = encode(
        item.packed,
        due_ms + int(expiry_seconds * 1000),
        channel=item.channel if "!" in item.channel else None,
    )
    return store.keep(item.id, item.channel, entry, due_ms)
