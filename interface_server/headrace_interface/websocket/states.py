"""The whole life of a WebSocket as one table: in each state, what may happen and what is done about it.

A fact that is not in the row of the present state changes nothing: it is late news. The rules for replies are
those of ASGI 0.x (Send/Close/Accept).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from headrace_asgi.enums import quick

__all__ = ["TABLE", "Fact", "SocketState", "SocketStep"]


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
    #: The application says something to the client.
    SAID = "said"
    #: The application or the server wants an end.
    CLOSE = "close"
    #: The client sent a close frame, or the frame parser failed the connection and sent one.
    CLOSE_BEGUN = "close begun"
    #: Messages of the client.
    RECEIVED = "received"
    #: The layer has no room, the client sends too fast, or it does not read.
    HELD_UP = "held up"
    #: What waits for the layer has no chance to leave any more.
    GIVEN_UP = "given up"
    #: The connection is gone.
    LOST = "lost"
    #: The last frame has left.
    EMPTIED = "emptied"
    #: The closing handshake took too long.
    OVERDUE = "overdue"


@quick
class SocketStep(StrEnum):
    """What a transition does; most make one action, from what came with the fact."""

    #: Answer the handshake with 101.
    ACCEPT = "accept"
    #: Answer it with an HTTP response, and close.
    DENY = "deny"
    #: Unregister the socket: nobody is told of its end.
    FORGET = "forget"
    #: Tell the application of the end, behind all that the client said.
    TELL = "tell"
    #: Write a message to the client.
    WRITE = "write"
    #: Begin the closing handshake.
    CLOSE = "close"
    #: Number the messages; they leave when the layer has room.
    SEND = "send"
    #: Stop reading from the client, if it is read from.
    PAUSE = "pause"
    #: Read on, for the client's part of the closing handshake.
    RESUME = "resume"
    #: Forget what waits, but for what is with the layer.
    DROP = "drop"
    #: Drop the connection at once.
    ABORT = "abort"


_S, _F = SocketState, Fact
_TELL = (SocketStep.TELL,)
_DENY = (SocketStep.DENY,)
_DROP = (SocketStep.DROP,)
#: An application that refused a socket is not told of its end.
_DENY_FORGET = (SocketStep.FORGET, SocketStep.DENY)

#: state → fact → (next state, steps). The disconnect is told once: ENDED is never left.
TABLE: Mapping[SocketState, Mapping[Fact, tuple[SocketState, tuple[SocketStep, ...]]]] = {
    _S.CONNECTING: {
        _F.CONNECT_SENT: (_S.HANDSHAKE, ()),
        _F.CONNECT_UNSENT: (_S.ENDED, _DENY),
        # An answer that overtakes the layer's own proves that the connect arrived.
        _F.ACCEPTED: (_S.OPEN, (SocketStep.ACCEPT,)),
        _F.REFUSED: (_S.ENDED, _DENY_FORGET),
        _F.TURNED_AWAY: (_S.LEFT, _DENY),
        _F.LOST: (_S.LEFT, ()),
    },
    _S.LEFT: {
        _F.CONNECT_SENT: (_S.ENDED, _TELL),
        _F.CONNECT_UNSENT: (_S.ENDED, ()),
    },
    _S.HANDSHAKE: {
        _F.ACCEPTED: (_S.OPEN, (SocketStep.ACCEPT,)),
        _F.REFUSED: (_S.ENDED, _DENY_FORGET),
        _F.TURNED_AWAY: (_S.ENDED, (SocketStep.DENY, SocketStep.TELL)),
        _F.LOST: (_S.ENDED, _TELL),
    },
    _S.OPEN: {
        _F.SAID: (_S.OPEN, (SocketStep.WRITE,)),
        _F.RECEIVED: (_S.OPEN, (SocketStep.SEND,)),
        _F.HELD_UP: (_S.OPEN, (SocketStep.PAUSE,)),
        _F.CLOSE: (_S.CLOSING, (SocketStep.RESUME, SocketStep.CLOSE)),
        _F.CLOSE_BEGUN: (_S.CLOSING, (SocketStep.RESUME,)),
        _F.GIVEN_UP: (_S.CLOSING, (SocketStep.RESUME, SocketStep.CLOSE, SocketStep.DROP)),
        _F.LOST: (_S.EMPTYING, ()),
    },
    _S.CLOSING: {
        _F.GIVEN_UP: (_S.CLOSING, _DROP),
        _F.OVERDUE: (_S.CLOSING, (SocketStep.ABORT,)),
        _F.LOST: (_S.EMPTYING, ()),
    },
    _S.EMPTYING: {
        _F.GIVEN_UP: (_S.EMPTYING, _DROP),
        _F.EMPTIED: (_S.ENDED, _TELL),
    },
    _S.ENDED: {},
}
