"""Sockets whose frames cannot leave now, and when each may try again.

Who waits for the layer tries again when that is back. Who waits for room in the channel goes on in turn as it
drains; how full it is, is asked for all together. Nothing runs while nobody waits.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

from headrace_asgi.backoff import pause_seconds
from headrace_asgi.contract import Outcome
from headrace_asgi.messages import WEBSOCKET_RECEIVE

if TYPE_CHECKING:
    from ..context import ServerContext

__all__ = ["DRAIN_SECONDS", "LEVEL_SECONDS", "LOOK_SECONDS", "Waiter", "Waiting", "WaitingRoom"]

logger = logging.getLogger("headrace.interface")

#: Between two questions how full the channel is, while somebody waits for room: twice what a worker needs for
#: the messages that one socket may have there, so that one that floods alone leaves it time for the others.
LEVEL_SECONDS = 0.004
#: Between two looks at those who wait for something else; also how long the answer to a question is awaited.
LOOK_SECONDS = 0.05
#: Sockets that are looked at after one answer; the others have their turn after the next ones.
_LOOKS = 500
#: Before what was refused is sent again: at first, and at most. It doubles, so that nobody asks again and
#: again for a crowd, or for a mailbox that is not emptied.
_FIRST_PAUSE_SECONDS = 0.005
_LAST_PAUSE_SECONDS = {Outcome.FULL: 0.1, Outcome.BOXED: 8.0}
#: The same where the layer is there and refuses or breaks: it is lost soon, or well again.
_REFUSED_PAUSE_SECONDS = 0.1
#: For those who still wait when the server ends; perhaps the workers end too.
DRAIN_SECONDS = 5.0


class Waiting:
    """Why a socket waits; kept until something of it was put on the channel."""

    __slots__ = ("again_at", "outcome", "refused_at", "tries")

    def __init__(self) -> None:
        #: What the layer said; None if it was not asked, as others come first.
        self.outcome: Outcome | None = None
        #: How often it said so, and when to try again.
        self.tries = 0
        self.again_at = -math.inf
        #: Since when nothing of this socket is accepted.
        self.refused_at = math.inf

    def refused(self, outcome: Outcome, now: float) -> None:
        """The layer did not take a frame, or there is too much in the socket's mailbox."""
        if outcome is not self.outcome:
            self.outcome, self.tries = outcome, 0
        if outcome is not Outcome.BOXED:
            self.refused_at = min(self.refused_at, now)
        self.again_at = now + _pause_seconds(outcome, self.tries)
        self.tries += 1


class Waiter(Protocol):
    """What sends the frames of a socket."""

    waiting: Waiting | None

    def send_on(self) -> int:
        """Send what may be sent now, and answer how many frames; or come back."""

    def give_up(self) -> None:
        """Nothing could be sent for too long."""

    def abort(self) -> None:
        """Drop the connection at once."""


