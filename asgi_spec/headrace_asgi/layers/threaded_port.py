"""An interface server's way to any layer that has blocking methods only: one thread sends, one receives.

It asks what layers of the ASGI 0.x family could do: `send` and `receive`. What the layer itself does not know
of, it cannot give:

- Order: frames leave in their order, but several workers may run them at the same time; `ordered` is ignored.
- Notes: workers send such a process none. So there is no verdict and no credit, nobody learns that a request
  is being worked on, and every member of a group gets a copy of its own.
- What happens when the process dies: nobody tells its disconnects, and its clients stay in their groups until
  the layer's `group_expiry`. So does a client that ends and was not discarded by its consumer.
- Room for many replies: the process's queue holds as many as any channel (`channel_capacity`, "headrace.*!").
- An expiry of each message, how full a channel is, `taken_channels`, `data_lost` and `fenced`.
- Telling a repeat from a first try where the first had an UNKNOWN outcome: a frame that is sent again may run
  twice, and a disconnect that is repeated until it is told may be told twice.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from ..backoff import Backoff
from ..contract import ChannelLayer, Done, InterfacePort, InterfaceReceiver, Outcome
from ..envelope import Message
from ..errors import ChannelFull, MessageTooLarge, OutcomeUnknown
from ..limits import STOP_LOOK_SECONDS, STOP_SECONDS
from ..messages import WEBSOCKET_CONNECT, WEBSOCKET_DISCONNECT, WEBSOCKET_RECEIVE
from ..names import local_part

__all__ = ["ThreadedPort", "open_interface_ports"]

log = logging.getLogger("headrace.layer")

#: Seconds between two tries to reach a layer that is away: at first, and at most.
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.05, 1.0
#: Seconds between two tries to send what must arrive.
_OWED_PAUSE_SECONDS = 0.1
#: The client to whom the sending thread writes so that the receiving one ends.
_NOBODY = "end"


@dataclass(slots=True, eq=False)
class _Job:
    """One thing for the sending thread."""

    act: Callable[[], Outcome]
    done: Done
    #: Whether it is tried until it is accepted.
    insists: bool = False


class _Sockets:
    """What the sending thread knows of the sockets."""

    def __init__(self) -> None:
        #: Local part -> number of the last message that was accepted.
        self.accepted: dict[str, int] = {}
        #: Local part -> the turn in which a frame was refused, and why: no later one of it may be accepted.
        self.refused: dict[str, tuple[int, Outcome]] = {}

    def remove(self, local: str) -> None:
        """Forget a socket, if it is known."""
        self.accepted.pop(local, None)
        self.refused.pop(local, None)


def open_interface_ports(
    layer: ChannelLayer, reactor: Any, version_label: str = ""
) -> Sequence[InterfacePort]:
    """The ports of an interface server: the layer's own, or one over its blocking methods."""
    return layer.open_interface_ports(reactor, version_label) or [ThreadedPort(layer, reactor)]


