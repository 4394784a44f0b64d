"""One WebSocket, decided: what happened goes in as facts, what to do comes out as actions.

Pure: no socket, reactor, clock or layer. `TABLE` below is the whole life of a socket; a fact that is not in
the row of the present state changes nothing. The rules for replies are those of ASGI 0.x (Send/Close/Accept).
An ordered socket has one frame with the layer at a time: nothing is accepted behind one that was refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from headrace_asgi.contract import Outcome

from .websocket_actions import BUSY, Abort, Action, Close, Deny, Forget, Pause, Resume, SendFrame, Tell, Write

if TYPE_CHECKING:
    from .websocket_reply import Reply

__all__ = ["TABLE", "Exchange", "Fact", "State", "Step"]


class State(StrEnum):
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


_S, _F = State, Fact
_TELL = (Step.TELL,)
_DENY = (Step.DENY,)
_DENY_TELL = (Step.DENY, Step.TELL)
#: S8: an application that refused a socket is not told of its end.
_DENY_FORGET = (Step.FORGET, Step.DENY)

#: state → fact → (next state, steps). The disconnect is told once: ENDED is never left.
TABLE: dict[State, dict[Fact, tuple[State, tuple[Step, ...]]]] = {
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
_FORGET, _PAUSE, _RESUME, _ABORT = Forget(), Pause(), Resume(), Abort()

#: RFC 6455 7.1.5: the connection ended without a close frame.
ABNORMAL = 1006
_TRY_AGAIN = Close(1013, "the server is busy")
_GAP = Close(1013, "a message was lost")
_FENCED = Close(1012, "the server restarted")

#: What a message costs us besides its content while the layer has not answered; empty ones cost this too.
_MESSAGE_BYTES = 256

#: Reasons not to read from the client: what it sent waits for the layer; it sends too fast.
_LAYER, _RATE = 1, 2


class Exchange:
    """The life of one socket. Every method takes a fact and answers what to do, in order.

    Until the worker's verdict a socket's frames are ordered; `ordered` is then what the verdict said: True,
    False, or "slight" (in order of sending only, a gap is no reason to close).
    """

    __slots__ = (
        "_busy",
        "_code",
        "_held",
        "_limit",
        "_order",
        "_unanswered",
        "_waiting",
        "ordered",
        "pauses",
        "state",
    )

    def __init__(self, limit_held: int) -> None:
        """Take how much of the client's (bytes, or characters of text, and 256 for each message) may wait for
        the layer until it is paused."""
        self.state = State.CONNECTING
        self.ordered: bool | str | None = None
        self._limit = limit_held
        self._order = 1
        #: What the disconnect will say.
        self._code = ABNORMAL
        #: An ordered frame is with the layer: the next one waits until it has answered (PROTOCOL 1h).
        self._busy = False
        self._waiting: deque[str | bytes] | None = None
        self._unanswered = 0
        self._held = 0
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
        if self.state is not State.OPEN:
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
        if self.state is State.OPEN:
            return self._gap() if self.ordered is True else _NOTHING
        return self.turn_away(denial)

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
        if code != ABNORMAL:
            self._code = code
        return [*self.happened(Fact.LOST), *self._perhaps_emptied()]

    # What the client says.

    def verdict(self, ordered: bool | str) -> Sequence[Action]:
        """The worker that took the connect says whether the socket is ordered; only the first one counts."""
        if self.ordered is not None:
            return _NOTHING
        self.ordered = ordered
        if ordered is True or self._waiting is None:
            return _NOTHING
        waiting, self._waiting = self._waiting, None
        return [*(self._plain(payload) for payload in waiting), *self._perhaps_emptied()]

    def received(self, payload: str | bytes) -> Sequence[Action]:
        """A message of the client, in the order of their coming."""
        if self.state is not State.OPEN:
            return _NOTHING
        if self.ordered is None or self.ordered is True:
            if not self._busy:
                return (self._ordered(payload),)
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(payload)
            self._held += len(payload) + _MESSAGE_BYTES
            return self._pause(_LAYER) if self._held > self._limit else _NOTHING
        self._held += len(payload) + _MESSAGE_BYTES
        if self._held > self._limit:
            return (self._plain(payload), *self._pause(_LAYER))
        return (self._plain(payload),)

    def ordered_answered(self, outcome: Outcome) -> Sequence[Action]:
        """The layer's answer to a frame that was sent through the mailbox."""
        self._busy = False
        if outcome > 0 or outcome.accepted:
            return self._next()
        if self.ordered is None or self.ordered is True or outcome is not Outcome.UNKNOWN:
            return self._refused(outcome)
        return _NOTHING

    def plain_answered(self, outcome: Outcome) -> Sequence[Action]:
        """The layer's answer to a frame of a socket that is not ordered."""
        self._unanswered -= 1
        if not self._unanswered:
            self._held = 0
            if self.pauses:
                return self._resume(_LAYER)
        if outcome > 0 or outcome is Outcome.UNKNOWN:
            return _NOTHING
        return self._refused(outcome)

    def _ordered(self, payload: str | bytes) -> SendFrame:
        self._busy = True
        order = self._order
        self._order = order + 1
        return SendFrame(payload, order, True)

    def _plain(self, payload: str | bytes) -> SendFrame:
        self._unanswered += 1
        order = self._order
        self._order = order + 1
        return SendFrame(payload, order, False)

    def _next(self) -> Sequence[Action]:
        waiting = self._waiting
        if not waiting:
            return self._perhaps_emptied()
        payload = waiting.popleft()
        if not waiting:
            self._waiting = None
        self._held -= len(payload) + _MESSAGE_BYTES
        if self.pauses and self._held <= self._limit // 2:
            return [self._ordered(payload), *self._resume(_LAYER)]
        return (self._ordered(payload),)

    def _refused(self, outcome: Outcome) -> Sequence[Action]:
        self._waiting = None
        if outcome is Outcome.GONE:
            close = _FENCED
        else:
            close = _GAP if outcome is Outcome.UNKNOWN else _TRY_AGAIN
        return [*self.close(close), *self._perhaps_emptied()]

    def _gap(self) -> Sequence[Action]:
        self._waiting = None
        return self.close(_GAP)

    def _perhaps_emptied(self) -> Sequence[Action]:
        if self.state is not State.EMPTYING or self._waiting or self._busy:
            return _NOTHING
        return self.happened(Fact.EMPTIED)

    # How fast the client may send.

    def too_fast(self) -> Sequence[Action]:
        """The client sends more than it may; it is not read from until `slow_enough`."""
        return self._pause(_RATE) if self.state is State.OPEN else _NOTHING

    def slow_enough(self) -> Sequence[Action]:
        """The client has waited long enough."""
        return self._resume(_RATE)

    def _pause(self, reason: int) -> Sequence[Action]:
        before, self.pauses = self.pauses, self.pauses | reason
        return _NOTHING if before else (_PAUSE,)

    def _resume(self, reason: int = _LAYER | _RATE) -> Sequence[Action]:
        before, self.pauses = self.pauses, self.pauses & ~reason
        return (_RESUME,) if before and not self.pauses else _NOTHING
