"""Taking messages out of queues: from one that was served longest ago, and waiting where all are empty.

A message that is taken is gone from its queue, as with every layer: it runs at most once. Who waits hears of
one message of each queue at the same moment, and gives back what it does not take.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace_asgi.envelope import Entry, Message, decode, encode, require_place_on, unpack_message
from headrace_asgi.errors import LayerUnavailable, UnreadableEntry
from headrace_asgi.log_limit import LogLimit, left_out_note
from headrace_asgi.names import non_local_name

from .declared import DeclaredQueues
from .faults import MISSING, ChannelRefused
from .link import AmqpChannel, AmqpLink, GotMessage
from .members import ProcessMembers
from .topology import Topology

__all__ = ["GROUP_HEADER", "Bell", "MessageReader", "ReadMessage", "TakingLine"]

log = logging.getLogger("headrace.layer")

#: Seconds for which a queue that had something is likely to have more.
_BUSY_SECONDS = 0.5
#: Seconds between two looks at what other processes gave back, and at notes that no message made us read.
_LOOK_BACK_SECONDS = 1.0
#: Names of which a taker knows when it was served; those of single-reader channels are unlimited.
_MOST_SERVED = 10_000
#: The header that says of which group a message is.
GROUP_HEADER = "headrace-group"


@dataclass(slots=True)
class ReadMessage:
    """A message that was taken; `raw` is its entry as it would be put back."""

    channel: str
    message: Message
    raw: bytes
    retries: int
    lives_ms: int | None


class Bell:
    """Ends a wait, from any thread and from a signal handler."""

    def __init__(self) -> None:
        self.is_rung = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    def ring(self) -> None:
        """End the wait of now, or the next one."""
        self.is_rung = True
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._pass_on)

    def _pass_on(self) -> None:
        if self._event is not None:
            self._event.set()

    def begin(self) -> asyncio.Event:
        """The event of one wait, in the event loop's thread."""
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        # Looked at behind that: who rings now sees the loop, or was seen here.
        if self.is_rung:
            self._event.set()
        return self._event


