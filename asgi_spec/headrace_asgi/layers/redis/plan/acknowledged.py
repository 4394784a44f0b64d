"""Acknowledged channels: a message waits beside its channel until a worker has said that it is done. Pure.

The channel's list holds bells, one for each message that waits, so that one take serves all channels; who
takes bells claims as many messages. See docs/protocol.md, section 10. Keys, behind the tag of their place:

    r:<channel>   list    ids of the messages that wait       x:<channel>   list  ids of the dead letters
    tries         hash    id -> how often it was claimed      why           hash  id -> why it failed last
    fin:<id>      string  this message was done               due, body     see `later`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace_asgi.acknowledgement import (
    CLAIM_LEASE_SECONDS,
    EXPIRED_REASON,
    LAPSED_REASON,
    REMEMBERED_SECONDS,
    AcknowledgedChannels,
    Claim,
    retry_seconds,
)
from headrace_asgi.contract import Outcome
from headrace_asgi.control import BELL, note
from headrace_asgi.envelope import pack_message
from headrace_asgi.later import DUE_CHANNEL, new_message_id

from .command import (
    Argument,
    Parts,
    RedisCommand,
    Scripted,
    as_is,
    first_outcome,
    names,
    outcomes_or_none,
    text,
)

__all__ = ["AcknowledgedPlan", "entry_of"]

_BELL = pack_message(note(BELL))
_LEASE_MS = int(CLAIM_LEASE_SECONDS * 1000)
_REMEMBERED_MS = int(REMEMBERED_SECONDS * 1000)
#: Characters of a reason that are kept of a message that failed.
_REASON_LENGTH = 500


class AcknowledgedPlan:
    """Builds the commands about acknowledged channels of one layer."""

    def __init__(
        self, plan: Parts, scripted: Scripted, channels: AcknowledgedChannels, attempts: int
    ) -> None:
        """Take the whole plan, and how often a message of `channels` is tried."""
        self._plan = plan
        self._scripted = scripted
        self.channels = channels
        self.attempts = attempts
        self._bells: dict[str, bytes] = {}

    def bell(self, channel: str) -> bytes:
        """The entry that has somebody look who takes from a channel."""
        bell = self._bells.get(channel)
        if bell is None:
            bell = self._bells[channel] = self._plan.codec.encode(_BELL, control=True, queue=channel)
        return bell

    def waiting_key(self, place: str, channel: str) -> str:
        """Where the messages of a channel wait, if it is acknowledged; else nothing."""
        return self._plan.key(place, "r", channel) if self.channels and self.channels.has(channel) else ""

    def fin_key(self, place: str, message_id: str) -> str:
        """The mark of a message that was done."""
        return self._plan.key(place, "fin", message_id)

    def send(
        self, place: str, channel: str, entries: Sequence[bytes], ids: Sequence[str] = ()
    ) -> RedisCommand:
        """Put entries on a channel; one Outcome each. Each has an id, so that this may be repeated.

        One that has none, or an empty one, gets an id here.
        """
        key = self._plan.key
        ids = [one or new_message_id(place) for one in ids or [""] * len(entries)]
        keys = (key(place, "r", channel), key(place, "c", channel), key(place, "body"), key(place, "n"))
        args: list[Argument] = [self._plan.capacities.of(channel), channel, self.bell(channel)]
        for message_id, entry in zip(ids, entries, strict=True):
            args += (message_id, channel.encode() + b" " + entry)

        def read(accepted: Any) -> list[Outcome]:
            return [Outcome.SENT] * accepted + [Outcome.FULL] * (len(entries) - accepted)

        fins = [self.fin_key(place, one) for one in ids]
        return self._scripted("ack_send", place, (*keys, *fins), args, read, repeat=True)

    # What workers say

    def claim(self, place: str, channel: str, count: int) -> RedisCommand:
        """Claim up to `count` messages, at most a thousand; the answer is a list of (Claim, entry)."""
        key = self._plan.key
        keys = (
            key(place, "r", channel), key(place, "x", channel), key(place, "due"), key(place, "body"),
            key(place, "tries"), key(place, "why"), key(place, "n"),
        )  # fmt: skip

        def read(answer: Any) -> list[tuple[Claim, bytes]]:
            return [
                (Claim(text(message_id), number), entry_of(value))
                for message_id, number, value in zip(*[iter(answer)] * 3, strict=True)
            ]

        return self._scripted("ack_claim", place, keys, (count, _LEASE_MS, channel, EXPIRED_REASON), read)

    def renew(self, place: str, claim: Claim) -> RedisCommand:
        """Keep a message that runs long, or learn that it is STALE."""
        keys = (self._plan.key(place, "due"), self._plan.key(place, "tries"))
        return self._scripted("ack_renew", place, keys, (*claim, _LEASE_MS), repeat=True)

    def finish(self, place: str, channel: str, claim: Claim) -> RedisCommand:
        """A message is done."""
        command = self.finish_several(place, channel, [claim])
        command.read = first_outcome
        return command

    def finish_several(self, place: str, channel: str, claims: Sequence[Claim]) -> RedisCommand:
        """Messages of a channel are done; one Outcome each."""
        key = self._plan.key
        keys = (
            key(place, "due"), key(place, "body"), key(place, "tries"), key(place, "why"),
            key(place, "r", channel), key(place, "c", channel), key(place, "n"),
            *[self.fin_key(place, claim.id) for claim in claims],
        )  # fmt: skip
        args: list[Argument] = [_REMEMBERED_MS, self.bell(channel), channel]
        for claim in claims:
            args += claim
        return self._scripted("ack_finish", place, keys, args, outcomes_or_none, repeat=True)

    def fail(self, place: str, channel: str, claim: Claim, reason: str) -> RedisCommand:
        """A try of a message failed: it is tried again after a pause, or laid aside."""
        key = self._plan.key
        keys = (
            key(place, "due"), key(place, "tries"), key(place, "why"), key(place, "x", channel),
            key(place, "r", channel), key(place, "c", channel), key(place, "c", DUE_CHANNEL), key(place, "n"),
        )  # fmt: skip
        pause_ms = int(retry_seconds(claim.attempt) * 1000)
        why = reason[:_REASON_LENGTH].encode(errors="replace")
        bells = (self.bell(channel), self.bell(DUE_CHANNEL))
        args = (*claim, self.attempts, pause_ms, why, *bells, channel)
        return self._scripted("ack_fail", place, keys, args, repeat=True)

    def release(self, place: str, channel: str, claim: Claim) -> RedisCommand:
        """Put a message that was not started back at the head of its channel."""
        key = self._plan.key
        keys = (key(place, "due"), key(place, "tries"), key(place, "r", channel), key(place, "c", channel))
        return self._scripted("ack_release", place, keys, (*claim, self.bell(channel)))

    # Upkeep

    def ring(self, place: str, channels: Sequence[str], movers: bool = False) -> RedisCommand:
        """See to it that takers of these channels hear of what waits; with `movers`, have one look too."""
        key = self._plan.key
        keys = [key(place, "c", DUE_CHANNEL)]
        args: list[Argument] = [self.bell(DUE_CHANNEL) if movers else ""]
        for channel in channels:
            keys += (key(place, "r", channel), key(place, "c", channel))
            args.append(self.bell(channel))
        return self._scripted("ack_ring", place, keys, args, as_is, repeat=True)

    # Dead letters

    def dead_ids(self, place: str, channel: str, limit: int) -> RedisCommand:
        """The ids of the first `limit` dead letters; of all for 0."""
        args = (b"LRANGE", self._plan.key(place, "x", channel), 0, limit - 1)
        return RedisCommand(place, args, names, repeat=True)

    def dead_details(self, place: str, ids: Sequence[str]) -> list[RedisCommand]:
        """Of dead letters: channels with a blank and the entries, numbers of their last claims, reasons."""
        hashes = (
            self._plan.key(place, "body"),
            self._plan.key(place, "tries"),
            self._plan.key(place, "why"),
        )
        return [RedisCommand(place, (b"HMGET", one, *ids), as_is, repeat=True) for one in hashes]

    def replay(self, place: str, channel: str, ids: Sequence[str]) -> RedisCommand:
        """Put dead letters back on their channel; the answer is how many there were."""
        key = self._plan.key
        keys = (
            key(place, "x", channel), key(place, "r", channel), key(place, "c", channel),
            key(place, "tries"), key(place, "why"), key(place, "n"),
        )  # fmt: skip
        return self._scripted("dead_replay", place, keys, (self.bell(channel), channel, *ids), as_is)

    def drop(self, place: str, channel: str, ids: Sequence[str]) -> RedisCommand:
        """Remove dead letters; the answer is how many there were."""
        key = self._plan.key
        keys = (key(place, "x", channel), key(place, "body"), key(place, "tries"), key(place, "why"))
        return self._scripted("dead_drop", place, keys, tuple(ids), as_is)

    def moving(self) -> tuple[Argument, ...]:
        """What a mover has to know of messages whose lease ended: how often they are tried, and why not."""
        return self.attempts, LAPSED_REASON


def entry_of(value: bytes) -> bytes:
    """The entry behind the name of its queue, as `body` holds both; empty if something else wrote it."""
    return value.partition(b" ")[2]
