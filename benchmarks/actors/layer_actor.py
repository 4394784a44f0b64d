"""One process that uses a channel layer, of this project or of another one, as it is told.

    python layer_actor.py LIBRARY URL OPTIONS

LIBRARY is headrace, "headrace on RabbitMQ", asgi_redis or channels_redis; OPTIONS are further ones of its
layer, as JSON. A JSON line says that it is ready; then each JSON line that comes in, {"do": METHOD, …}, is
answered by one. Every answer has `cpu`, the CPU seconds of this process so far.

It is run by its path, in the environment of its LIBRARY: with nothing of this project in reach but what is
installed there, by Python 3.7 or later.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

#: Messages carry 200 bytes in all; those that are timed have two numbers beside the text.
MESSAGE = {"text": "x" * 190}
TEXT = "x" * 160
#: Pairs between two looks at the clock.
PAIRS = 50
#: No case may be held up by a channel's capacity.
CAPACITY = 1000000
#: Seconds after which a message that did not come never will.
PATIENCE_SECONDS = 60.0
PAIR_CHANNEL, TAKE_CHANNEL, GROUP = "bench.pair", "bench.take", "bench"
#: Dicts; Python 3.7 has no shorter word for them.
Message = Any
Answer = Any


class Arrivals:
    """When a numbered message came to the last one of several channels."""

    def __init__(self, channels: int, sends: int) -> None:
        self.missing = dict.fromkeys(range(sends), channels)
        self.last: dict[int, float] = {}
        self.give_up = time.monotonic() + PATIENCE_SECONDS

    def came(self, number: int) -> None:
        """It came to one of them."""
        self.missing[number] -= 1
        if not self.missing[number]:
            del self.missing[number]
            self.last[number] = time.monotonic()

    @property
    def waited_for(self) -> bool:
        """Whether any are still to come. RuntimeError if that took too long."""
        if self.missing and time.monotonic() > self.give_up:
            raise RuntimeError(f"of the group's messages these did not arrive: {sorted(self.missing)}")
        return bool(self.missing)


class Blocking:
    """The work on a layer whose methods block: Headrace's, and asgi_redis's."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.queue = f"bench.{uuid.uuid4().hex[:16]}!"
        self.channels: list[str] = []

    def pairs(self, seconds: float) -> Answer:
        send, receive, channels = self.layer.send, self.layer.receive, [PAIR_CHANNEL]
        began, count = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            for _ in range(PAIRS):
                send(PAIR_CHANNEL, MESSAGE)
                if receive(channels)[0] is None:
                    raise RuntimeError("a message that was just sent is not there")
            count += PAIRS
        return {"count": count}

    def batches(self, seconds: float, size: int) -> Answer:
        batch, channels = [(PAIR_CHANNEL, MESSAGE)] * size, [PAIR_CHANNEL]

        def handle() -> None:
            self.layer.send_many(batch)
            _all_of(size, lambda missing: self.layer.receive_many(channels, missing))

        return _repeated(handle, size, seconds)

    def later(self, seconds: float, size: int) -> Answer:
        channels = [PAIR_CHANNEL]

        def handle() -> None:
            for _ in range(size):
                self.layer.send_later(PAIR_CHANNEL, MESSAGE, delay=0)
            self.layer.move_due()
            _all_of(size, lambda missing: self.layer.receive_many(channels, missing))

        return _repeated(handle, size, seconds)

    def worked(self, seconds: float, size: int) -> Answer:
        """Take as a worker does: what it owes for what it took, it says with its next take."""
        from headrace_asgi.contract import ends_of

        port = self.layer.open_worker_port(_refused)
        batch, channels = [(PAIR_CHANNEL, MESSAGE)] * size, [PAIR_CHANNEL]
        owed: list[Any] = []

        def take(missing: int) -> list[Any]:
            taken = port.turn(owed, channels, missing, PATIENCE_SECONDS)
            owed[:] = ends_of(taken)
            return taken  # type: ignore[no-any-return]

        def handle() -> None:
            self.layer.send_many(batch)
            _all_of(size, take)

        answer = _repeated(handle, size, seconds)
        port.turn(owed, [], 0, 0)
        port.close()
        return answer

    def paced(self, count: int, interval: float) -> Answer:
        return self._paced(count, interval, lambda message: self.layer.send(TAKE_CHANNEL, message))

    def paced_groups(self, count: int, interval: float) -> Answer:
        return self._paced(count, interval, lambda message: self.layer.send_group(GROUP, message))

    def _paced(self, count: int, interval: float, send: Callable[[Message], object]) -> Answer:
        began, sent = time.monotonic(), []
        for number in range(count):
            time.sleep(max(0.0, began + number * interval - time.monotonic()))
            sent.append(time.monotonic())
            send({"text": TEXT, "number": number, "sent": sent[-1]})
        return {"sent": sent}

    def take(self, count: int) -> Answer:
        waits: list[float] = []
        give_up = time.monotonic() + PATIENCE_SECONDS
        while len(waits) < count:
            _, message = self.layer.receive([TAKE_CHANNEL], block=True)
            if message is not None:
                waits.append(time.monotonic() - message["sent"])
            elif time.monotonic() > give_up:
                raise RuntimeError(f"{len(waits)} of {count} messages came")
        return {"waits": waits}

    def join(self, channels: int) -> Answer:
        self.channels = [f"{self.queue}{number:04}" for number in range(channels)]
        return self.add(self.channels)

    def add(self, channels: list[str]) -> Answer:
        for channel in channels:
            self.layer.group_add(GROUP, channel)
        return {}

    def hear(self, sends: int) -> Answer:
        arrivals = Arrivals(len(self.channels), sends)
        while arrivals.waited_for:
            _, message = self.layer.receive([self.queue], block=True)
            if message is not None:
                arrivals.came(message["number"])
        return {"last": arrivals.last}

    def cpu(self) -> Answer:
        """Nothing: every answer has it."""
        return {}

    def rest(self, seconds: float) -> Answer:
        """Wait for messages that do not come."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.layer.receive([TAKE_CHANNEL], block=True)
        return {}


def _repeated(handle: Callable[[], None], size: int, seconds: float) -> Answer:
    """Handle a batch of so many again and again."""
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        handle()
        count += size
    return {"count": count}


def _all_of(size: int, take: Callable[[int], list[Any]]) -> None:
    """Take until so many came, told how many are missing."""
    while size:
        taken = len(take(size))
        if not taken:
            raise RuntimeError("messages that were just sent are not there")
        size -= taken


def _refused(item: Any, outcome: Any) -> None:
    raise RuntimeError(f"{item!r} was refused: {outcome!r}")


class Awaiting:
    """The same on a layer of coroutines, channels_redis's, each case in one of them."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.loop = asyncio.new_event_loop()
        self.channels: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Answer]:
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self, "_" + name)
        return lambda **given: self.loop.run_until_complete(method(**given))

    async def _pairs(self, seconds: float) -> Answer:
        send, receive = self.layer.send, self.layer.receive
        began, count = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            for _ in range(PAIRS):
                await send(PAIR_CHANNEL, MESSAGE)
                await receive(PAIR_CHANNEL)
            count += PAIRS
        return {"count": count}

    async def _paced(self, count: int, interval: float) -> Answer:
        return await self._send_paced(count, interval, self.layer.send, TAKE_CHANNEL)

    async def _paced_groups(self, count: int, interval: float) -> Answer:
        return await self._send_paced(count, interval, self.layer.group_send, GROUP)

    async def _send_paced(
        self, count: int, interval: float, send: Callable[[str, Message], Awaitable[None]], name: str
    ) -> Answer:
        began, sent = time.monotonic(), []
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number * interval - time.monotonic()))
            sent.append(time.monotonic())
            await send(name, {"text": TEXT, "number": number, "sent": sent[-1]})
        return {"sent": sent}

    async def _take(self, count: int) -> Answer:
        waits: list[float] = []

        async def take() -> None:
            for _ in range(count):
                message = await self.layer.receive(TAKE_CHANNEL)
                waits.append(time.monotonic() - message["sent"])

        await asyncio.wait_for(take(), PATIENCE_SECONDS)
        return {"waits": waits}

    async def _join(self, channels: int) -> Answer:
        self.channels = [await self.layer.new_channel() for _ in range(channels)]
        return await self._add(self.channels)

    async def _add(self, channels: list[str]) -> Answer:
        for channel in channels:
            await self.layer.group_add(GROUP, channel)
        return {}

    async def _hear(self, sends: int) -> Answer:
        arrivals = Arrivals(len(self.channels), sends)

        async def listen(channel: str) -> None:
            for _ in range(sends):
                arrivals.came((await self.layer.receive(channel))["number"])

        listening = asyncio.gather(*[listen(channel) for channel in self.channels])
        await asyncio.wait_for(listening, PATIENCE_SECONDS)
        return {"last": arrivals.last}

    async def _cpu(self) -> Answer:
        return {}

    async def _rest(self, seconds: float) -> Answer:
        waiting = asyncio.ensure_future(self.layer.receive(TAKE_CHANNEL))
        await asyncio.wait([waiting], timeout=seconds)
        waiting.cancel()
        await asyncio.wait([waiting])
        return {}


def opened(library: str, url: str, options: str) -> Blocking | Awaiting:
    """The layer of a library, and the work on it."""
    given: dict[str, Any] = {"capacity": CAPACITY, **json.loads(options)}
    if library == "headrace":
        from headrace_asgi import RedisChannelLayer

        return Blocking(RedisChannelLayer([url], **given))
    if library == "headrace on RabbitMQ":
        from headrace_asgi import RabbitMQChannelLayer

        return Blocking(RabbitMQChannelLayer(url, **given))
    if library == "asgi_redis":
        from asgi_redis import RedisChannelLayer

        return Blocking(RedisChannelLayer(hosts=[url], **given))
    if library == "channels_redis":
        from channels_redis.core import RedisChannelLayer

        return Awaiting(RedisChannelLayer(hosts=[url], **given))
    raise SystemExit(f"there is no library {library!r}")


def main() -> None:
    """Do what is asked, until the input ends."""
    work = opened(*sys.argv[1:])
    say({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        method = asked.pop("do")
        say(getattr(work, method)(**asked))


def say(answer: Answer) -> None:
    """Answer with a line."""
    sys.stdout.write(json.dumps({**answer, "cpu": time.process_time()}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
