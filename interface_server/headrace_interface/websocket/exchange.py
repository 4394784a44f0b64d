"""One WebSocket, decided: what happened goes in as facts, what to do comes out as actions.

Pure: no socket, reactor, clock or layer. What is done when is written in `states.TABLE`; here is what the
steps do. Two facts come with each frame and have a fast way, which the table opens and shuts: `may_write` is
whether the present state has a row for SAID, `may_receive` whether it has one for RECEIVED.

What the client says waits here until the layer has accepted it. One batch at a time is with the layer (of an
ordered socket one frame), so nothing is accepted behind what was refused; that is kept and sent again, in
order and with the same order numbers, of which the layer accepts each once (docs/protocol.md,
section 6). Meanwhile the client is not read from, so what waits is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from headrace_asgi.close_codes import ABNORMAL, SERVICE_RESTART, TRY_AGAIN_LATER
from headrace_asgi.contract import Outcome

from .actions import (
    BUSY,
    GO,
    Abort,
    Action,
    Close,
    Deny,
    Forget,
    Pause,
    ReadOn,
    Resume,
    SendFrame,
    Tell,
    Wait,
    Write,
)
from .states import TABLE, Fact, SocketState, SocketStep

if TYPE_CHECKING:
    from headrace_asgi.envelope import Message

    from .reply import Reply

__all__ = ["Exchange"]

_NOTHING: tuple[Action, ...] = ()
_FORGET, _PAUSE, _RESUME, _READ_ON, _ABORT = Forget(), Pause(), Resume(), ReadOn(), Abort()
_GO = (GO,)
_NO_FRAMES: list[SendFrame] = []
#: Looked up once: to look up a member of an enumeration costs as much as the comparison.
_SENT = Outcome.SENT

TRY_AGAIN = Close(TRY_AGAIN_LATER, "the server is busy")
_GAP = Close(TRY_AGAIN_LATER, "a message was lost")
_FENCED = Close(SERVICE_RESTART, "the server restarted")

#: What a message costs, here and in Redis, besides its content and its path; empty ones cost this too.
MESSAGE_BYTES = 256

#: Most bytes of a character in UTF-8; to count them costs more than it is worth.
_CHARACTER_BYTES = 4

#: Refusals after which a frame is kept and sent again.
_AGAIN = frozenset({Outcome.FULL, Outcome.UNAVAILABLE, Outcome.UNKNOWN, Outcome.FORGOTTEN})

#: Reasons not to read from the client: what it sent waits for the layer; it sends too fast; what was read
#: before a pause was not looked at yet; it does not read what it is sent.
_LAYER, _RATE, _REST, _BEHIND = 1, 2, 4, 8

#: Bytes that may wait in a socket's mailbox; beyond, the next one tries whether there is room again.
_BOXED_WEIGHT = 1024 * 1024


class Exchange:
    """The life of one socket. Every method takes a fact and answers what to do, in order.

    Until the worker's verdict a socket's frames are ordered; `ordered` is then what the verdict said: True,
    False, or "slight" (in order of sending only, a gap is no reason to close).
    """

    __slots__ = (
        "_boxed_weight",
        "_code",
        "_flight",
        "_given_up",
        "_held",
        "_known",
        "_light_weight",
        "_limit_messages",
        "_limit_weight",
        "_message_weight",
        "_most_room",
        "_order",
        "_refusal",
        "_waiting",
        "_weight",
        "due",
        "may_receive",
        "may_write",
        "ordered",
        "passed",
        "passed_weight",
        "pauses",
        "state",
    )

    def __init__(self, limit_messages: int, limit_weight: int, path_bytes: int = 0) -> None:
        """Take how many of the client's messages, and how much of them in bytes, may wait for the layer.

        A message weighs its content, its path and `MESSAGE_BYTES`.
        """
        #: Where the socket stands, and whether there is a row for SAID and for RECEIVED.
        self.state = SocketState.CONNECTING
        self.may_write = self.may_receive = False
        self.ordered: bool | str | None = None
        self._limit_messages = limit_messages
        self._limit_weight = limit_weight
        self._message_weight = path_bytes + MESSAGE_BYTES
        self._most_room = self._room(0, 0)
        #: What surely is no reason to pause, whatever characters it is made of.
        self._light_weight = (limit_weight - 1) // _CHARACTER_BYTES if limit_messages > 1 else 0
        self._order = 1
        #: What the disconnect will say.
        self._code = ABNORMAL
        #: Frames that were never with the layer, and those that were and are not known to be accepted.
        self._waiting = self._flight = _NO_FRAMES
        #: What all of them weigh.
        self._weight = 0
        #: What was put into the socket's mailbox since it was last known to be empty.
        self._boxed_weight = 0
        #: Answers of the layer that are still to come for the batch that is with it.
        self.due = 0
        #: Frames of the present or last batch that were accepted, and what they weigh once all is answered.
        self.passed = self.passed_weight = 0
        self._refusal: Outcome | None = None
        #: Whether frames wait for a better moment: nothing leaves until somebody calls `take`.
        self._held = False
        #: Whether what is refused is dropped.
        self._given_up = False
        self._known = 0
        #: Why the client is not read from at present, as bits.
        self.pauses = 0

    def happened(self, fact: Fact, detail: Any = None) -> Sequence[Action]:
        """Go through the table. `detail` is what the steps need: an action, messages, a reason to pause."""
        row = TABLE[self.state].get(fact)
        if row is None:
            return _NOTHING
        after, steps = row
        if after is not self.state:
            self.state = after
            self.may_write, self.may_receive = Fact.SAID in TABLE[after], Fact.RECEIVED in TABLE[after]
        actions: list[Action] = []
        for step in steps:
            actions += _STEPS[step](self, detail)
        return actions

    def _detail(self, detail: Action | None) -> Sequence[Action]:
        if detail is None:
            raise TypeError(f"the step to {self.state} needs its action")
        return (detail,)

    # Another image of the process goes on.

    def as_plain(self) -> Message | None:
        """What `resume` needs; None unless the socket is open and nothing is with the layer."""
        if self.state is not SocketState.OPEN or self.due:
            return None
        return {
            "ordered": self.ordered,
            "order": self._order,
            "known": self._known,
            "frames": [[one.payload, one.order] for one in (*self._flight, *self._waiting)],
            "flight": len(self._flight),
            "boxed": self._boxed_weight,
            "pauses": self.pauses,
        }

    def resume(self, plain: Message) -> None:
        """Be open as another one was; before anything happens. What waits leaves when `take` is called."""
        self.state = SocketState.OPEN
        self.may_write = self.may_receive = True
        self.ordered = plain["ordered"]
        self._known, self._boxed_weight = plain["known"], plain["boxed"]
        payloads = [payload for payload, _ in plain["frames"]]
        if payloads:
            self._held = True
            self._order = plain["frames"][0][1]
            self._number(payloads)
            flight = plain["flight"]
            self._flight, self._waiting = self._waiting[:flight], self._waiting[flight:]
        self._order = plain["order"]
        self.pauses = plain["pauses"]

    # The handshake.

    def connect_answered(self, outcome: Outcome) -> Sequence[Action]:
        """The layer's answer to the connect."""
        if outcome.accepted or outcome is Outcome.UNKNOWN:
            return self.happened(Fact.CONNECT_SENT)
        return self.happened(Fact.CONNECT_UNSENT, BUSY)

    def refuse(self, denial: Deny) -> Sequence[Action]:
        """The handshake is refused before anybody was asked."""
        return self.happened(Fact.CONNECT_UNSENT, denial)

    def turn_away(self, denial: Deny) -> Sequence[Action]:
        """The server ends a handshake: the application will not answer in time, or at all."""
        return self.happened(Fact.TURNED_AWAY, denial)

    # What the application says.

    def reply(self, reply: Reply) -> Sequence[Action]:
        """A checked reply: the state table of Send/Close/Accept, one part after the other."""
        if reply.denial is not None:
            return self.happened(Fact.REFUSED, reply.denial)
        if reply.problem is not None:
            return self.happened(Fact.TURNED_AWAY, reply.problem)
        if reply.accept is False:
            return _NOTHING
        actions: list[Action] = []
        if reply.acceptance is not None:
            actions += self.happened(Fact.ACCEPTED, reply.acceptance)
        if reply.payload is not None:
            actions += self.happened(Fact.SAID, Write(reply.payload))
        if reply.close is not None:
            actions += self.close(reply.close)
        return actions

    def failed(self, denial: Deny) -> Sequence[Action]:
        """Nobody will answer: a handshake is turned away, an open socket with strict order has a gap."""
        if self.state is SocketState.OPEN:
            return self._gap() if self.ordered is True else _NOTHING
        return self.turn_away(denial)

    def lapsed(self) -> Sequence[Action]:
        """The message in flight was lost with its worker: a strict socket has a gap."""
        if self.ordered not in (True, None):
            return _NOTHING
        return self.turn_away(BUSY) or self._gap()

    def close(self, close: Close) -> Sequence[Action]:
        """Begin the closing handshake of an open socket; frames that came before still leave."""
        return self.happened(Fact.CLOSE, close)

    def expel(self, close: Close) -> Sequence[Action]:
        """Close for what the client did: the disconnect says so even if the client never answers."""
        self._code = close.code
        return self.close(close)

    def close_begun(self) -> Sequence[Action]:
        """The client began the closing handshake, or broke the protocol and was sent a close frame."""
        return self.happened(Fact.CLOSE_BEGUN)

    def overdue(self) -> Sequence[Action]:
        """The client took too long for its part of the closing handshake."""
        return self.happened(Fact.OVERDUE)

    def lost(self, code: int = ABNORMAL) -> Sequence[Action]:
        """The connection is gone; `code` is the client's, if it sent one."""
        self.pauses = 0
        if code != ABNORMAL:
            self._code = code
        return [*self.happened(Fact.LOST), *self._perhaps_emptied()]

    # What the client says.

    def verdict(self, ordered: bool | str) -> Sequence[Action]:
        """The worker that took the connect says whether the socket is ordered; only the first one counts."""
        if self.ordered is None:
            self.ordered = ordered
            if ordered is not True:
                self._boxed_weight = 0
        return _NOTHING

    @property
    def room(self) -> int:
        """How many messages of the client may be looked at before it has to wait."""
        if not self._flight and not self._waiting:
            return self._most_room
        return self._room(len(self._flight) + len(self._waiting), self._weight)

    def _room(self, messages: int, weight: int) -> int:
        by_weight = -(-(self._limit_weight - weight) // self._message_weight)
        return min(self._limit_messages - messages, by_weight)

    def at_once(self, payload: str | bytes) -> SendFrame | None:
        """RECEIVED, where nothing waits, as nearly always: the frame, to be sent now.

        None if the message has to go through `received`.
        """
        weight = len(payload) + self._message_weight
        if self._flight or self._waiting or not self.may_receive or weight > self._light_weight:
            return None
        order = self._order
        self._order = order + 1
        frame = SendFrame(payload, order, self.ordered is None or self.ordered is True, weight)
        self._flight = [frame]
        self._weight = weight
        self.due = 1
        self.passed = 0
        return frame

    def received(self, payloads: Sequence[str | bytes]) -> Sequence[Action]:
        """Messages of the client, in the order of their coming."""
        return self.happened(Fact.RECEIVED, payloads)

    def _number(self, payloads: Sequence[str | bytes]) -> Sequence[Action]:
        waiting = self._waiting
        if not waiting:
            waiting = self._waiting = []
        order, total = self._order, self._weight
        for payload in payloads:
            weight = len(payload)
            if payload.__class__ is str and not payload.isascii():
                weight *= _CHARACTER_BYTES
            weight += self._message_weight
            total += weight
            waiting.append(SendFrame(payload, order, False, weight))
            order += 1
        self._order, self._weight = order, total
        if total >= self._limit_weight or len(waiting) + len(self._flight) >= self._limit_messages:
            paused = self._pause(_LAYER)
            return paused if self.due or self._held else (*paused, GO)
        return _NOTHING if self.due or self._held else _GO

    @property
    def next_weight(self) -> int:
        """What the frame that leaves next weighs; 0 if there is none."""
        frames = self._flight or self._waiting
        return frames[0].weight if frames else 0

    def take(self, messages: int, weight: int) -> Sequence[SendFrame]:
        """The frames to send now: at most so many, and no more than `weight` unless it is one alone.

        What was refused comes first, with the numbers it had. Nothing while a batch is with the layer.
        """
        if self.due:
            return _NO_FRAMES
        self._held = False
        again = self._flight
        frames = again or self._waiting
        if not frames:
            return _NO_FRAMES
        ordered = self.ordered is None or self.ordered is True
        count = 1 if ordered else _fitting(frames, messages, weight)
        batch = frames if count == len(frames) else frames[:count]
        if not again:
            self._flight = batch
            self._waiting = frames[count:] if count < len(frames) else _NO_FRAMES
        if ordered:
            batch[0].ordered = True
        elif again:
            for frame in batch:
                frame.ordered = False
        self.due = count
        self.passed = 0
        return batch

    @property
    def known(self) -> int:
        """Order number of the last message that is known to have been accepted."""
        return self._flight[self.passed - 1].order if self.due and self.passed else self._known

    def hold(self) -> Sequence[Action]:
        """The next frame cannot leave: it waits until `take` is called, and the client is not read from."""
        self._held = True
        return self.happened(Fact.HELD_UP, _LAYER)

    def answered(self, outcome: Outcome) -> Sequence[Action]:
        """The layer's answer to a frame. What counts is how many of a batch were accepted: the first ones."""
        flight = self._flight
        if (
            outcome is _SENT
            and len(flight) == 1
            and not self._waiting
            and self.may_receive
            and not self.pauses
        ):
            self._flight = _NO_FRAMES
            self._known = flight[0].order
            self.passed, self.passed_weight = 1, self._weight
            self.due = self._weight = self._boxed_weight = 0
            return _NOTHING
        self.due -= 1
        if outcome.accepted:
            self.passed += 1
            if outcome is Outcome.BOXED:
                self._boxed_weight += self._flight[0].weight
            elif self._boxed_weight:
                self._boxed_weight = 0
        elif self._refusal is None:
            self._refusal = outcome
        return _NOTHING if self.due else self._batch_answered()

    def _batch_answered(self) -> Sequence[Action]:
        flight, passed, refusal = self._flight, self.passed, self._refusal
        self.passed_weight = 0
        if passed:
            self._known = flight[passed - 1].order
            self.passed_weight = gone = _weight_of(flight[:passed])
            self._weight -= gone
            self._flight = flight[passed:] if passed < len(flight) else _NO_FRAMES
        if refusal is not None:
            self._refusal = None
            return self._refused(refusal)
        if self._flight or self._waiting:
            return self._next()
        if self.pauses:
            return self._resume(_LAYER)
        return self._perhaps_emptied()

    def _next(self) -> Sequence[Action]:
        if self._boxed_weight >= _BOXED_WEIGHT:
            return self._wait(Outcome.BOXED)
        few = len(self._flight) + len(self._waiting) <= self._limit_messages // 2
        if self.pauses and few and self._weight <= self._limit_weight // 2:
            return (GO, *self._resume(_LAYER))
        return _GO

    def _refused(self, outcome: Outcome) -> Sequence[Action]:
        if self._given_up:
            return self.give_up(TRY_AGAIN)
        if outcome in _AGAIN:
            return self._wait(outcome)
        if outcome is Outcome.LAPSED and self.ordered not in (True, None):
            return _GO
        if outcome is Outcome.LAPSED:
            return self._gap()
        return self.give_up(_FENCED if outcome is Outcome.GONE else TRY_AGAIN)

    def _wait(self, outcome: Outcome) -> Sequence[Action]:
        return (*self.hold(), Wait(outcome))

    def give_up(self, close: Close) -> Sequence[Action]:
        """What waits has no chance to leave any more: it is dropped, and an open socket is closed."""
        return [*self.happened(Fact.GIVEN_UP, close), *self._perhaps_emptied()]

    def _gap(self) -> Sequence[Action]:
        return self.give_up(_GAP)

    def _drop(self) -> Sequence[Action]:
        self._given_up = True
        self._waiting = _NO_FRAMES
        self._flight = self._flight[: self.passed + self.due] if self.due else _NO_FRAMES
        self._weight = _weight_of(self._flight)
        self._held = False
        return _NOTHING

    def _perhaps_emptied(self) -> Sequence[Action]:
        return _NOTHING if self._waiting or self._flight else self.happened(Fact.EMPTIED)

    # How fast the client may send.

    def too_fast(self) -> Sequence[Action]:
        """The client sends more than it may; it is not read from until `slow_enough`."""
        return self.happened(Fact.HELD_UP, _RATE)

    def slow_enough(self) -> Sequence[Action]:
        """The client has waited long enough."""
        return self._resume(_RATE)

    def falls_behind(self) -> Sequence[Action]:
        """Much of what the client was sent waits for it: it is not read from until it has caught up."""
        return self.happened(Fact.HELD_UP, _BEHIND)

    def caught_up(self) -> Sequence[Action]:
        """Nothing waits for the client any more."""
        return self._resume(_BEHIND)

    def left_over(self) -> None:
        """The client is paused and not all that was read from it was looked at."""
        self.pauses |= _REST

    def read_on(self) -> Sequence[Action]:
        """What was left over may be looked at, if this answers anything."""
        return self._resume(_REST) if self.pauses == _REST else _NOTHING

    def _pause(self, reason: int) -> Sequence[Action]:
        before, self.pauses = self.pauses, self.pauses | reason
        return _NOTHING if before else (_PAUSE,)

    def _resume(self, reason: int = _LAYER | _RATE | _BEHIND) -> Sequence[Action]:
        before, self.pauses = self.pauses, self.pauses & ~reason
        if before and not self.pauses:
            return (_RESUME,)
        return (_READ_ON,) if before != self.pauses == _REST else _NOTHING


_STEPS: dict[SocketStep, Callable[[Exchange, Any], Sequence[Action]]] = {
    SocketStep.ACCEPT: Exchange._detail,
    SocketStep.DENY: Exchange._detail,
    SocketStep.WRITE: Exchange._detail,
    SocketStep.CLOSE: Exchange._detail,
    SocketStep.FORGET: lambda _, __: (_FORGET,),
    SocketStep.TELL: lambda exchange, _: (Tell(exchange._code, exchange._order),),
    SocketStep.SEND: Exchange._number,
    SocketStep.PAUSE: Exchange._pause,
    SocketStep.RESUME: lambda exchange, _: exchange._resume(),
    SocketStep.DROP: lambda exchange, _: exchange._drop(),
    SocketStep.ABORT: lambda _, __: (_ABORT,),
}


def _fitting(frames: Sequence[SendFrame], messages: int, weight: int) -> int:
    """How many of these, at least one, are within the two limits."""
    count = 1
    weight -= frames[0].weight
    for frame in frames[1:messages]:
        weight -= frame.weight
        if weight < 0:
            break
        count += 1
    return count


def _weight_of(frames: Sequence[SendFrame]) -> int:
    return frames[0].weight if len(frames) == 1 else sum([frame.weight for frame in frames])
