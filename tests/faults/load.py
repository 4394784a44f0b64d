"""A numbered load on both tiers: requests, frames in order and not, group messages, background messages.

It is light on purpose: what is looked for is what faults do, not how much fits. Everything ends with `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from headrace_asgi import RedisChannelLayer
from headrace_asgi.errors import ChannelFull, HeadraceError

from .account import Account

__all__ = ["Load", "running"]

#: More than a fault may leave waiting for the answer to a request of which nobody knows whether it was sent.
HTTP_CLIENTS = 24
#: Half of them are ordered.
SOCKETS = 40
#: Seconds between two units of one client.
HTTP_PAUSE_SECONDS = 0.06
FRAME_PAUSE_SECONDS = 0.1
GROUP_PAUSE_SECONDS = 0.25
BACKGROUND_PAUSE_SECONDS = 0.05
#: A frame that is offered while so many of its socket are unanswered would only measure the backlog.
MOST_UNANSWERED = 500


class Load:
    """Runs in a thread of its own; `account` may be read once it has stopped."""

    def __init__(self, port: int, config: dict[str, Any]) -> None:
        self.account = Account()
        self._port = port
        self._layer = RedisChannelLayer(**config)
        self._numbers = itertools.count(1)
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")
        self._senders = [
            threading.Thread(target=self._send_background, name="background"),
            threading.Thread(target=self._send_groups, name="groups"),
        ]
        self._unanswered: dict[str, set[int]] = {}
        self.error: BaseException | None = None

    def start(self) -> None:
        """Open every client, and wait until all of them are served."""
        self._thread.start()
        if not self._ready.wait(30) or self.error is not None:
            raise AssertionError(f"the load did not start: {self.error!r}")
        for thread in self._senders:
            thread.start()

    def stop(self) -> None:
        """Offer no more, wait for what is due, end the clients."""
        self._stopping.set()
        for thread in (*self._senders, self._thread):
            thread.join(120)
        self._layer.close()
        if self.error is not None:
            raise self.error

    def back_after(self, ended: float) -> float:
        """Seconds from `ended` until a request was answered and each socket heard an answer.

        Sockets that stand still are left out: how many there may be is the account's question.
        """
        https = [at for at in self.account.answered["http"].values() if at > ended]
        standing = self.account.standing_still
        sockets = {socket: 0.0 for socket in self._unanswered if socket not in standing}
        for kind in ("frame", "ordered"):
            for name, at in self.account.answered[kind].items():
                socket = name.split()[0]
                if at > ended and socket in sockets and (not sockets[socket] or at < sockets[socket]):
                    sockets[socket] = at
        if not https or not all(sockets.values()):
            return float("inf")
        return max(min(https), *sockets.values()) - ended

    async def _run(self) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                sockets = []
                for number in range(SOCKETS):
                    kind = "ordered" if number % 2 else "frame"
                    path = "/ws/count/ordered" if number % 2 else "/ws/count"
                    url = f"ws://127.0.0.1:{self._port}{path}"
                    options: Any = {
                        "compression": None,
                        "proxy": None,
                        "open_timeout": 20,
                        "ping_interval": None,
                    }
                    socket = await stack.enter_async_context(connect(url, **options))
                    name = f"s{number}"
                    self._unanswered[name] = set()
                    sockets.append((kind, name, socket))
                self._ready.set()
                hearing = [asyncio.create_task(self._hear(*each)) for each in sockets]
                offering = [asyncio.create_task(self._say(*each)) for each in sockets]
                offering += [asyncio.create_task(self._ask()) for _ in range(HTTP_CLIENTS)]
                await asyncio.gather(*offering)
                await self._settle()
                for task in hearing:
                    task.cancel()
        except BaseException as error:
            self.error = error
            self._ready.set()

    async def _settle(self) -> None:
        """Wait for late answers, as long as some still come."""
        before, since = -1, time.monotonic()
        while any(self._unanswered.values()) and time.monotonic() - since < 3:
            heard = sum(self.account.answers.values())
            if heard != before:
                before, since = heard, time.monotonic()
            await asyncio.sleep(0.1)

    # Sockets.

    async def _say(self, kind: str, name: str, socket: ClientConnection) -> None:
        unanswered = self._unanswered[name]
        for number in itertools.count(1):
            if self._stopping.is_set():
                return
            await asyncio.sleep(FRAME_PAUSE_SECONDS)
            if len(unanswered) >= MOST_UNANSWERED:
                continue
            self.account.offer(kind, f"{name} {number}", time.monotonic())
            unanswered.add(number)
            try:
                await socket.send(json.dumps({"socket": name, "n": number}))
            except ConnectionClosed:
                return

    async def _hear(self, kind: str, name: str, socket: ClientConnection) -> None:
        last = 0
        try:
            async for text in socket:
                content = json.loads(text)
                if "group" in content:
                    self.account.answer("copy", f"{content['group']} {name}", time.monotonic())
                    continue
                number = content["n"]
                self.account.answer(kind, f"{name} {number}", time.monotonic())
                self._unanswered[name].discard(number)
                if kind == "ordered" and number < last:
                    self.account.inversions.append(f"{name} {number} after {last}")
                last = number
        except ConnectionClosed:
            pass
        if socket.close_code is not None:
            self.account.closed.append(f"{kind} {name} {socket.close_code} {socket.close_reason}")

    # Requests.

    async def _ask(self) -> None:
        stream = None
        while not self._stopping.is_set():
            await asyncio.sleep(HTTP_PAUSE_SECONDS)
            name = str(next(self._numbers))
            begun = time.monotonic()
            self.account.offer("http", name, begun)
            try:
                if stream is None:
                    stream = await asyncio.open_connection("127.0.0.1", self._port)
                status, body, keep = await _exchange(stream, f"/count/{name}")
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                self.account.broken.append(f"{name} {error!r}")
                self.account.refuse("http", name, "broken")
                stream = None
                continue
            now = time.monotonic()
            self.account.waits_seconds.append(now - begun)
            if status == 200 and body == name.encode():
                self.account.answer("http", name, now)
            else:
                self.account.refuse("http", name, str(status))
            if not keep:
                stream[1].close()
                stream = None
        if stream is not None:
            stream[1].close()

    # What the application's own programs send.

    def _send_background(self) -> None:
        while not self._stopping.wait(BACKGROUND_PAUSE_SECONDS):
            name = str(next(self._numbers))
            self.account.offer("background", name, time.monotonic())
            try:
                self._layer.send("journey.count", {"n": int(name)})
            except ChannelFull:
                self.account.refuse("background", name, "full")
            except HeadraceError as error:
                self.account.refuse("background", name, type(error).__name__)

    def _send_groups(self) -> None:
        while not self._stopping.wait(GROUP_PAUSE_SECONDS):
            name = str(next(self._numbers))
            for socket in self._unanswered:
                self.account.offer("copy", f"{name} {socket}", time.monotonic())
            try:
                self._layer.send_group("counted", {"text": json.dumps({"group": name})})
            except HeadraceError as error:
                for socket in self._unanswered:
                    self.account.refuse("copy", f"{name} {socket}", type(error).__name__)


async def _exchange(
    stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: str
) -> tuple[int, bytes, bool]:
    """One request on a kept connection: status, body, and whether the connection may be used again."""
    reader, writer = stream
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    body = await reader.readexactly(int(lines["content-length"]))
    return status, body, lines.get("connection") != "close"


@contextlib.contextmanager
def running(port: int, config: dict[str, Any]) -> Iterator[Load]:
    """A load that is on while the block runs, and has an account behind it."""
    load = Load(port, config)
    load.start()
    try:
        yield load
    finally:
        load.stop()