class WaitingRoom:
    """One per process. All is called in the reactor's thread."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        #: Those who wait for room in the channel, and those who wait for a time or the layer; oldest first.
        self._for_room: OrderedDict[Waiter, None] = OrderedDict()
        self._for_time: OrderedDict[Waiter, None] = OrderedDict()
        self._timer: Any = None
        self._timer_seconds = 0.0
        #: When it was asked last how full the channel is, and whether the answer is still to come.
        self._asked_at = -math.inf
        self._asked = False
        self._next_look = 0.0
        #: When nobody is waited for any more.
        self._ends_at = math.inf

    def __len__(self) -> int:
        return len(self._for_room) + len(self._for_time)

    def enter(self, waiter: Waiter, outcome: Outcome | None) -> None:
        """Wait because the layer answered this, or with None because others come first."""
        waiting = waiter.waiting
        if waiting is None:
            waiting = waiter.waiting = Waiting()
        if outcome is None:
            waiting.outcome = None
        else:
            waiting.refused(outcome, self._context.clock.seconds())
        if outcome in (None, Outcome.FULL):
            self._for_room[waiter] = None
            self._ask_level(self._context.clock.seconds())
        else:
            self._for_time[waiter] = None
        self._run()

    def leave(self, waiter: Waiter) -> None:
        """The socket has ended, or may go on."""
        waiter.waiting = None
        self._for_room.pop(waiter, None)
        self._for_time.pop(waiter, None)

    def level(self, sent: int, waiting: int, capacity: int) -> None:
        """How full the channel is."""
        context = self._context
        context.shares.level(sent, waiting, capacity)
        if self._asked:
            self._asked = False
            self._let_in(context.clock.seconds(), capacity - waiting)

    def layer_back(self) -> None:
        """The layer is there again: all try, and have as long as at first."""
        self._asked = False
        for waiter in [*self._for_time, *self._for_room]:
            waiter.waiting = None
            self.try_now(waiter)
        self._run()

    def _run(self) -> None:
        """See to it that `_tick` comes; while the layer is away `layer_back` does."""
        if not self or not self._context.layer_up:
            return
        seconds = LEVEL_SECONDS if self._for_room else LOOK_SECONDS
        if self._timer is not None:
            if self._timer_seconds <= seconds:
                return
            self._timer.cancel()
        self._timer_seconds = seconds
        self._timer = self._context.clock.callLater(seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        context = self._context
        if not context.layer_up:
            return
        now = context.clock.seconds()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._look(now)
        if self._for_room:
            self._ask_level(now)
        self._run()

    def _ask_level(self, now: float) -> None:
        if not self._context.layer_up or now < self._asked_at + (
            LOOK_SECONDS if self._asked else LEVEL_SECONDS
        ):
            return
        unanswered, self._asked, self._asked_at = self._asked, True, now
        if unanswered:
            self._let_in(now, _LOOKS)  # a layer that does not say how full it is
        self._context.port.ask_level(WEBSOCKET_RECEIVE.channel)

    def _look(self, now: float) -> None:
        """Those for whom it is too late, and those whose time has come."""
        deadlines = self._context.settings.deadlines
        if self._context.draining:
            self._ends_at = min(self._ends_at, now + DRAIN_SECONDS)
        for waiter in [*self._for_room, *self._for_time]:
            waiting = waiter.waiting
            if waiting is None:
                continue
            patience = deadlines.queue if waiting.outcome is Outcome.FULL else deadlines.layer_grace
            if now >= min(waiting.refused_at + patience, self._ends_at):
                self._give_up(waiter)
            elif waiter in self._for_time and now >= waiting.again_at:
                self.try_now(waiter)

    def _let_in(self, now: float, room: int) -> None:
        """Let those go on who waited longest, as long as there is room for messages."""
        queue = self._for_room
        for _ in range(min(len(queue), _LOOKS)):
            if room <= 0:
                break
            waiter = next(iter(queue))
            waiting = waiter.waiting
            if waiting is not None and now < waiting.again_at:
                queue.move_to_end(waiter)
            else:
                room -= self.try_now(waiter)

    def try_now(self, waiter: Waiter) -> int:
        """Let one go on, and answer how many messages it sent."""
        self._for_room.pop(waiter, None)
        self._for_time.pop(waiter, None)
        try:
            return waiter.send_on()
        except Exception:  # one broken client must not keep the others waiting
            logger.exception("Sending on what a WebSocket said failed; its connection is dropped.")
            waiter.abort()
            return 0

    def _give_up(self, waiter: Waiter) -> None:
        self.leave(waiter)
        try:
            waiter.give_up()
        except Exception:
            logger.exception("Closing a WebSocket failed; its connection is dropped.")
            waiter.abort()


def _pause_seconds(outcome: Outcome, tries: int) -> float:
    most = _LAST_PAUSE_SECONDS.get(outcome)
    if most is None:
        return _REFUSED_PAUSE_SECONDS
    return pause_seconds(tries, _FIRST_PAUSE_SECONDS, most)
