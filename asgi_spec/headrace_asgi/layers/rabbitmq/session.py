"""What one process does at the broker, as coroutines of one event loop.

Over one connection it publishes, over the other it declares and takes: a broker that is low on memory or disk
stops reading what publishers write, and what waits in it must be taken all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message, encode, pack_message
from headrace_asgi.errors import LayerUnavailable, OutcomeUnknown
from headrace_asgi.limits import TAKERS_REMEMBERED_SECONDS
from headrace_asgi.names import is_channel_name, non_local_name

from .address import BrokerAddress
from .declared import DeclaredQueues
from .link import AmqpLink
from .members import ProcessMembers, membership_note
from .publisher import ConfirmedPublisher, Publication
from .reader import GROUP_HEADER, MessageReader
from .records import RecordQueue
from .topology import QueueDeclaration, Topology, milliseconds

__all__ = ["BrokerSession"]


class BrokerSession:
    """Both connections of one process, and all that goes over them."""

    def __init__(
        self, address: BrokerAddress, topology: Topology, expiry_seconds: float, group_expiry_seconds: float
    ) -> None:
        self._topology = topology
        self._expiry_ms = milliseconds(expiry_seconds)
        self._group_expiry_ms = milliseconds(group_expiry_seconds)
        self._publishing = AmqpLink(address)
        self._taking = AmqpLink(address)
        self._members = ProcessMembers(group_expiry_seconds)
        self._publisher = ConfirmedPublisher(self._publishing)
        self._declared = DeclaredQueues(self._taking, topology.groups, self._groups_of)
        self._takers = self._records(topology.takers())
        self.reader = MessageReader(self._taking, topology, self._declared, self._members)

    def _records(self, queue: QueueDeclaration) -> RecordQueue:
        return RecordQueue(queue, self._taking, self._declared, self._publisher)

    def _groups_of(self, queue: str) -> Iterable[str]:
        """The groups in which a process that reads here has members: their bindings went with its queue."""
        if not queue.endswith("!"):
            return ()
        process = queue.rpartition(":")[2]
        return self._members.groups(process) if self._topology.channel(process).name == queue else ()

    async def connect(self) -> None:
        """Connect both ways and see that we may declare. Raises LayerUnavailable, LayerRefused."""
        await self._publisher.connect()
        await self._declared.connect()

    # Messages

    async def send(
        self, messages: Sequence[tuple[str, bytes]], seconds: Sequence[float | None] = ()
    ) -> list[Outcome]:
        """Send packed messages in order, each with its own expiry if `seconds` has one; one Outcome each.

        Raises LayerUnavailable if nothing was sent.
        """
        out = []
        for index, (channel, payload) in enumerate(messages):
            own = seconds[index] if seconds else None
            entry = encode(payload, channel=channel if "!" in channel else None)
            lives_ms = self._expiry_ms if own is None else min(self._expiry_ms, milliseconds(own))
            out.append((self._topology.channel(channel), entry, lives_ms))
        return await self._publish(out)

    async def _publish(self, out: Sequence[tuple[QueueDeclaration, bytes, int]]) -> list[Outcome]:
        queues = [queue for queue, _, _ in out]
        await self._declared.need(*queues)
        messages = [Publication(queue.name, entry, lives_ms) for queue, entry, lives_ms in out]
        outcomes = await self._publisher.publish(messages)
        gone = [index for index, outcome in enumerate(outcomes) if outcome is Outcome.GONE]
        if gone:
            # Nobody had used the queue for so long that the broker removed it.
            for index in gone:
                self._declared.forget(queues[index].name)
            try:
                await self._declared.need(*(queues[index] for index in gone))
                again = await self._publisher.publish([messages[index] for index in gone])
            except LayerUnavailable:
                if len(gone) == len(outcomes):
                    raise
                # An error would say that nothing was sent.
                again = [Outcome.UNAVAILABLE] * len(gone)
            for index, outcome in zip(gone, again, strict=True):
                outcomes[index] = outcome
        return outcomes

    async def put_back(self, entries: Sequence[tuple[str, bytes, int | None]]) -> None:
        """Put entries that were taken back before all that waits in their channels, in their order.

        Raises LayerUnavailable if none of them is back, OutcomeUnknown if some may be.
        """
        out = []
        for channel, entry, lives_ms in entries:
            self.reader.gave_back(channel)
            out.append((self._topology.given_back(channel), entry, lives_ms or self._expiry_ms))
        outcomes = await self._publish(out)
        refused = [outcome for outcome in outcomes if not outcome.accepted]
        if not refused:
            return
        if len(refused) < len(outcomes) or Outcome.UNKNOWN in refused:
            raise OutcomeUnknown(f"{len(refused)} of {len(outcomes)} were perhaps not given back")
        raise LayerUnavailable("the connection to RabbitMQ broke, or it takes nothing at present")

    async def put_behind(self, channel: str, entry: bytes, lives_ms: int | None) -> bool:
        """Put an entry that was taken at the tail of its channel; False if that is full.

        Raises LayerUnavailable and OutcomeUnknown.
        """
        return await self._put(self._topology.channel(channel), entry, lives_ms)

    async def _put(self, queue: QueueDeclaration, entry: bytes, lives_ms: int | None) -> bool:
        (outcome,) = await self._publish([(queue, entry, lives_ms or self._expiry_ms)])
        if outcome is Outcome.UNKNOWN:
            raise OutcomeUnknown("the connection broke before RabbitMQ answered")
        if not outcome.accepted and outcome is not Outcome.FULL:
            raise LayerUnavailable("the connection to RabbitMQ broke")
        return outcome.accepted

    async def waiting(self, channel: str) -> int:
        """How many messages wait in a channel."""
        queues = self._topology.channel(channel), self._topology.given_back(channel)
        await self._declared.need(*queues)
        return sum([await self._declared.count(queue) for queue in queues])

    # Groups

    async def join(self, group: str, channel: str) -> None:
        """Make a channel a member: from then on it gets what is sent to the group."""
        queue = self._topology.channel(channel)
        await self._declared.need(queue)
        if "!" in channel:
            await self._declared.need(self._topology.notes(non_local_name(channel)))
            await self._declared.bind(queue.name, group)
            await self._note(group, channel, True)
        else:
            membership = self._topology.membership(group, channel)
            await self._declared.renew(membership)
            await self._declared.bind(membership.name, group)
        said = membership_note(group, channel, True)
        await self._records(self._topology.members(group)).add(channel, said, self._group_expiry_ms)

    async def leave(self, group: str, channel: str) -> None:
        """End a membership, if there is one."""
        if "!" in channel:
            await self._note(group, channel, False)
        else:
            await self._declared.delete(self._topology.membership(group, channel).name)
        said = membership_note(group, channel, False)
        await self._records(self._topology.members(group)).add_if_any(channel, said, self._group_expiry_ms)

    async def _note(self, group: str, channel: str, joins: bool) -> None:
        """Tell the reader of a process queue; one that nobody ever told anything has nothing to forget."""
        queue = self._topology.notes(non_local_name(channel))
        note = pack_message(membership_note(group, channel, joins))
        one = Publication(queue.name, note, self._group_expiry_ms, persistent=True)
        (outcome,) = await self._publisher.publish([one])
        if outcome is Outcome.UNKNOWN:
            raise OutcomeUnknown("the connection broke before RabbitMQ answered")
        if outcome is not Outcome.SENT and joins:
            raise LayerUnavailable("RabbitMQ takes nothing at present: see its memory and its disk")

    async def send_group(self, messages: Sequence[tuple[str, bytes]]) -> list[Outcome]:
        """Send packed messages to groups. FULL says that some member had no room, which is no error."""
        await self._declared.connect()
        return await self._publisher.publish(
            [
                Publication(
                    group,
                    encode(payload),
                    self._expiry_ms,
                    exchange=self._topology.groups,
                    headers={GROUP_HEADER: group},
                )
                for group, payload in messages
            ]
        )

    async def members(self, group: str) -> list[str]:
        """Full names of the members of a group."""
        said = await self._records(self._topology.members(group)).read()
        joined = [one.get("channel") for one in said if one.get("joins") is True]
        return [name for name in joined if isinstance(name, str) and is_channel_name(name)]

    # What workers take

    async def announce(self, channels: Sequence[str]) -> None:
        """Say that a worker takes these channels, now."""
        said: Message = {"channels": sorted(channels), "at": time.time()}
        key = ",".join(sorted(channels))
        await self._takers.add(key, said, milliseconds(TAKERS_REMEMBERED_SECONDS))

    async def takers(self) -> dict[str, float]:
        """The channels that were announced, with the seconds since then by the clocks of both machines."""
        now = time.time()
        ago: dict[str, float] = {}
        for said in await self._takers.read():
            channels, at = said.get("channels"), said.get("at")
            if not isinstance(channels, list) or not isinstance(at, float):
                continue  # something else wrote it
            passed = max(0.0, now - at)
            for channel in channels:
                if isinstance(channel, str):
                    ago[channel] = min(passed, ago.get(channel, passed))
        return ago

    async def close(self) -> None:
        """End both connections."""
        await asyncio.gather(self._publishing.close(), self._taking.close())
