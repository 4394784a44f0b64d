"""What is done about the messages that a dead worker process held.

`settlement` decides, from what the flight record says: what was not started goes back to where it was taken
from; whoever waits for the answer of what was started is told at once that none will come; the next message
of an ordered socket may start. `Recovery` does it, as often as it takes until the layer has heard all of it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headrace_asgi.accounting import LOST
from headrace_asgi.backoff import Backoff
from headrace_asgi.contract import (
    Acknowledge,
    ChannelLayer,
    Control,
    Delivery,
    Finish,
    Out,
    Outcome,
    WorkerPort,
)
from headrace_asgi.control import FAILED, LAPSED, note
from headrace_asgi.errors import HeadraceError, LayerUnavailable, OutcomeUnknown
from headrace_asgi.limits import COUNTS_SECONDS
from headrace_asgi.log_limit import Trouble
from headrace_asgi.names import is_process_queue, local_part
from headrace_asgi.tally import Tally

from ..log import worker_log
from ..message import ANSWERED
from .activity import named
from .flight_record import HeldDelivery

__all__ = ["Recovery", "Settlement", "settlement"]

#: What a client is answered whose request ran in a process that died: Bad Gateway (RFC 9110, section 15.6.3).
WORKER_DIED_STATUS = 502
#: Why a message of an acknowledged channel failed that ran in such a process.
WORKER_DIED_REASON = "its worker process died"
#: Pauses between two tries while the layer is away: at first, and at most, in seconds.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0


@dataclass(slots=True)
class Settlement:
    """What is owed for the messages of one dead process."""

    #: Not started: to the head of their channels, in their order.
    give_back: list[Delivery] = field(default_factory=list)
    #: Started, without an order: notes to those who wait, and the failures of acknowledged messages.
    notes: list[Out] = field(default_factory=list)
    #: Started and ordered: the socket is told, then its next message may start.
    ordered: list[Delivery] = field(default_factory=list)
    #: What nobody will ever finish.
    lost: list[Delivery] = field(default_factory=list)
    #: Started, of acknowledged channels: another worker tries them soon.
    again: list[Delivery] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.give_back or self.notes or self.ordered)


def settlement(left: Sequence[HeldDelivery]) -> Settlement:
    """Decide what is owed for what a dead process left."""
    owed = Settlement()
    for delivery, started, whole, _ in left:
        if not started and (whole or delivery.claim is not None):
            owed.give_back.append(delivery)
            continue
        if delivery.claim is not None:
            owed.again.append(delivery)
            owed.notes.append(
                Acknowledge(delivery.channel, delivery.claim, delivery.place, WORKER_DIED_REASON)
            )
            continue
        owed.lost.append(delivery)
        if delivery.order is not None:
            owed.ordered.append(delivery)
        else:
            owed.notes += _told(delivery)
    return owed


def _told(delivery: Delivery) -> list[Out]:
    """The note to the process of a client: its request has no answer, its frame was lost."""
    reply_channel = delivery.message.get("reply_channel", "")
    if not is_process_queue(reply_channel):
        return []
    if delivery.channel in ANSWERED:
        body = note(
            FAILED,
            local=local_part(reply_channel),
            status=WORKER_DIED_STATUS,
            reason=WORKER_DIED_REASON,
        )
    elif delivery.order is not None:
        body = note(LAPSED, local=local_part(reply_channel))
    else:
        return []
    return [Control(reply_channel, body)]


class Recovery:
    """Settles with the layer for processes that died. Of the parent, which has no threads: calls block."""

    def __init__(self, layer: ChannelLayer, channels: Iterable[str] = ()) -> None:
        """Connects to nothing before something is owed, and to nothing afterwards.

        `channels` are those that the processes take.
        """
        self._layer = layer
        self._acknowledged = [channel for channel in channels if layer.is_acknowledged(channel)]
        #: Whether others must look for what a dead process was about to claim, or to move.
        self._rouses = False
        self._owed: list[Settlement] = []
        #: What processes have counted of which the layer does not know everything.
        self._tallies: list[Tally] = []
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, random.random)
        self._outage = Trouble()
        #: When to try again, on the caller's clock; None if nothing is owed.
        self.due: float | None = None

    def died(self, left: Sequence[HeldDelivery], now: float, tally: Tally | None = None) -> str:
        """A process died and left this, counted so far; what that means, for people. Settle soon."""
        owed = settlement(left)
        if tally is not None:
            for held in left:
                if held.delivery.claim is None and not held.over and (held.started or not held.whole):
                    tally.add(held.delivery.channel, LOST)
            if tally.has_said or not tally.is_known:
                self._tallies.append(tally)
                if self.due is None:  # nobody waits for it, and the layer may hang
                    self.due = now + COUNTS_SECONDS
        if owed:
            self._owed.append(owed)
            self.due = now
        if self._acknowledged:
            self._rouses = True
            self.due = now
        return _summary(owed)

    @property
    def is_awaited(self) -> bool:
        """Whether more than counts is owed."""
        return bool(self._owed or self._rouses)

    def settle(self, now: float) -> None:
        """Try to do all that is owed; `due` says when to try again. Blocks for a few round trips, or seconds
        where the layer hangs."""
        try:
            while self._owed:
                self._settle(self._owed[0])
                self._owed.pop(0)
            self._write_counts()
            if self._rouses:
                self._layer.rouse(self._acknowledged)
                self._rouses = False
        except HeadraceError as error:
            self.due = now + self._backoff.next_seconds()
            if self._outage.happened(now):
                worker_log.warning(
                    "Cannot settle yet for a worker process that died (%s); trying again until it works",
                    error,
                )
        except Exception:  # the parent has children to look after, whatever is wrong with this
            worker_log.exception(
                "Settling for a worker process that died failed; deadlines and leases end it"
            )
            self._owed, self._tallies = self._owed[1:], []
            self._rouses = False
            self.due = now if self._owed else None
        else:
            self._backoff.reset()
            self._outage.over()
            self.due = None
        finally:
            # The parent forks: a connection of its own would live on in its children.
            self._layer.close()

    def _write_counts(self) -> None:
        """What dead processes had counted, and what was counted here for them."""
        while self._tallies:
            self._layer.write_counts(self._tallies[0], last=True)
            self._tallies.pop(0)
        if not self._layer.tally.is_known:
            self._layer.write_counts(last=True)

    def _settle(self, owed: Settlement) -> None:
        """Each part is done once: what could not be asked of the layer is still there with the next try."""
        port = self._layer.open_worker_port(_refused)
        port.may_start_threads = False
        try:
            failed = _give_back(port, owed)
            port.turn(owed.notes, (), 0, 0)
            # What the port keeps is gone with it.
            owed.notes = list(port.kept)
            while owed.ordered:
                _end_ordered(port, owed.ordered[0])
                owed.ordered.pop(0)
            if owed.notes:
                raise LayerUnavailable(f"{len(owed.notes)} notes wait for a part of the layer that is away")
        finally:
            port.close()
        if failed is not None:
            raise failed


def _give_back(port: WorkerPort, owed: Settlement) -> HeadraceError | None:
    """Give back what was not started, and keep what has to be tried again; why, if there is any.

    What belongs together is asked alone: a place that is away, or a channel that something else wrote over,
    keeps nothing else back, and has nothing else given back twice.
    """
    together: dict[tuple[str, str], list[Delivery]] = {}
    for one in owed.give_back:
        together.setdefault((one.place, one.channel), []).append(one)
    failed = None
    owed.give_back = []
    for some in together.values():
        try:
            port.give_back(some)
        except OutcomeUnknown as error:
            # They may be back: twice there, they would run twice.
            worker_log.error("Perhaps %d messages were not given back: %s", len(some), error)
        except HeadraceError as error:
            owed.give_back += some
            failed = error
    return failed


def _end_ordered(port: WorkerPort, delivery: Delivery) -> None:
    """Tell the socket of a message that is lost, and let the next one start; nothing if it had finished.

    In this order, as somebody who dies in between must leave the message unfinished: its lease ends it then.
    """
    if port.renew(delivery):
        finish = Finish(delivery.message["reply_channel"], delivery.order or 0, delivery.place)
        port.turn([*_told(delivery), finish], (), 0, 0)
        if finish in port.kept:
            raise LayerUnavailable(f"the part of the layer that has a lost {delivery.channel} is away")


def _refused(item: Out, outcome: Outcome) -> None:
    """A note that is refused is about a client that is gone; a finish, about a message that had finished."""
    worker_log.log(logging.DEBUG, "Settling for a process that died: %s for %r", outcome.name, item)


def _summary(owed: Settlement) -> str:
    """What became of the messages of a dead process, in words; nothing if it held none."""
    said = []
    if owed.lost:
        said.append(f"lost {len(owed.lost)}: " + "; ".join(named(one) for one in owed.lost[:3]))
    if owed.again:
        said.append(f"trying {len(owed.again)} again: " + "; ".join(named(one) for one in owed.again[:3]))
    if owed.give_back:
        said.append(f"giving back {len(owed.give_back)} that it had not started")
    return ", ".join(said)
