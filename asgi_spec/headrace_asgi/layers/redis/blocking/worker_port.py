"""A worker thread's way to Redis: replies, finishes and the next take in one write, then one wait."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, assert_never

from headrace_asgi.accounting import STALE, TAKEN
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
from headrace_asgi.envelope import pack_message
from headrace_asgi.errors import ChannelFull, HeadraceError, KeySpoilt, LayerUnavailable, OutcomeUnknown
from headrace_asgi.log_limit import LogLimit, left_out_note
from headrace_asgi.names import is_process_queue, non_local_name, require_channel_name, require_group_name

from ..plan.command import RedisCommand, as_is
from ..plan.ends import End, end_commands
from ..plan.outcomes import Reaction, refusal_of
from ..plan.outgoing import Outgoing, group_copies, members_of_all, message_entry, outcomes_of
from ..plan.places import Places
from ..plan.plan import Plan
from ..plan.resp import NOTHING, ReplyError, pack
from ..plan.sentinel import LOOK_SECONDS
from .acknowledged import claim_messages
from .connection import ConnectionBroken
from .executor import RedisExecutor
from .later import kept
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
#: What to ask, and for which items: the answer has an outcome of each.
_Said = tuple[RedisCommand, Sequence[Out]]
#: Processes and plain channels.
_Members = tuple[list[str], list[str]]


class Layer(Protocol):
    """What a port needs of its layer."""

    places: Places
    plan: Plan
    max_message_bytes: int

    @property
    def count(self) -> Callable[[str, str, int], object]: ...

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
        self._reader = ChannelReader(layer.plan, self._place, self._executor, layer.count)
        self._owed: list[RedisCommand] = []
        #: Group messages of this turn whose group cannot be read.
        self._unsaid: list[tuple[Out, Outcome]] = []
        self._complaints = LogLimit()
        self._may_move = self._executor.address.may_move
        #: Whether a Redis that hangs is waited for; of several, the others serve meanwhile.
        self.waits_for_hanging = True
        self._silence = SilenceTimeout(self._hangs, self._has_to_end)
        self._woken = False
        #: A take that was begun, until its answer was read.
        self._begun: tuple[RedisCommand, Sequence[str]] | None = None
        #: The connection over which its wait is ended, opened with the first one; requests not answered.
        self._control = self._executor.new_connection()
        self._asked = 0
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
        if (
            not self._connection.is_open
            or (commands and self._connection.lost_its_peer())
            or (self._may_move and self._has_moved())
        ):
            self.reopen()
        if not channels:
            if commands or self._owed:
                self._say(commands, b"")
            else:
                self._heard((), [])
            return []
        return self._take(commands, channels, limit, block_seconds)

    def _has_moved(self) -> bool:
        """Whether this Redis failed over to another one."""
        return self._executor.address.has_left(self._connection.server)

    def _hangs(self) -> bool:
        return hangs(self._connection.server.address) and not (self._may_move and self._has_moved())

    def reopen(self) -> None:
        """Connect anew. Blocks for up to some seconds. Raises LayerUnavailable, and what `prepare` raises."""
        self._begun = None
        self._connection.close()
        self._control.close()
        self._executor.open(self._connection)
        self._poll = self._new_poll()

    def _new_poll(self) -> select.poll:
        poll = select.poll()
        poll.register(self._connection.fileno(), select.POLLIN)
        poll.register(self._wake_in, select.POLLIN)
        return poll

    # Writing

    def _commands(self, out: Sequence[Out]) -> list[_Said]:
        """The commands for `out`, messages by queue before finishes; each with the items it is for."""
        plan, outgoing = self._layer.plan, Outgoing[Out](self._layer.plan)
        codec = plan.codec
        expiry_ms = self._layer.expiry_ms(self._place)
        ended: list[End] = []
        later: list[_Said] = []
        groups = [group for item in out if isinstance(item, SendGroup) for group in item.groups]
        members = self._members(groups) if groups else {}
        for item in out:
            if isinstance(item, Send):
                channel = require_channel_name(item.channel)
                if item.expiry_seconds is None:
                    at_ms = expiry_ms
                else:
                    at_ms = self._layer.expiry_ms(self._place, item.expiry_seconds)
                entry = message_entry(codec.encode, channel, item.packed, at_ms)
                outgoing.add(channel, entry, item, message_id=item.id)
            elif isinstance(item, Finish | Acknowledge):
                ended.append(item)
            elif isinstance(item, Control):
                if is_process_queue(item.reply_channel):  # a foreign server understands no notes
                    name = item.reply_channel
                    entry = codec.encode(pack_message(item.body), channel=name, control=True, queue=name)
                    outgoing.add(name, entry, item, is_control=True)
            elif isinstance(item, SendGroup):
                who = members[item.group] if not item.more else _of_all(members, item.groups)
                if isinstance(who, Outcome):
                    self._unsaid.append((item, who))
                else:
                    for channel, entry in group_copies(codec, item.groups, item.packed, who, expiry_ms):
                        outgoing.add_copy(channel, entry, item)
            elif isinstance(item, SendLater):
                command = kept(self._layer, item.channel, item.packed, item.id, item.due)
                later.append((command, [item]))
            else:
                assert_never(item)
        said: list[_Said] = [*outgoing.commands(), *later]
        if ended:
            said += end_commands(plan, ended)
        return said

    def _members(self, groups: Sequence[str]) -> dict[str, _Members | Outcome]:
        """Who is in these groups, or why nothing can be said to them: one round trip before the write."""
        wanted = [require_group_name(group) for group in dict.fromkeys(groups)]
        answers = self._layer.run([self._layer.plan.group_read(group) for group in wanted])
        return {
            # Nothing was said yet, whatever became of the question.
            group: _why_not(answer) if isinstance(answer, HeadraceError) else answer
            for group, answer in zip(wanted, answers, strict=True)
        }

    def _say(self, commands: Sequence[_Said], take: bytes) -> None:
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

    def _heard(self, commands: Sequence[_Said], answers: list[Any]) -> None:
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
            outcomes: Sequence[Outcome | None] = outcomes_of(answer, len(items))
            if None in outcomes:
                outcomes = self._asked_alone(items, outcomes)
            for item, outcome in zip(items, outcomes, strict=True):
                if outcome is SENT or outcome is None:
                    continue
                # Copies for full members of a group are dropped, as the contract says.
                if not outcome.accepted and not isinstance(item, SendGroup):
                    refused.append((item, outcome))
        if refused:
            self._refuse(refused)
        if self.on_said is not None:
            self.on_said()

    def _ask_again(
        self,
        failed: Sequence[int],
        commands: Sequence[_Said],
        answers: list[Any],
    ) -> None:
        """What Redis did not know or could not do yet goes over the pool: this connection waits in its take
        by now."""
        again = self._executor.run([commands[index][0] for index in failed])
        for index, answer in zip(failed, again, strict=True):
            answers[index] = answer
            if isinstance(answer, KeySpoilt):
                self._complain(commands[index][0], answer)

    def _asked_alone(self, items: Sequence[Out], outcomes: Sequence[Outcome | None]) -> list[Outcome | None]:
        """The outcomes, with those of ends that could not be said with the others."""
        found = list(outcomes)
        for index, item in enumerate(items):
            if found[index] is None and isinstance(item, Finish):
                command = self._layer.plan.finish(item.reply_channel, item.order, item.place, item.drain)
                (answer,) = self._executor.run((command,))
                if isinstance(answer, KeySpoilt):
                    self._complain(command, answer)
                found[index] = answer if isinstance(answer, Outcome) else outcomes_of(answer, 1)[0]
        return found

    def _refuse(self, refused: Sequence[tuple[Out, Outcome]]) -> None:
        """Pass the outcomes on; what found no process learns whether it ended or was forgotten."""
        missed = [_process_of(item) for item, outcome in refused if outcome is Outcome.GONE]
        fate = self._layer.fates(missed) if missed else {}
        for item, outcome in refused:
            self._on_refused(item, fate[_process_of(item)] if outcome is Outcome.GONE else outcome)

    # Taking

    def _take(
        self,
        commands: Sequence[_Said],
        channels: Sequence[str],
        limit: int,
        block_seconds: float,
    ) -> list[Delivery]:
        deadline = time.monotonic() + block_seconds
        left = block_seconds
        longest = LOOK_SECONDS if self._may_move else LONGEST_TAKE_SECONDS
        executed = False
        while True:
            block = min(left, longest) if left > 0 and not self._woken else None
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
            if deliveries or left <= 0 or self._woken or (self._may_move and self._has_moved()):
                self._woken = False
                return deliveries

    # A take of which somebody else waits for the answer, together with those of other ports

    @property
    def owes(self) -> bool:
        """Whether something is to be said with the next turn, whatever that says."""
        return bool(self._owed)

    @property
    def is_waiting(self) -> bool:
        """Whether a take that was begun has not been answered."""
        return self._begun is not None

    def begin_take(self, channels: Sequence[str], limit: int, block_seconds: float | None) -> None:
        """Write a take that waits up to `block_seconds`, not at all for None; `taken` reads its answer.

        Raises LayerUnavailable.
        """
        if not self._connection.is_open or (self._may_move and self._has_moved()):
            self.reopen()
        if block_seconds is not None and not self._control.is_open:
            self._executor.open(self._control)
            self._asked = 0
        take, data = self._reader.take(channels, limit, block_seconds)
        self._silence.begin()
        self._say((), data)
        self._begun = (take, channels)

    def fileno(self) -> int:
        """What to poll for the answer of a take that was begun; ask `taken` first."""
        return self._connection.fileno()

    def taken(self) -> list[Delivery] | None:
        """What a take that was begun has brought; None while it waits. Does not block.

        Raises LayerUnavailable: what it had popped is lost then.
        """
        if self._begun is None:
            return []
        take, channels = self._begun
        answer = self._connection.next_answer()
        if answer is NOTHING:
            self._connection.receive()
            answer = self._connection.next_answer()
        if answer is NOTHING:
            return None
        self._begun = None
        try:
            found = take.read(self._unrefused(answer, take))
        except KeySpoilt:
            if not self._reader.leave_out_spoilt(channels):
                raise
            return []
        if found is not None:
            self._reader.served(channels, found[0])
        return self._deliveries(found)

    def end_wait(self) -> None:
        """Ask Redis to answer a take that was begun; ask again if it does not: it may not have begun it.

        Does not wait for Redis, which may hang. Raises LayerUnavailable.
        """
        if self._begun is None:
            return
        control = self._control
        control.receive()
        while control.next_answer() is not NOTHING:
            self._asked -= 1
        if not self._asked:
            control.write(pack((b"CLIENT", b"UNBLOCK", self._connection.client_id)))
            self._asked += 1

    def _unrefused(self, answer: Any, take: RedisCommand) -> Any:
        """The answer of a take, or the error that it is."""
        if isinstance(answer, ReplyError):
            error = refusal_of(answer, take, self._executor.address.label).error
            if not isinstance(error, KeySpoilt):
                self._connection.close()
            raise error
        return answer

    def _deliveries(self, taken: tuple[str, list[bytes]] | None) -> list[Delivery]:
        if taken is None:
            return []
        read = self._reader.read(*taken)
        self._owed += read.owed
        if read.bells:
            read.alive += claim_messages(self._layer, self._place, taken[0], read.bells)
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
        return self._unrefused(answer, take)

    def _has_to_end(self) -> bool:
        self._hear_wake()
        return self._woken or not self.waits_for_hanging

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

        One round trip. Raises LayerUnavailable if none of them is back, OutcomeUnknown if some may be.
        """
        plan = self._layer.plan
        commands = []
        for one in reversed(deliveries):
            if one.claim is not None:
                commands.append(plan.acknowledged.release(one.place, one.channel, one.claim))
            elif one.order is None:
                queue = non_local_name(one.channel)
                commands.append(plan.back_plain(queue, one.place, [one.entry], head=True))
            else:
                socket_name = one.message["reply_channel"]
                commands.append(
                    plan.back(socket_name, one.order, one.place, one.channel, one.entry, head=True)
                )
        errors = []
        for one, answer in zip(reversed(deliveries), self._layer.run(commands), strict=True):
            if isinstance(answer, HeadraceError):
                errors.append(answer)
            self._count_back(one, answer)
        if not errors:
            return
        if len(errors) < len(commands) or any(isinstance(error, OutcomeUnknown) for error in errors):
            raise OutcomeUnknown(f"{len(errors)} of {len(commands)} were not given back: {errors[0]}")
        raise errors[0]

    def _count_back(self, delivery: Delivery, answer: Any) -> None:
        """A delivery was put back, or not: what was perhaps put back is `unknown`, not taken."""
        if delivery.claim is not None:
            return
        channel = non_local_name(delivery.channel)
        if answer is Outcome.STALE:
            self._layer.count(channel, STALE, 1)
        elif isinstance(answer, OutcomeUnknown) or not isinstance(answer, HeadraceError):
            self._layer.count(channel, TAKEN, -1)

    def requeue(self, delivery: Delivery) -> bool:
        """Put a delivery at the tail of its channel with one retry more; False if it is stale."""
        try:
            answer = self._layer.ask(self._requeued(delivery))
        except OutcomeUnknown as error:
            self._count_back(delivery, error)
            raise
        self._count_back(delivery, answer)
        return answer is not Outcome.STALE

    def _requeued(self, delivery: Delivery) -> RedisCommand:
        plan, queue = self._layer.plan, non_local_name(delivery.channel)
        if delivery.claim is not None:
            return plan.acknowledged.fail(delivery.place, queue, delivery.claim, "it was to be tried later")
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
            return plan.back_plain(queue, delivery.place, [again], head=False)
        socket_name = delivery.message["reply_channel"]
        return plan.back(socket_name, delivery.order, delivery.place, queue, again, head=False)

    def may_start(self, delivery: Delivery, now: float) -> bool:
        """Whether this delivery may start: not if it expired, nor if it is late and somebody moved on.

        `now` is `time.monotonic()`. What an expired one owes is said with the next turn.
        """
        if delivery.claim is not None:
            return now - delivery.taken_at <= LATE_CLAIM_SECONDS or self.renew(delivery)
        executor = self._layer.executor(delivery.place)
        expired = 0 < delivery.expiry_ms < executor.clock.now_ms()
        if expired and executor.is_expired(delivery.expiry_ms):
            self._owed += self._reader.drop(delivery)
            return False
        if delivery.order is None or (not expired and now - delivery.taken_at <= LATE_SECONDS):
            return True
        allowed = self.renew(delivery)
        if not allowed:
            self._layer.count(non_local_name(delivery.channel), STALE, 1)
        return allowed

    def renew(self, delivery: Delivery) -> bool:
        """Extend the lease of a delivery that runs long; False if it lapsed. From any thread."""
        plan = self._layer.plan
        if delivery.claim is not None:
            command = plan.acknowledged.renew(delivery.place, delivery.claim)
        elif delivery.order is not None:
            command = plan.renew(delivery.message["reply_channel"], delivery.order, delivery.place)
        else:
            return True
        return bool(self._layer.ask(command) is Outcome.SENT)

    def wake(self) -> None:
        """End a waiting `turn`, or the next one. Callable from any thread and from a signal handler."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody waits
            self._wake_out.send(b"!")

    def close(self) -> None:
        """Close the connection. What `turn` dropped and could not finish yet is finished by its lease."""
        self._connection.close()
        self._control.close()
        self._wake_in.close()
        self._wake_out.close()


def _of_all(members: Mapping[str, _Members | Outcome], groups: Sequence[str]) -> _Members | Outcome:
    """The members of several groups, or why nothing can be said to one of them."""
    found = []
    for group in groups:
        who = members[group]
        if isinstance(who, Outcome):
            return who
        found.append(who)
    return members_of_all(found)


def _why_not(error: HeadraceError) -> Outcome:
    return Outcome.FULL if isinstance(error, ChannelFull) else Outcome.UNAVAILABLE


def _process_of(item: Out) -> str:
    if isinstance(item, Send):
        return non_local_name(item.channel)
    return non_local_name(item.reply_channel) if isinstance(item, Control) else ""
