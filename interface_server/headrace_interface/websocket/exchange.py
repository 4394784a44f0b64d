"""One WebSocket, decided: what happened goes in as facts, what to do comes out as actions.

Pure: no socket, reactor, clock or layer. `TABLE` below is the whole life of a socket; a fact that is not in
the row of the present state changes nothing. The rules for replies are those of ASGI 0.x (Send/Close/Accept).

What the client says waits here until the layer has accepted it. One batch at a time is with the layer (of an
ordered socket one frame), so nothing is accepted behind what was refused; that is kept and sent again, in
order and with the same order numbers, of which the layer accepts each once (docs/protocol.md,
section 6). Meanwhile the client is not read from, so what waits is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from headrace_asgi.contract import Outcome
from headrace_asgi.enums import quick

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

if TYPE_CHECKING:
    from .reply import Reply

__all__ = ["TABLE", "Exchange", "Fact", "SocketState", "Step"]


@quick
class SocketState(StrEnum):
    """Where a socket stands."""

    #: `websocket.connect` is on its way; nobody knows yet whether it arrived.
    CONNECTING = "connecting"
    #: It was accepted by its channel; the application is to answer.
    HANDSHAKE = "handshake"
    #: The client is gone or was turned away before it was known whether the connect arrived.
    LEFT = "left"
    OPEN = "open"
    #: A close frame was sent or received; the end of the connection is awaited.
    CLOSING = "closing"
    #: The connection is gone; frames that came before are still leaving, in order.
    EMPTYING = "emptying"
    #: Nothing is owed any more.
    ENDED = "ended"


@quick
class Fact(StrEnum):
    """What may happen to a socket."""

    #: Or so it seems: an answer that was lost is taken for a good one, as telling too often does no harm.
    CONNECT_SENT = "connect sent"
    #: Full, unreachable or fenced: the connect is on no channel.
    CONNECT_UNSENT = "connect unsent"
    ACCEPTED = "accepted"
    #: By the application itself.
    REFUSED = "refused"
    #: By the server: deadline, drain, a consumer that failed, too many early bytes.
    TURNED_AWAY = "turned away"
    SAID = "said"
    #: The application or the server wants an end.
    CLOSE = "close"
    #: The client sent a close frame, or the frame parser failed the connection and sent one.
    CLOSE_BEGUN = "close begun"
    #: A message of the client.
    RECEIVED = "received"
    #: The connection is gone.
    LOST = "lost"
    #: The last frame has left.
    EMPTIED = "emptied"
    #: The closing handshake took too long.
    OVERDUE = "overdue"


@quick
class Step(StrEnum):
    """What a transition does; each is one action, made from what came with the fact."""

    ACCEPT = "accept"
    DENY = "deny"
    FORGET = "forget"
    TELL = "tell"
    WRITE = "write"
    CLOSE = "close"
    SEND = "send"
    ABORT = "abort"


_S, _F = SocketState, Fact
_TELL = (Step.TELL,)
_DENY = (Step.DENY,)
_DENY_TELL = (Step.DENY, Step.TELL)
#: An application that refused a socket is not told of its end.
_DENY_FORGET = (Step.FORGET, Step.DENY)

#: state → fact → (next state, steps). The disconnect is told once: ENDED is never left.
TABLE: dict[SocketState, dict[Fact, tuple[SocketState, tuple[Step, ...]]]] = {
    _S.CONNECTING: {
        _F.CONNECT_SENT: (_S.HANDSHAKE, ()),
        _F.CONNECT_UNSENT: (_S.ENDED, _DENY),
        # An answer that overtakes the layer's own proves that the connect arrived.
        _F.ACCEPTED: (_S.OPEN, (Step.ACCEPT,)),
        _F.REFUSED: (_S.ENDED, _DENY_FORGET),
        _F.TURNED_AWAY: (_S.LEFT, _DENY),
        _F.LOST: (_S.LEFT, ()),
    },
    _S.LEFT: {
        _F.CONNECT_SENT: (_S.ENDED, _TELL),
        _F.CONNECT_UNSENT: (_S.ENDED, ()),
        _F.REFUSED: (_S.ENDED, (Step.FORGET,)),
    },
    _S.HANDSHAKE: {
        _F.ACCEPTED: (_S.OPEN, (Step.ACCEPT,)),
        _F.REFUSED: (_S.ENDED, _DENY_FORGET),
        _F.TURNED_AWAY: (_S.ENDED, _DENY_TELL),
        _F.LOST: (_S.ENDED, _TELL),
    },
    _S.OPEN: {
        _F.SAID: (_S.OPEN, (Step.WRITE,)),
        _F.RECEIVED: (_S.OPEN, (Step.SEND,)),
        _F.CLOSE: (_S.CLOSING, (Step.CLOSE,)),
        _F.CLOSE_BEGUN: (_S.CLOSING, ()),
        _F.LOST: (_S.EMPTYING, ()),
    },
    _S.CLOSING: {
        _F.OVERDUE: (_S.CLOSING, (Step.ABORT,)),
        _F.LOST: (_S.EMPTYING, ()),
    },
    _S.EMPTYING: {_F.EMPTIED: (_S.ENDED, _TELL)},
    _S.ENDED: {},
}


_NOTHING: tuple[Action, ...] = ()
_FORGET, _PAUSE, _RESUME, _READ_ON, _ABORT = Forget(), Pause(), Resume(), ReadOn(), Abort()
_GO = (GO,)
_NO_FRAMES: list[SendFrame] = []
#: Looked up once: a member of an enumeration costs as much as the comparison.
_OPEN, _SENT = SocketState.OPEN, Outcome.SENT

#: RFC 6455 7.1.5: the connection ended without a close frame.
ABNORMAL = 1006
TRY_AGAIN = Close(1013, "the server is busy")
_GAP = Close(1013, "a message was lost")
_FENCED = Close(1012, "the server restarted")

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
        self.state = SocketState.CONNECTING
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
        #: Whether nothing is sent any more.
        self._given_up = False
        self._known = 0
        #: Why the client is not read from at present, as bits.
        self.pauses = 0

    def happened(self, fact: Fact, detail: Action | None = None) -> Sequence[Action]:
        """Go through the table. `detail` is the action for the step that needs one."""
        row = TABLE[self.state].get(fact)
        if row is None:
            return _NOTHING
        self.state, steps = row
        return [self._action(step, detail) for step in steps]

    def _action(self, step: Step, detail: Action | None) -> Action:
        if step is Step.TELL:
            return Tell(self._code, self._order)
        if step is Step.FORGET:
            return _FORGET
        if step is Step.ABORT:
            return _ABORT
        if detail is None:
            raise TypeError(f"the step {step} needs its action")
        return detail

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
        actions: list[Action] = []
        if self.state is not SocketState.OPEN:
            if reply.denial is not None:
                return self.happened(Fact.REFUSED, reply.denial)
            if reply.problem is not None:
                return self.happened(Fact.TURNED_AWAY, reply.problem)
            if reply.acceptance is not None:
                actions += self.happened(Fact.ACCEPTED, reply.acceptance)
        elif reply.accept is False:
            return _NOTHING
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
        if self.state in (SocketState.CONNECTING, SocketState.HANDSHAKE):
            return self.turn_away(BUSY)
        return self._gap()

    def close(self, close: Close) -> Sequence[Action]:
        """Begin the closing handshake of an open socket; frames that came before still leave."""
        actions = self.happened(Fact.CLOSE, close)
        return [*self._resume(), *actions] if actions else actions

    def expel(self, close: Close) -> Sequence[Action]:
        """Close for what the client did: the disconnect says so even if the client never answers."""
        self._code = close.code
        return self.close(close)

    def close_begun(self) -> Sequence[Action]:
        """The client began the closing handshake, or broke the protocol and was sent a close frame."""
        self.happened(Fact.CLOSE_BEGUN)
        return self._resume()

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
        """A message of a client of which nothing waits, as nearly always: its frame, to be sent now.

        None if it has to go through `received`.
        """
        weight = len(payload) + self._message_weight
        if self._flight or self._waiting or self.state is not _OPEN or weight > self._light_weight:
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
        if self.state is not _OPEN or self._given_up:
            return _NOTHING
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
        return self._pause(_LAYER) if self.state is SocketState.OPEN else _NOTHING

    def answered(self, outcome: Outcome) -> Sequence[Action]:
        """The layer's answer to a frame. What counts is how many of a batch were accepted: the first ones."""
        flight = self._flight
        if (
            outcome is _SENT
            and len(flight) == 1
            and not self._waiting
            and self.state is _OPEN
            and not self.pauses
        ):
            self._flight = _NO_FRAMES
            self._known = flight[0].order
            self.passed, self.passed_weight = 1, self._weight
            self.due = self._weight = self._boxed_weight = 0
            return _NOTHING
        self.due -= 1
        if outcome > 0 or outcome.accepted:
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
        return self._perhaps_emptied() if self.state is SocketState.EMPTYING else _NOTHING

    def _next(self) -> Sequence[Action]:
        if self._boxed_weight >= _BOXED_WEIGHT:
            return self._wait(Outcome.BOXED)
        few = len(self._flight) + len(self._waiting) <= self._limit_messages // 2
        if self.pauses and few and self._weight <= self._limit_weight // 2:
            return (GO, *self._resume(_LAYER))
        return _GO

    def _refused(self, outcome: Outcome) -> Sequence[Action]:
        if self._given_up:
            return self._drop()
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
        self._given_up = True
        return [*self.close(close), *self._drop()]

    def _gap(self) -> Sequence[Action]:
        return self.give_up(_GAP)

    def _drop(self) -> Sequence[Action]:
        """Drop what is not with the layer."""
        self._waiting = _NO_FRAMES
        self._flight = self._flight[: self.passed + self.due] if self.due else _NO_FRAMES
        self._weight = _weight_of(self._flight)
        self._held = False
        return self._perhaps_emptied()

    def _perhaps_emptied(self) -> Sequence[Action]:
        if self.state is not SocketState.EMPTYING or self._waiting or self._flight:
            return _NOTHING
        return self.happened(Fact.EMPTIED)

    # How fast the client may send.

    def too_fast(self) -> Sequence[Action]:
        """The client sends more than it may; it is not read from until `slow_enough`."""
        return self._pause(_RATE) if self.state is SocketState.OPEN else _NOTHING

    def slow_enough(self) -> Sequence[Action]:
        """The client has waited long enough."""
        return self._resume(_RATE)

    def falls_behind(self) -> Sequence[Action]:
        """Much of what the client was sent waits for it: it is not read from until it has caught up."""
        return self._pause(_BEHIND) if self.state is SocketState.OPEN else _NOTHING

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
