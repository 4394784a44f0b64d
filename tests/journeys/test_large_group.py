"""A group of sockets in several interface processes: all hear everything, soon, by one push to each process.

With HEADRACE_FULL=1 ten thousand sockets and a hundred messages, as the promise is worded.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

from headrace_asgi import RedisChannelLayer
from tests.support.rawclient import open_sockets
from tests.support.services import RedisServer
from tests.support.stack import Stack, eventually

FULL = bool(os.environ.get("HEADRACE_FULL"))
PROCESSES, MEMBERS, MESSAGES = (4, 10_000, 100) if FULL else (2, 400, 25)
#: Seconds between two messages: what is looked at is how late one comes, not how much fits.
PACE_SECONDS = 1.0 if FULL else 0.1
P99_SECONDS = 1.0
#: Number and time of a message, padded: every frame is as long as the next.
TEXT_BYTES = 40
FRAME_BYTES = 2 + TEXT_BYTES


@dataclass
class Ears:
    """Sockets of which each frame is noted, by how late it came."""

    sockets: list[socket.socket]
    waits_seconds: list[float] = field(default_factory=list)
    #: Number of a message -> how many members heard it.
    heard: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._poll = select.epoll()
        self._by_number = {one.fileno(): one for one in self.sockets}
        self._halves: dict[int, bytes] = {}
        for number, one in self._by_number.items():
            one.setblocking(False)
            self._poll.register(number, select.EPOLLIN)

    def listen(self, until: float) -> None:
        """Note what comes until then."""
        while (left := until - time.monotonic()) > 0:
            for number, _ in self._poll.poll(left, 1000):
                received = self._halves.pop(number, b"") + self._by_number[number].recv(65_536)
                now = time.monotonic()
                while len(received) >= FRAME_BYTES:
                    index, sent = received[2:FRAME_BYTES].split()
                    self.heard[int(index)] += 1
                    self.waits_seconds.append(now - float(sent))
                    received = received[FRAME_BYTES:]
                if received:
                    self._halves[number] = received

    def close(self) -> None:
        self._poll.close()
        for one in self.sockets:
            one.close()


def pushes(server: RedisServer) -> int:
    """How often something was put at the end of a list of this server, scripts included."""
    found = server.command("INFO", "commandstats").partition(b"cmdstat_rpush:calls=")[2]
    return int(found.partition(b",")[0] or 0)


def test_everybody_of_a_large_group_hears_everything_within_a_second_by_one_push_to_each_process(
    private_redis_server: RedisServer,
) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with Stack.over(private_redis_server.tcp_url) as stack:
        layer = RedisChannelLayer(**stack.config)
        stack.worker(processes=2)
        sockets = []
        for _ in range(PROCESSES):
            stack.port = 0
            stack.interface("--no-access-log", "--ping-interval", "3600", "--max-address-handshakes", "1000")
            sockets += open_sockets(stack.port, "/ws/count", MEMBERS // PROCESSES)
        ears = Ears(sockets)
        eventually(lambda: layer.group_count("counted") == MEMBERS)
        before = pushes(private_redis_server)
        for number in range(MESSAGES):
            now = time.monotonic()
            layer.send_group("counted", {"text": f"{number} {now:.6f}".ljust(TEXT_BYTES)})
            ears.listen(now + PACE_SECONDS)
        ears.listen(time.monotonic() + 2 * P99_SECONDS)
        pushed = pushes(private_redis_server) - before
        ears.close()
        layer.close()
    waits = statistics.quantiles(ears.waits_seconds, n=100)
    last = max(ears.waits_seconds)
    late = f"median {waits[49]:.3f} s, p99 {waits[98]:.3f} s, last {last:.3f} s"
    print(f"{len(ears.waits_seconds)} deliveries, {late}, {pushed} pushes")  # noqa: T201
    assert ears.heard == dict.fromkeys(range(MESSAGES), MEMBERS)
    assert waits[98] <= P99_SECONDS
    assert pushed == MESSAGES * PROCESSES
