"""A worker thread's way to Redis: replies, finishes and the next take in one write, then one wait."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, assert_never

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
from headrace_asgi.envelope import pack_message
from headrace_asgi.errors import ChannelFull, HeadraceError, KeySpoilt, LayerUnavailable
from headrace_asgi.log_limit import LogLimit, left_out_note
from headrace_asgi.names import is_process_queue, non_local_name, require_channel_name, require_group_name

from ..plan.command import RedisCommand, as_is
from ..plan.outcomes import Reaction, refusal_of
from ..plan.outgoing import Outgoing, group_copies, message_entry, outcomes_of
from ..plan.places import Places
from ..plan.plan import Plan
from ..plan.resp import NOTHING, ReplyError, pack
from .connection import ConnectionBroken
from .executor import RedisExecutor
from .reader import ChannelReader
from .silence import ANSWER_SECONDS, SilenceTimeout, hangs

__all__ = ["RedisWorkerPort"]

log = logging.getLogger("headrace.layer")

#: A blocked take is asked anew so often: a connection that broke unheard is noticed.
LONGEST_TAKE_SECONDS = 30.0
#: Seconds after its take that an ordered delivery must ask before it starts (docs/protocol.md, section 7).
LATE_SECONDS = 15.0
#: Pause between two tries to end a take that Redis has not begun yet.
UNBLOCK_PAUSE_SECONDS = 0.005
#: Looked up once: for an enumeration's member that costs as much as the comparison.
SENT = Outcome.SENT
_TIME = pack((b"TIME",))


class Layer(Protocol):
    """What a port needs of its layer."""

    places: Places
    plan: Plan
    max_message_bytes: int

    def executor(self, place: str) -> RedisExecutor: ...
    def expiry_ms(self, place: str, seconds: float | None = None) -> int: ...
    def ask(self, command: RedisCommand) -> Any: ...
    def run(self, commands: Sequence[RedisCommand]) -> list[Any]: ...
    def fates(self, processes: Iterable[str]) -> dict[str, Outcome]: ...


class RedisWorkerPort(WorkerPort):
    """See the module. Not thread-safe, except `wake` and `renew`.

    The connection that waits is this port's own; everything that cannot ride in its write, such as ending its
    wait, goes over the layer's pool.
    """

    def __init__(self, layer: Layer, on_refused: RefusedHandler) -> None:
        """Connect. Raises LayerUnavailable; LayerRefused, if this Redis cannot serve us as it is set up."""
        self._layer = layer
        self._on_refused = on_refused
        self._place = layer.places.home
        self._executor = layer.executor(self._place)
        self._reader = ChannelReader(layer.plan, self._place, self._executor)
        self._owed: list[RedisCommand] = []
        #: Group messages of this turn whose group cannot be read.
        self._unsaid: list[tuple[Out, Outcome]] = []
        self._complaints = LogLimit()
        self._silence = SilenceTimeout(lambda: hangs(self._executor.address.address), self._has_to_end)
        self._woken = False
        self._may_unblock = True
        self._connection = self._executor.new_connection()
        self._executor.open(self._connection)
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._poll = self._new_poll()

    @property
    def counters(self) -> Counter[str]:
        """Entries by "<channel>|taken", "…|expired" and "…|unreadable"."""
        return self._reader.counters

    def turn(
        self, out: Sequence[Out], channels: Sequence[str], limit: int, block_seconds: float
    ) -> list[Delivery]:
        """Write `out` and a take at once, and wait.

        Raises TypeError or MessageTooLarge, before anything is written, for what cannot be packed;
        LayerUnavailable if nothing of `out` was executed, OutcomeUnknown if some of it may have been.
        """
        self._unsaid.clear()
        self._silence.begin()
        commands = self._commands(out) if out else []
        if not self._connection.is_open or (commands and self._connection.lost_its_peer()):
            self._reopen()
        if not channels:
            if commands or self._owed:
                self._say(commands, b"")
            else:
                self._heard((), [])
            return []
        return self._take(commands, channels, limit, block_seconds)

    def _reopen(self) -> None:
        self._connection.close()
        self._executor.open(self._connection)
        self._poll = self._new_poll()

    def _new_poll(self) -> select.poll:
        poll = select.poll()
        poll.register(self._connection.fileno(), select.POLLIN)
        poll.register(self._wake_in, select.POLLIN)
        return poll

    # Writing

    def _commands(self, out: Sequence[Out]) -> list[tuple[RedisCommand, list[Out]]]:
        """The commands for `out`, messages by queue before finishes; each with the items it is for."""
        plan, outgoing = self._layer.plan, Outgoing[Out](self._layer.plan)
        codec = plan.codec
        expiry_ms = self._layer.expiry_ms(self._place)
        finishes: list[tuple[RedisCommand, list[Out]]] = []
        groups = [item.group for item in out if isinstance(item, SendGroup)]
        members = self._members(groups) if groups else {}
        for item in out:
            if isinstance(item, Send):
                channel = require_channel_name(item.channel)
                if item.expiry_seconds is None:
                    at_ms = expiry_ms
                else:
                    at_ms = self._layer.expiry_ms(self._place, item.expiry_seconds)
                outgoing.add(channel, message_entry(codec.encode, channel, item.packed, at_ms), item)
            elif isinstance(item, Finish):
                command = plan.finish(item.reply_channel, item.order, item.place, item.drain)
                finishes.append((command, [item]))
            elif isinstance(item, Control):
                if is_process_queue(item.reply_channel):  # a foreign server understands no notes
                    name = item.reply_channel
                    entry = codec.encode(pack_message(item.body), channel=name, control=True, queue=name)
                    outgoing.add(name, entry, item, is_control=True)
            elif isinstance(item, SendGroup):
                who = members[item.group]
                if isinstance(who, Outcome):
                    self._unsaid.append((item, who))
                else:
                    for channel, entry in group_copies(codec, item.group, item.packed, who, expiry_ms):
                        outgoing.add_copy(channel, entry, item)
            else:
                assert_never(item)
        return outgoing.commands() + finishes

    def _members(self, groups: Sequence[str]) -> dict[str, tuple[list[str], list[str]] | Outcome]:
        """Who is in these groups, or why nothing can be said to them: one round trip before the write."""
        wanted = [require_group_name(group) for group in dict.fromkeys(groups)]
        answers = self._layer.run([self._layer.plan.group_read(group) for group in wanted])
        return {
            # Nothing was said yet, whatever became of the question.
            group: _why_not(answer) if isinstance(answer, HeadraceError) else answer
            for group, answer in zip(wanted, answers, strict=True)
        }

    def _say(self, commands: Sequence[tuple[RedisCommand, list[Out]]], take: bytes) -> None:
        """Write commands, owed finishes and a take; read the answers of all but the take."""
        connection, owed = self._connection, self._owed
        data = [pack(command.args) for command, _ in commands]
        data += [pack(command.args) for command in owed]
        ask_time = connection.clock.stale
        if ask_time:
            data.append(_TIME)
        data.append(take)
        answers = []
        try:
            connection.write(b"".join(data))
            for _ in range(len(data) - 1):
                answers.append(connection.read(silence=self._silence))
        except ConnectionBroken as broken:
            raise broken.outcome(bool(commands) and broken.written) from None
        if ask_time:
            connection.clock.sample_answer(answers.pop())
        self._heard(commands, answers[: len(commands)])
        self._owed = [
            command
            for command, answer in zip(owed, answers[len(commands) :], strict=True)
            if isinstance(answer, ReplyError) and self._may_work_later(answer, command)
        ]

    def _may_work_later(self, answer: ReplyError, command: RedisCommand) -> bool:
        """Whether something that Redis refused is worth another turn; if not, its lease ends it."""
        refusal = refusal_of(answer, command, self._executor.address.label)
        if refusal.reaction is Reaction.FAIL:
            self._complain(command, refusal.error)
        return refusal.reaction is not Reaction.FAIL

    def _complain(self, command: RedisCommand, error: HeadraceError) -> None:
        left_out = self._complaints.ask(command.name)
        if left_out is not None:
            log.error("%s%s", error, left_out_note(left_out))

    def _heard(self, commands: Sequence[tuple[RedisCommand, list[Out]]], answers: list[Any]) -> None:
        """Tell what was refused, and that all the rest is said."""
        failed = [index for index, answer in enumerate(answers) if isinstance(answer, ReplyError)]
        if failed:
            self._ask_again(failed, commands, answers)
        # Only now: after a broken write nothing of the turn is said to be refused.
        refused, self._unsaid = self._unsaid, []
        for index, (command, items) in enumerate(commands):
            answer = answers[index]
            if index not in failed:
                answer = command.read(answer)
                if self._executor.memory.is_full and command.needs_memory:
                    self._executor.memory.accepted()
            if isinstance(answer, Outcome):
                answer = [answer]
            for item, outcome in zip(items, outcomes_of(answer, len(items)), strict=True):
                if outcome is SENT:
                    continue
                # Copies for full members of a group are dropped, as the contract says.
                if not outcome.accepted and not isinstance(item, SendGroup):
                    refused.append((item, outcome))
        if refused:
            self._refuse(refused)
        if self.on_said is not None:
            self.on_said()

    def _ask_again(
        self, failed: Sequence[int], commands: Sequence[tuple[RedisCommand, list[Out]]], answers: list[Any]
    ) -> None:
        """What Redis did not know or could not do yet goes over the pool: this connection waits in its take
        by now."""
        again = self._executor.run([commands[index][0] for index in failed])
        for index, answer in zip(failed, again, strict=True):
            answers[index] = answer
            if isinstance(answer, KeySpoilt):
                self._complain(commands[index][0], answer)

    def _refuse(self, refused: Sequence[tuple[Out, Outcome]]) -> None:
        """Pass the outcomes on; what found no process learns whether it ended or was forgotten."""
        missed = [_process_of(item) for item, outcome in refused if outcome is Outcome.GONE]
        fate = self._layer.fates(missed) if missed else {}
        for item, outcome in refused:
            self._on_refused(item, fate[_process_of(item)] if outcome is Outcome.GONE else outcome)

    # Taking

    def _take(
        self,
        commands: Sequence[tuple[RedisCommand, list[Out]]],
        channels: Sequence[str],
        limit: int,
        block_seconds: float,
    ) -> list[Delivery]:
        deadline = time.monotonic() + block_seconds
        left = block_seconds
        executed = False
        while True:
            block = min(left, LONGEST_TAKE_SECONDS) if left > 0 and not self._woken else None
            take, data = self._reader.take(channels, limit, block)
            try:
                self._say(() if executed else commands, data)
                executed = bool(commands)
                taken = take.read(self._answer(take, block))
            except KeySpoilt:
                if not self._reader.leave_out_spoilt(channels):
                    if not executed:
                        raise
                    return []
                taken = None
            except LayerUnavailable as error:
                if executed:
                    log.warning("A take was lost with what it had popped: %s", error)
                    return []  # what was said has been executed, and must not be said again
                raise
            if taken is not None:
                self._reader.served(channels, taken[0])
            deliveries = self._deliveries(taken)
            left = round(deadline - time.monotonic(), 2)
            if deliveries or left <= 0 or self._woken:
                self._woken = False
                return deliveries

    def _deliveries(self, taken: tuple[str, list[bytes]] | None) -> list[Delivery]:
        if taken is None:
            return []
        read = self._reader.read(*taken)
        self._owed += read.owed
        return read.alive

    def _answer(self, take: RedisCommand, block_seconds: float | None) -> Any:
        """The answer of the take, waited for; `wake` ends the wait, not the answer."""
        connection = self._connection
        deadline = time.monotonic() + (block_seconds or 0) + ANSWER_SECONDS
        while (answer := connection.next_answer()) is NOTHING:
            if not connection.has_buffered_tls():
                pause = deadline - time.monotonic()
                if pause <= 0:
                    pause = self._silence.more_seconds()
                    deadline = time.monotonic() + pause
                if pause <= 0:
                    connection.close()
                    raise LayerUnavailable("Redis did not answer a take in time")
                if self._woken and block_seconds is not None and self._may_unblock:
                    self._unblock()
                    pause = UNBLOCK_PAUSE_SECONDS
                self._wait(pause)
            connection.receive()
        if isinstance(answer, ReplyError):
            error = refusal_of(answer, take, self._executor.address.label).error
            if not isinstance(error, KeySpoilt):
                connection.close()
            raise error
        return answer

    def _has_to_end(self) -> bool:
        self._hear_wake()
        return self._woken

    def _wait(self, seconds: float) -> None:
        """Wait for bytes from Redis or for `wake`."""
        for descriptor, _ in self._poll.poll(seconds * 1000):
            if descriptor == self._wake_in.fileno():
                self._hear_wake()

    def _hear_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken = bool(self._wake_in.recv(4096)) or self._woken

    def _unblock(self) -> None:
        """Ask Redis to end the take. It may not have begun it yet: then this is asked again."""
        command = RedisCommand(
            self._place, (b"CLIENT", b"UNBLOCK", self._connection.client_id), as_is, repeat=True
        )
        try:
            self._executor.ask(command)
        except LayerUnavailable as error:
            # Closing the connection instead would lose what the take just popped.
            self._may_unblock = False
            log.warning("A waiting take cannot be ended early: %s", error)

    # What was taken and not done

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries that were not started back at the head of their channels, in their order.

        One round trip. Raises LayerUnavailable or OutcomeUnknown.
        """
        plan = self._layer.plan
        commands = []
        for one in reversed(deliveries):
            if one.order is None:
                queue = non_local_name(one.channel)
                commands.append(plan.back_plain(queue, one.place, [one.entry], head=True))
            else:
                socket_name = one.message["reply_channel"]
                commands.append(
                    plan.back(socket_name, one.order, one.place, one.channel, one.entry, head=True)
                )
        for answer in self._layer.run(commands):
            if isinstance(answer, HeadraceError):
                raise answer

    def requeue(self, delivery: Delivery) -> bool:
        """Put a delivery at the tail of its channel with one retry more; False if it is stale."""
        plan, queue = self._layer.plan, non_local_name(delivery.channel)
        entry = plan.codec.decode(delivery.entry, queue)
        again = plan.codec.encode(
            bytes(entry.payload),
            entry.expiry_ms,
            entry.order,
            entry.channel,
            min(entry.retries + 1, 255),
            queue=queue,
        )
        if delivery.order is None:
            self._layer.ask(plan.back_plain(queue, delivery.place, [again], head=False))
            return True
        socket_name = delivery.message["reply_channel"]
        command = plan.back(socket_name, delivery.order, delivery.place, queue, again, head=False)
        return bool(self._layer.ask(command) is Outcome.SENT)

    def may_start(self, delivery: Delivery, now: float) -> bool:
        """Whether this delivery may start: not if it expired, nor if it is late and somebody moved on.

        `now` is `time.monotonic()`. What an expired one owes is said with the next turn.
        """
        executor = self._layer.executor(delivery.place)
        expired = 0 < delivery.expiry_ms < executor.clock.now_ms()
        if expired and executor.is_expired(delivery.expiry_ms):
            self._owed += self._reader.drop(delivery)
            return False
        if delivery.order is None or (not expired and now - delivery.taken_at <= LATE_SECONDS):
            return True
        return self.renew(delivery)

    def renew(self, delivery: Delivery) -> bool:
        """Extend the ordering lease of a delivery that runs long; False if it lapsed. From any thread."""
        if delivery.order is None:
            return True
        command = self._layer.plan.renew(delivery.message["reply_channel"], delivery.order, delivery.place)
        return bool(self._layer.ask(command) is Outcome.SENT)

    def wake(self) -> None:
        """End a waiting `turn`, or the next one. Callable from any thread and from a signal handler."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody waits
            self._wake_out.send(b"!")

    def close(self) -> None:
        """Close the connection. What `turn` dropped and could not finish yet is finished by its lease."""
        self._connection.close()
        self._wake_in.close()
        self._wake_out.close()


def _why_not(error: HeadraceError) -> Outcome:
    return Outcome.FULL if isinstance(error, ChannelFull) else Outcome.UNAVAILABLE


def _process_of(item: Out) -> str:
    if isinstance(item, Send):
        return non_local_name(item.channel)
    return non_local_name(item.reply_channel) if isinstance(item, Control) else ""