class ThreadedPort(InterfacePort):
    """See `contract.InterfacePort` for what every method does, and the module for what this one cannot."""

    taken_channels: frozenset[str] = frozenset()

    def __init__(self, layer: ChannelLayer, reactor: Any) -> None:
        """Take a layer, and the reactor in whose thread everything is told."""
        # Not a name of our own kind: those promise a reader of notes.
        self.process = f"headrace.{secrets.token_hex(16)}!"
        self.label = layer.label or type(layer).__name__
        self._layer = layer
        self._reactor = reactor
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._sockets = _Sockets()
        #: Grows with each turn of the reactor in which something was asked.
        self._turn = 0
        self._turn_ends = False
        self._stopping = False
        #: Ends every pause of the threads.
        self._ended = threading.Event()
        self._told_up: bool | None = None
        self._when_stopped: Callable[[], None] | None = None
        self._receiver: InterfaceReceiver

    def start(self, receiver: InterfaceReceiver) -> None:
        self._receiver = receiver
        for name, work in (("send", self._send_jobs), ("receive", self._receive_all)):
            threading.Thread(target=work, name=f"headrace-interface-{name}", daemon=True).start()

    # Asking, in the reactor's thread

    def send(self, channel: str, message: Message, expiry_seconds: float, done: Done) -> None:
        self._ask(partial(self._sent, channel, dict(message)), done)

    def connect(self, local: str, path: str, message: Message, expiry_seconds: float, done: Done) -> None:
        self._ask(partial(self._connected, local, dict(message)), done)

    def frame(self, local: str, message: Message, order: int, ordered: bool, done: Done) -> None:
        if not self._turn_ends:
            self._turn_ends = True
            self._reactor.callLater(0, self._end_turn)
        self._ask(partial(self._framed, local, dict(message), order, self._turn), done)

    def ask_level(self, channel: str) -> None:
        """Nothing follows: such a layer does not say."""

    def disconnect(self, local: str, message: Message, order: int, done: Done) -> None:
        self._jobs.put(_Job(partial(self._disconnected, local, dict(message)), done, insists=True))

    def leave_groups(self, local: str) -> None:
        """Nothing happens: such a layer does not say where a client is a member."""

    def forget(self, local: str) -> None:
        def forgotten() -> Outcome:
            self._sockets.remove(local)
            return Outcome.SENT

        self._jobs.put(_Job(forgotten, lambda outcome: None))

    def _ask(self, act: Callable[[], Outcome], done: Done) -> None:
        if self._stopping:
            self._reactor.callLater(0, self._tell, done, Outcome.UNAVAILABLE)
        else:
            self._jobs.put(_Job(act, done))

    def _end_turn(self) -> None:
        self._turn += 1
        self._turn_ends = False

    # The sending thread

    def _send_jobs(self) -> None:
        """Do one job after the other; between them, and when there is none, what must arrive."""
        owed: deque[_Job] = deque()
        ending = False
        while not self._ended.is_set() and not (ending and not owed):
            try:
                job = self._jobs.get(timeout=_OWED_PAUSE_SECONDS if owed else None)
            except Empty:
                self._do(owed.popleft(), owed)
                continue
            if job is None:
                ending = True
            else:
                self._do(job, owed)
        for job in owed:
            self._reactor.callFromThread(self._tell, job.done, Outcome.UNAVAILABLE)
        self._ended.set()
        self._sent(self.process + _NOBODY, {})
        self._reactor.callFromThread(self._finish)

    def _do(self, job: _Job, owed: deque[_Job]) -> None:
        outcome = job.act()
        if job.insists and not outcome.accepted:
            owed.append(job)
        else:
            self._reactor.callFromThread(self._tell, job.done, outcome)

    def _sent(self, channel: str, message: Message) -> Outcome:
        # An old layer has exceptions of its own.
        full = getattr(self._layer, "ChannelFull", ChannelFull)
        too_large = getattr(self._layer, "MessageTooLarge", MessageTooLarge)
        try:
            self._layer.send(channel, message)
        except full:
            return Outcome.FULL
        except (too_large, TypeError) as error:
            log.error("A message cannot be sent, its client is refused: %s", error)
            return Outcome.UNSENDABLE
        except OutcomeUnknown:
            return Outcome.UNKNOWN
        except Exception as error:
            log.debug("A message was not sent: %s", error)
            return Outcome.UNAVAILABLE
        return Outcome.SENT

    def _connected(self, local: str, message: Message) -> Outcome:
        if local in self._sockets.accepted:
            return Outcome.DUPLICATE
        outcome = self._sent(WEBSOCKET_CONNECT.channel, message)
        if outcome in (Outcome.SENT, Outcome.UNKNOWN):
            self._sockets.accepted[local] = 0
        return outcome

    def _framed(self, local: str, message: Message, order: int, turn: int) -> Outcome:
        sockets = self._sockets
        before = sockets.accepted.get(local)
        if before is None:
            return Outcome.GONE
        if order <= before:
            return Outcome.DUPLICATE
        refused_in, why = sockets.refused.get(local, (-1, Outcome.SENT))
        if refused_in == turn:
            return why
        outcome = self._sent(WEBSOCKET_RECEIVE.channel, message)
        if outcome is Outcome.SENT:
            sockets.accepted[local] = order
        elif outcome is not Outcome.UNSENDABLE:
            # What has an unknown outcome is sent again together with those behind it.
            sockets.refused[local] = turn, Outcome.UNAVAILABLE if outcome is Outcome.UNKNOWN else outcome
        return outcome

    def _disconnected(self, local: str, message: Message) -> Outcome:
        if local not in self._sockets.accepted:
            return Outcome.TOLD
        outcome = self._sent(WEBSOCKET_DISCONNECT.channel, message)
        if outcome is Outcome.UNSENDABLE:
            outcome = Outcome.TOLD  # it was logged, and never will be sent
        if outcome.accepted:
            self._sockets.remove(local)
        return outcome

    # The receiving thread

    def _receive_all(self) -> None:
        """Receive until the end; a first receive that waits for nothing says whether the layer is there."""
        backoff = Backoff(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        is_there = False
        while not self._ended.is_set():
            try:
                channel, message = self._layer.receive([self.process], block=is_there)
            except Exception as error:
                is_there = False
                self._reactor.callFromThread(self._tell_lost, str(error) or type(error).__name__)
                self._ended.wait(backoff.next_seconds())
                continue
            if not is_there:
                is_there = True
                backoff.reset()
                self._reactor.callFromThread(self._tell_back)
            if channel is not None and message is not None:
                self._reactor.callFromThread(self._tell, self._deliver, channel, message)

    # What is told, in the reactor's thread

    def _deliver(self, channel: str, message: Message) -> None:
        local = local_part(channel)
        if local != _NOBODY:
            self._receiver.reply(local, message)

    def _tell_lost(self, reason: str) -> None:
        if self._told_up is not False:
            self._told_up = False
            self._receiver.layer_lost(reason)

    def _tell_back(self) -> None:
        if self._told_up is not True:
            self._told_up = True
            self._receiver.layer_back()

    def _tell(self, told: Callable[..., object], *what: object) -> None:
        try:
            told(*what)
        except Exception:  # one client's failure must not keep the others from their answers
            log.exception("Telling a client what the layer said failed; going on with the next")

    # The end

    def stop(self, done: Callable[[], None], seconds: float = STOP_SECONDS) -> None:
        self._stopping = True
        self._when_stopped = done
        self._reactor.callLater(seconds, self._finish)
        self._wind_up()

    def _wind_up(self) -> None:
        """Let the threads end once no socket's disconnect is owed any more."""
        if self._when_stopped is None:
            return
        if any(True for _ in self._receiver.open_sockets()):
            self._reactor.callLater(STOP_LOOK_SECONDS, self._wind_up)
        else:
            self._jobs.put(None)

    def _finish(self) -> None:
        """End, whether the threads are done or not: they end with what they do now."""
        self._ended.set()
        done, self._when_stopped = self._when_stopped, None
        if done is not None:
            self._jobs.put(None)
            done()
