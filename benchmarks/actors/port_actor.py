"""One process of ours with a real port, an interface server's or a worker's, as it is told.

    python port_actor.py members URL CLIENTS      an interface port whose clients hear a group
    python port_actor.py sockets URL CLIENTS      an interface port whose clients are sockets and talk to
    python port_actor.py worker URL ordered       a worker port that answers each frame; or `plain`

A JSON line says that it is ready; then each JSON line that comes in, {"do": METHOD, …}, is answered by one.
Every answer has `cpu`, the CPU seconds of this process so far.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from headrace.worker.loop import BLOCK_SECONDS
from headrace_asgi import RedisChannelLayer
from headrace_asgi.contract import Finish, InterfaceReceiver, OpenSocket, Out, Outcome, Send
from headrace_asgi.envelope import Message, pack_message
from headrace_asgi.messages import WEBSOCKET_CONNECT, WEBSOCKET_DISCONNECT, WEBSOCKET_RECEIVE

TEXT = "x" * 160
PATH = "/"
CAPACITY = 1_000_000
EXPIRY_SECONDS = 60.0
#: Messages that the worker takes at once, as `runworker` does at most.
TAKE_LIMIT = 20
CHANNELS = (WEBSOCKET_CONNECT.channel, WEBSOCKET_RECEIVE.channel, WEBSOCKET_DISCONNECT.channel)


class Heard(InterfaceReceiver):
    """An interface server that does nothing with what it hears but to count it, and to talk on."""

    def __init__(self, clients: Sequence[str], on_up: Callable[[], None]) -> None:
        """Take the local parts of its clients, and what is to be done once the layer is there."""
        self.clients = clients
        self.port: Any = None
        self._on_up = on_up
        #: Of a group: copies that are still to come of each message, and when the last one came.
        self._missing: dict[int, int] = {}
        self._last: dict[int, float] = {}
        #: Of a conversation: the number of a socket's frame, what it waits for, and when it spoke.
        self._ordered, self._until = False, 0.0
        self._orders: dict[str, int] = {}
        self._due: dict[str, int] = {}
        self._spoke: dict[str, float] = {}
        self._waits: list[float] = []

    # A group

    def hear(self, sends: int) -> None:
        """Answer when all clients have heard so many messages of the group."""
        self._missing, self._last = dict.fromkeys(range(sends), len(self.clients)), {}

    def group_message(self, group: str, members: Sequence[str], message: Message) -> None:
        number = message["number"]
        self._missing[number] -= len(members)
        if not self._missing[number]:
            del self._missing[number]
            self._last[number] = time.monotonic()
        if not self._missing:
            say({"last": self._last})

    # A conversation

    def talk(self, seconds: float, ordered: bool) -> None:
        """Let every socket send a frame, and the next one once that was answered, for a while."""
        self._ordered, self._waits = ordered, []
        self._until = time.monotonic() + seconds
        for local in self.clients:
            self._due[local] = 0
        for local in self.clients:
            self._frame(local)

    def _frame(self, local: str) -> None:
        order = self._orders.get(local, 0) + 1
        self._orders[local] = order
        self._due[local] = 2  # the layer's word for the frame, and the worker's answer
        self._spoke[local] = time.monotonic()
        message = {"reply_channel": self.port.process + local, "path": PATH, "text": TEXT, "order": order}
        self.port.frame(local, message, order, self._ordered, lambda outcome: self._accepted(local, outcome))

    def _accepted(self, local: str, outcome: Outcome) -> None:
        if not outcome.accepted:
            fail(f"a frame was not accepted: {outcome!r}")
        self._next(local)

    def reply(self, local: str, message: Message) -> None:
        self._waits.append(time.monotonic() - self._spoke[local])
        self._next(local)

    def _next(self, local: str) -> None:
        self._due[local] -= 1
        if self._due[local]:
            return
        if time.monotonic() < self._until:
            self._frame(local)
            return
        del self._due[local]
        if not self._due:
            say({"waits": self._waits})

    # The rest of what a port tells

    def control(self, kind: str, local: str, body: Message) -> None:
        """Notes are not looked at."""

    def level(self, channel: str, sent: int, waiting: int, capacity: int) -> None:
        """No channel is ever full here."""

    def data_lost(self) -> None:
        fail("the server lost its data")

    def layer_lost(self, reason: str) -> None:
        fail(f"the layer cannot be reached: {reason}")

    def layer_back(self) -> None:
        self._on_up()

    def fenced(self) -> None:
        fail("this process was declared dead")

    def is_open(self, local: str) -> bool:
        return local in self.clients

    def open_sockets(self) -> Iterable[OpenSocket]:
        return []


class Interface:
    """The reactor around a port, and what it is told from another thread."""

    def __init__(self, url: str, clients: int, are_sockets: bool) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._connecting = clients if are_sockets else 0
        self.heard = Heard([f"{number:016x}" for number in range(clients)], self._up)
        self.port: Any = _layer(url).open_interface_port(reactor)
        self.heard.port = self.port

    def run(self) -> None:
        """Serve until the input ends."""
        self._reactor.callWhenRunning(self.port.start, self.heard)
        threading.Thread(target=self._read, daemon=True).start()
        self._reactor.run(installSignalHandlers=False)

    def _up(self) -> None:
        if not self._connecting:
            self._ready()
            return
        for local in self.heard.clients:
            message = {"reply_channel": self.port.process + local, "path": PATH, "order": 0}
            self.port.connect(local, PATH, message, EXPIRY_SECONDS, self._connected)

    def _connected(self, outcome: Outcome) -> None:
        if not outcome.accepted:
            fail(f"a connect was not accepted: {outcome!r}")
        self._connecting -= 1
        if not self._connecting:
            self._ready()

    def _ready(self) -> None:
        say({"ready": True, "channels": [self.port.process + local for local in self.heard.clients]})

    def _read(self) -> None:
        for line in sys.stdin:
            self._reactor.callFromThread(self._do, json.loads(line))
        self._reactor.callFromThread(self.port.stop, self._reactor.stop)

    def _do(self, asked: dict[str, Any]) -> None:
        what = asked.pop("do")
        if what == "cpu":
            say({})
        else:
            getattr(self.heard, what)(**asked)


class Worker:
    """A worker's loop around its port: it answers frames, and nothing else."""

    def __init__(self, url: str, ordered: bool) -> None:
        self._port = _layer(url).open_worker_port(_refused)
        self._ordered = ordered
        self._ended = False

    def run(self) -> None:
        """Work until the input ends."""
        threading.Thread(target=self._read, daemon=True).start()
        say({"ready": True})
        out: list[Out] = []
        while not self._ended:
            taken = self._port.turn(out, CHANNELS, TAKE_LIMIT, BLOCK_SECONDS)
            out = []
            for one in taken:
                socket = one.message["reply_channel"]
                if one.channel == WEBSOCKET_RECEIVE.channel:
                    out.append(Send(socket, pack_message({"text": one.message["text"]})))
                if one.order is not None:
                    out.append(Finish(socket, one.order, one.place, drain=not self._ordered))
        self._port.close()

    def _read(self) -> None:
        for _ in sys.stdin:  # the only question is how much CPU time this process used
            say({})
        self._ended = True
        self._port.wake()


def _layer(url: str) -> RedisChannelLayer:
    return RedisChannelLayer([url], capacity=CAPACITY)


def _refused(item: Out, outcome: Outcome) -> None:
    fail(f"{item!r} was refused: {outcome!r}")


def say(answer: dict[str, Any]) -> None:
    """Answer with a line."""
    sys.stdout.write(json.dumps({**answer, "cpu": time.process_time()}) + "\n")
    sys.stdout.flush()


def fail(why: str) -> NoReturn:
    """Say why what is measured here means nothing, and end: after an error the reactor would go on."""
    say({"error": why})
    os._exit(1)


def main() -> None:
    """Be what the arguments say."""
    role, url, what = sys.argv[1:]
    if role == "worker":
        Worker(url, what == "ordered").run()
    else:
        Interface(url, int(what), role == "sockets").run()


if __name__ == "__main__":
    main()
