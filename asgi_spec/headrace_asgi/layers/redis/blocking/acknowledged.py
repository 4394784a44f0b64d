"""Claiming and settling messages of acknowledged channels, and their dead letters, with blocking calls."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from headrace_asgi import names
from headrace_asgi.acknowledgement import DeadLetter, tries_of
from headrace_asgi.contract import Delivery
from headrace_asgi.envelope import unpack_message
from headrace_asgi.errors import HeadraceError, UnreadableEntry
from headrace_asgi.log_limit import LogLimit, left_out_note

from ..plan.acknowledged import entry_of
from ..plan.command import RedisCommand, number, text
from ..plan.places import Places
from ..plan.plan import ENTRIES_PER_COMMAND, Plan

__all__ = ["AcknowledgedMethods", "claim_messages"]

log = logging.getLogger("headrace.layer")
_complaints = LogLimit()


class _Claimer(Protocol):
    """What is needed of a layer to claim."""

    @property
    def plan(self) -> Plan: ...
    def run(self, commands: Sequence[RedisCommand]) -> list[Any]: ...


class _AcknowledgedLayer(_Claimer, Protocol):
    """What is needed of a layer besides."""

    places: Places

    def ask(self, command: RedisCommand) -> Any: ...


def claim_messages(layer: _Claimer, place: str, channel: str, count: int) -> list[Delivery]:
    """Claim up to `count` messages of a channel whose bells were taken; fewer if others were there before.

    One round trip. Never raises: what is not claimed, or whose claim nobody heard of, is tried by somebody
    some seconds later.
    """
    plan, claimed = layer.plan, []
    starts = range(0, count, ENTRIES_PER_COMMAND)
    parts = [min(ENTRIES_PER_COMMAND, count - start) for start in starts]
    for answer in layer.run([plan.acknowledged.claim(place, channel, part) for part in parts]):
        if isinstance(answer, HeadraceError):
            _complain(channel, answer)
        else:
            claimed += answer
    now, deliveries, refused = time.monotonic(), [], []
    for claim, raw in claimed:
        try:
            message = unpack_message(plan.codec.decode(raw, channel).payload)
        except UnreadableEntry as error:
            # Another process may be able to: it is tried there, or laid aside in the end.
            _complain(channel, error)
            refused.append(plan.acknowledged.fail(place, channel, claim, str(error)))
        else:
            deliveries.append(Delivery(channel, message, raw, 0, place, now, claim=claim))
    if refused:
        layer.run(refused)
    return deliveries


def _complain(channel: str, error: HeadraceError) -> None:
    left_out = _complaints.ask(channel)
    if left_out is not None:
        log.error(
            "A message of %s was not claimed, and will be later: %s%s",
            channel,
            error,
            left_out_note(left_out),
        )


class AcknowledgedMethods:
    """The methods of a Redis layer about acknowledged channels."""

    def is_acknowledged(self: _AcknowledgedLayer, channel: str) -> bool:
        """Whether the messages of a channel are kept until they are acknowledged. Does not block."""
        return self.plan.acknowledged.channels.has(channel)

    def rouse(self: _AcknowledgedLayer, channels: Iterable[str] = ()) -> None:
        """Have others look for what a dead worker was about to take or move. A round trip for each place."""
        acknowledged = self.plan.acknowledged
        listed = [channel for channel in channels if acknowledged.channels.has(channel)]
        for place in self.places.names:
            self.ask(acknowledged.ring(place, listed, movers=True))

    def dead_letters(self: _AcknowledgedLayer, channel: str, limit: int = 100) -> list[DeadLetter]:
        """Messages that nobody tries any more. Two round trips for each place."""
        names.require_channel_name(channel)
        found: list[DeadLetter] = []
        for place in self.places.names:
            ids = self.ask(self.plan.acknowledged.dead_ids(place, channel, max(limit - len(found), 1)))
            if ids and len(found) < limit:
                found += _details(self, place, channel, ids)
        return found

    def replay(self: _AcknowledgedLayer, channel: str, message_ids: Iterable[str] | None = None) -> int:
        """Put dead letters back on their channel; how many there were."""
        return sum(
            self.ask(self.plan.acknowledged.replay(place, channel, ids))
            for place, ids in _chosen(self, channel, message_ids)
        )

    def drop_dead_letters(
        self: _AcknowledgedLayer, channel: str, message_ids: Iterable[str] | None = None
    ) -> int:
        """Remove dead letters; how many there were."""
        return sum(
            self.ask(self.plan.acknowledged.drop(place, channel, ids))
            for place, ids in _chosen(self, channel, message_ids)
        )


def _details(layer: _AcknowledgedLayer, place: str, channel: str, ids: Sequence[str]) -> list[DeadLetter]:
    answers = layer.run(layer.plan.acknowledged.dead_details(place, ids))
    for answer in answers:
        if isinstance(answer, HeadraceError):
            raise answer
    letters = []
    for message_id, value, claimed, why in zip(ids, *answers, strict=True):
        try:
            message = unpack_message(layer.plan.codec.decode(entry_of(value or b""), channel).payload)
        except UnreadableEntry:
            message = {}
        letters.append(DeadLetter(message_id, channel, message, tries_of(number(claimed)), text(why or b"")))
    return letters


def _chosen(
    layer: _AcknowledgedLayer, channel: str, message_ids: Iterable[str] | None
) -> list[tuple[str, list[str]]]:
    """The dead letters that are meant, by place, in parts that one script carries out."""
    names.require_channel_name(channel)
    wanted = None if message_ids is None else set(message_ids)
    parts = []
    for place in layer.places.names:
        ids = layer.ask(layer.plan.acknowledged.dead_ids(place, channel, 0))
        meant = [one for one in ids if wanted is None or one in wanted]
        starts = range(0, len(meant), ENTRIES_PER_COMMAND)
        parts += [(place, meant[start : start + ENTRIES_PER_COMMAND]) for start in starts]
    return parts
