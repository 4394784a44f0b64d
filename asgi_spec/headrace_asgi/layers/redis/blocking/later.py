"""Sending for later, and moving what is due, with blocking calls."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from headrace_asgi import names
from headrace_asgi.acknowledgement import REPAIR_SECONDS
from headrace_asgi.envelope import Message, pack_message
from headrace_asgi.errors import HeadraceError, KeySpoilt
from headrace_asgi.later import IDLE_MOVER_SECONDS, Delay, Due, Moment, due, new_message_id

from ..plan.command import RedisCommand
from ..plan.later import Peeked
from ..plan.outgoing import message_entry
from ..plan.places import Places
from ..plan.plan import Plan

__all__ = ["LaterMethods", "kept"]

log = logging.getLogger("headrace.layer")

#: Pause before what cannot be moved, because something else wrote to its channel, is tried again.
_SPOILT_PAUSE_SECONDS = 30.0


class _Keeper(Protocol):
    """What is needed of a layer to keep a message."""

    @property
    def plan(self) -> Plan: ...
    def expiry_ms(self, place: str, seconds: float | None = None) -> int: ...


class _LaterLayer(_Keeper, Protocol):
    """What is needed of a layer besides."""

    places: Places
    max_message_bytes: int

    def ask(self, command: RedisCommand) -> Any: ...
    def run(self, commands: Sequence[RedisCommand]) -> list[Any]: ...


def kept(layer: _Keeper, channel: str, packed: bytes, message_id: str, due: Due) -> RedisCommand:
    """The command that keeps a packed message until it is due; from then on its time to live counts."""
    plan = layer.plan
    place = plan.later.place_of(message_id)
    expires_ms = layer.expiry_ms(place)
    waits_ms = due.ms if due.from_now else max(0, due.ms - layer.expiry_ms(place, 0))
    entry = message_entry(plan.codec.encode, channel, packed, expires_ms + waits_ms)
    return plan.later.keep(message_id, channel, entry, due)


class LaterMethods:
    """The methods of a Redis layer about what becomes due."""

    def new_message_id(self: _LaterLayer, channel: str) -> str:
        """An id for a message that will be sent to a channel. Does not block."""
        return new_message_id(self.plan.later.place_for(names.require_channel_name(channel)))

    def send_later(
        self: _LaterLayer,
        channel: str,
        message: Message,
        delay: Delay | None = None,
        at: Moment | None = None,
        message_id: str | None = None,
    ) -> str:
        """Send a message when it is due. One round trip; see `ChannelLayer.send_later`."""
        names.require_channel_name(channel)
        when = due(delay, at)
        packed = pack_message(message, self.max_message_bytes)
        if message_id is None:
            message_id = new_message_id(self.plan.later.place_for(channel))
        self.ask(kept(self, channel, packed, message_id, when))
        return message_id

    def cancel(self: _LaterLayer, message_id: str) -> bool:
        """Take a message back; whether that was in time. Raises ValueError for an id of another layer."""
        return bool(self.ask(self.plan.later.cancel(message_id)))

    def move_due(self: _LaterLayer, channels: Iterable[str] = ()) -> float:
        """Move what is due at every place. A place that is away keeps no other from being looked at."""
        acknowledged = self.plan.acknowledged
        taken = [channel for channel in channels if acknowledged.waiting_key(self.places.home, channel)]
        wait = REPAIR_SECONDS if taken else IDLE_MOVER_SECONDS
        failed: HeadraceError | None = None
        for place in self.places.names:
            try:
                wait = min(wait, _move_at(self, place, taken))
            except HeadraceError as error:
                failed = error
        if failed is not None:
            raise failed
        return wait


def _move_at(layer: _LaterLayer, place: str, channels: Sequence[str]) -> float:
    """Move what is due at one place; the seconds until the next is."""
    commands = [layer.plan.later.peek(place)]
    if channels:
        commands.append(layer.plan.acknowledged.ring(place, channels))
    while True:
        answers = layer.run(commands)
        for answer in answers:
            if isinstance(answer, HeadraceError):
                raise answer
        peeked: Peeked = answers[0]
        if not peeked.due:
            return IDLE_MOVER_SECONDS if peeked.next_ms is None else peeked.next_ms / 1000
        try:
            layer.ask(layer.plan.later.move(place, peeked.due))
        except KeySpoilt:
            _move_each(layer, place, peeked.due)


def _move_each(layer: _LaterLayer, place: str, due: Sequence[tuple[str, str]]) -> None:
    """Move to each queue alone, as something else wrote to one of them: what is for that one waits."""
    for queue in dict.fromkeys(queue for _, queue in due):
        own = [(member, where) for member, where in due if where == queue]
        try:
            layer.ask(layer.plan.later.move(place, own))
        except KeySpoilt as error:
            log.error("What is due cannot be sent to %s: %s", queue, error)
            until_ms = layer.expiry_ms(place, _SPOILT_PAUSE_SECONDS)
            layer.ask(layer.plan.later.postpone(place, [member for member, _ in own], until_ms))