class TakingLine:
    """The channel on which one taker asks for messages, and which queues it was served by."""

    def __init__(self, link: AmqpLink) -> None:
        self._link = link
        self._channel: AmqpChannel | None = None
        #: When each name was last served.
        self._served: dict[str, float] = {}
        #: Whether nothing was taken since all queues were heard at once: then the others are empty.
        self._heard_all = False
        #: When to look again at what is rarely there.
        self.look_back_at = 0.0

    def in_turn(self, names: Sequence[str]) -> list[str]:
        """The names, the one served longest ago first: to look at them in this order hides none."""
        return sorted(names, key=lambda name: self._served.get(name, 0.0))

    def worth_a_look(self, names: Sequence[str]) -> list[str]:
        """Those to look at before a wait, in turn: a look at an empty queue is a round trip for nothing."""
        return self.busy(self.in_turn(names)) if self._heard_all else self.in_turn(names)

    def busy(self, names: Sequence[str]) -> list[str]:
        """Those of the names that were served just now."""
        since = time.monotonic() - _BUSY_SECONDS
        return [name for name in names if self._served.get(name, 0.0) >= since]

    def served(self, name: str) -> None:
        """Something came of it."""
        self._remember(name)
        self._heard_all = False

    def heard(self, names: Sequence[str]) -> None:
        """Something came of these while all were heard."""
        for name in names:
            self._remember(name)

    def _remember(self, name: str) -> None:
        if len(self._served) >= _MOST_SERVED:
            self._served.clear()
        self._served[name] = time.monotonic()

    async def get(self, queues: Sequence[str], limit: int) -> list[GotMessage]:
        """Up to `limit` messages of these queues, in this order, without waiting. Raises LayerUnavailable."""
        if self._channel is None or not self._channel.is_open:
            self._channel = await self._link.channel()
        channel = self._channel
        found: list[GotMessage] = []
        try:
            for queue in queues:
                while len(found) < limit and (got := await channel.get(queue)) is not None:
                    found.append(got)
        except LayerUnavailable:
            if not found:
                raise
        except BaseException:  # an answer is under way that the next question must not meet
            self._channel = None
            raise
        return found

    async def wait(
        self, queues: Sequence[str], limit: int, seconds: float, bell: asyncio.Event
    ) -> list[tuple[str, GotMessage]]:
        """Wait for messages, each with its queue; none after `seconds`, or when the bell rings."""
        channel = await self._link.channel()
        heard: list[tuple[str, GotMessage]] = []

        def hear_of(queue: str) -> Callable[[GotMessage], None]:
            def hear(got: GotMessage) -> None:
                heard.append((queue, got))
                bell.set()

            return hear

        def cancelled(frame: object) -> None:
            bell.set()

        try:
            await channel.ask("basic_qos", prefetch_count=1)
            channel.call("add_on_cancel_callback", cancelled)
            channel.on_end = cancelled
            for queue in queues:
                if bell.is_set():
                    break
                await channel.consume(queue, hear_of(queue))
            else:
                self._heard_all = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), seconds)
            taken = heard[:limit]
            for _, got in taken:
                channel.acknowledge(got.delivery_tag)
        finally:
            await channel.close()
        return taken

    async def close(self) -> None:
        """End the channel."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()


class MessageReader:
    """Takes for everybody in this process, and passes the messages of groups on to their members here."""

    def __init__(
        self, link: AmqpLink, topology: Topology, declared: DeclaredQueues, members: ProcessMembers
    ) -> None:
        self._link = link
        self._topology = topology
        self._declared = declared
        self._members = members
        #: Copies for members of a process that did not fit into an answer, by process queue.
        self._copies: dict[str, deque[ReadMessage]] = {}
        #: Channels in whose second queue something may lie, and until when that is likely.
        self._given_back: dict[str, float] = {}
        self._notes = TakingLine(link)
        self._one_at_a_time = asyncio.Lock()
        self._complaints = LogLimit()

    def new_line(self) -> TakingLine:
        """A channel for one taker."""
        return TakingLine(self._link)

    async def take(
        self, line: TakingLine, channels: Sequence[str], limit: int, seconds: float, bell: Bell
    ) -> list[ReadMessage]:
        """Take up to `limit` messages, waiting up to `seconds` for the first. Raises LayerUnavailable."""
        deadline = time.monotonic() + seconds
        again = True
        while True:
            try:
                found = await self._take_now(line, channels, limit, seconds > 0 and not bell.is_rung)
                left = deadline - time.monotonic()
                if found or left <= 0 or bell.is_rung:
                    return found
                found = await self._wait(line, channels, limit, left, bell)
                if found:
                    return found
            except ChannelRefused as refusal:
                if refusal.code != MISSING or not again:
                    raise
                again = False
                self._declared.forget_all()

    async def _take_now(
        self, line: TakingLine, channels: Sequence[str], limit: int, waits: bool
    ) -> list[ReadMessage]:
        """What is there. Who `waits` hears at once of what lies in queues that were empty just now."""
        for channel in channels:
            if channel in self._copies:
                return self._copied(channel, limit)
        if time.monotonic() >= line.look_back_at:
            await self._look_back(line, channels)
        for channel in line.worth_a_look(channels) if waits else line.in_turn(channels):
            queues = await self._queues(channel)
            while got := await line.get(queues, limit):
                line.served(channel)
                found = [one for each in got for one in await self._read(channel, each)]
                if found:
                    return self._up_to(limit, found)
        return []

    async def _look_back(self, line: TakingLine, channels: Sequence[str]) -> None:
        """See in which of these channels something was given back; read what notes there are."""
        line.look_back_at = time.monotonic() + _LOOK_BACK_SECONDS
        for channel in channels:
            queue = self._topology.given_back(channel)
            await self._declared.need(queue)
            if await self._declared.count(queue):
                self.gave_back(channel)
                line.served(channel)
            if channel.endswith("!"):
                await self._hear_notes(channel)

    def gave_back(self, channel: str) -> None:
        """Something of this channel was given back: it is looked for first, for a while."""
        self._given_back[non_local_name(channel)] = time.monotonic() + 2 * _LOOK_BACK_SECONDS

    async def _wait(
        self, line: TakingLine, channels: Sequence[str], limit: int, seconds: float, bell: Bell
    ) -> list[ReadMessage]:
        names = {name: channel for channel in line.in_turn(channels) for name in await self._queues(channel)}
        seconds = min(seconds, max(0.0, line.look_back_at - time.monotonic()))
        found = []
        heard = await line.wait(list(names), limit, seconds, bell.begin())
        for queue, got in heard:
            found += await self._read(names[queue], got)
        line.heard([names[queue] for queue, _ in heard])
        return self._up_to(limit, found)

    async def _queues(self, channel: str) -> list[str]:
        """Names of the queues of a channel, which are there: first that of what was given back, if any."""
        queue = self._topology.channel(channel)
        await self._declared.need(queue)
        until = self._given_back.get(channel)
        if until is None:
            return [queue.name]
        if until < time.monotonic():
            del self._given_back[channel]
        before = self._topology.given_back(channel)
        await self._declared.need(before)
        return [before.name, queue.name]

    def _copied(self, channel: str, limit: int) -> list[ReadMessage]:
        waiting = self._copies[channel]
        found = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        if not waiting:
            del self._copies[channel]
        return found

    def _up_to(self, limit: int, found: list[ReadMessage]) -> list[ReadMessage]:
        for one in found[limit:]:
            self._copies.setdefault(non_local_name(one.channel), deque()).append(one)
        return found[:limit]

    async def _read(self, channel: str, got: GotMessage) -> list[ReadMessage]:
        """The messages of an entry: one, or one for each member of its group in this process."""
        try:
            entry = decode(got.body)
            message = unpack_message(entry.payload)
            require_place_on(channel, entry, message)
            if entry.control:
                raise UnreadableEntry("a note between processes lies where messages are")
        except UnreadableEntry as error:
            self._unreadable(channel, error)
            return []
        group = got.headers.get(GROUP_HEADER)
        if channel.endswith("!") and isinstance(group, str):
            return await self._copies_for(channel, group, entry, got)
        return [ReadMessage(entry.channel or channel, message, got.body, entry.retries, got.lives_ms)]

    async def _copies_for(self, process: str, group: str, entry: Entry, got: GotMessage) -> list[ReadMessage]:
        await self._hear_notes(process)
        payload = bytes(entry.payload)
        return [
            ReadMessage(member, unpack_message(payload), encode(payload, channel=member), 0, got.lives_ms)
            for member in self._members.of(process, group, time.monotonic())
        ]

    async def _hear_notes(self, process: str) -> None:
        """Read the notes to this process to their end."""
        queue = self._topology.notes(process)
        async with self._one_at_a_time:
            await self._declared.need(queue)
            try:
                while got := await self._notes.get([queue.name], 100):
                    for each in got:
                        self._hear_note(process, each)
            except ChannelRefused as refusal:
                if refusal.code != MISSING:
                    raise
                self._declared.forget(queue.name)

    def _hear_note(self, process: str, got: GotMessage) -> None:
        try:
            self._members.heard(process, unpack_message(got.body), time.monotonic())
        except UnreadableEntry as error:
            self._unreadable(process, error)

    def _unreadable(self, channel: str, error: UnreadableEntry) -> None:
        left_out = self._complaints.ask(channel)
        if left_out is not None:
            log.error("Dropped what lay in %s: %s%s", channel, error, left_out_note(left_out))
