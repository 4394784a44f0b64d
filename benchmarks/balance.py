"""Whether Redis is back where it began after many messages and sockets: its keys, and its memory.

`python -m benchmarks.balance --messages 1000000 --sockets 50000` opens and closes so many WebSockets, a batch
at a time, and echoes so many messages over them. Then it waits until nothing is left to do, and exits 1 if
another key is there than before, more memory is used, or a message is not accounted for.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from headrace_asgi import RedisChannelLayer
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is, names

from .__main__ import raise_file_limit
from .client import connected
from .processes import Tiers, run_tiers

__all__ = ["main"]

#: Sockets that are open at once, far below what files a process may open.
BATCH = 500
#: Seconds of one burst of echoes; the count is looked at after each.
BURST_SECONDS = 0.2
#: Every process has beaten, counted and announced by then, in seconds.
SETTLED_SECONDS = 7.0
#: Leases of sockets that have left end within it, in seconds.
PATIENCE_SECONDS = 150.0
#: What Redis itself may have more in the end, such as buffers of connections.
MOST_BYTES_LEFT = 256 * 1024
SHARED = ("http.request", "websocket.connect", "websocket.receive", "websocket.disconnect")


class Place(NamedTuple):
    """What Redis holds."""

    keys: list[str]
    used_bytes: int
    #: Without what connections and scripts use.
    data_bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print what was found; the exit status."""
    options = _parser().parse_args(arguments)
    raise_file_limit()
    with run_tiers() as tiers:
        layer = RedisChannelLayer([tiers.redis.url])
        try:
            return _run(tiers, layer, options.messages, options.sockets)
        finally:
            layer.close()


def _run(tiers: Tiers, layer: RedisChannelLayer, messages: int, sockets: int) -> int:
    _load(tiers, min(messages, 2000), min(sockets, BATCH))
    time.sleep(SETTLED_SECONDS)
    before = _look(layer)
    began = time.monotonic()
    sent = _load(tiers, messages, sockets)
    seconds = time.monotonic() - began
    time.sleep(SETTLED_SECONDS)
    after, waited = _look(layer), 0.0
    while after.keys != before.keys and waited < PATIENCE_SECONDS:
        time.sleep(1)
        waited += 1
        after = _look(layer)
    accounts = {channel: layer.statistics(channel) for channel in SHARED}
    missing = {
        channel: account
        for channel, account in accounts.items()
        if account["unknown"] or account["running"] or account["pending"]
    }
    print(f"{sent:,} messages over {sockets:,} sockets in {seconds:.0f} s; settled {waited:.0f} s later")
    print(f"keys before and after: {len(before.keys)}, {len(after.keys)}: {', '.join(after.keys)}")
    print(f"used_memory: {before.used_bytes:,}, {after.used_bytes:,} bytes")
    print(f"of it data:  {before.data_bytes:,}, {after.data_bytes:,} bytes")
    for channel, account in accounts.items():
        print(f"{channel}: " + ", ".join(f"{what} {count:,}" for what, count in account.items() if count))
    if strange := sorted(set(before.keys) ^ set(after.keys)):
        print(f"Does not hold: these keys came or went: {', '.join(strange)}", file=sys.stderr)
    if (gained := after.used_bytes - before.used_bytes) > MOST_BYTES_LEFT:
        print(f"Does not hold: {gained:,} bytes more are used, of {MOST_BYTES_LEFT:,}", file=sys.stderr)
        strange.append("used_memory")
    if missing:
        print(f"Does not hold: messages are not accounted for: {missing}", file=sys.stderr)
    return 1 if strange or missing else 0


def _load(tiers: Tiers, messages: int, sockets: int) -> int:
    """Open and close so many sockets, and echo so many messages over them; how many there were."""
    echoed = opened = 0
    while opened < sockets:
        count = min(BATCH, sockets - opened)
        opened += count
        with connected(tiers.port, "/ws/echo", count) as clients:
            while echoed < messages * opened / sockets:
                echoed += clients.echo(BURST_SECONDS).count
    return echoed


def _look(layer: RedisChannelLayer) -> Place:
    home = layer.shards[next(iter(layer.shards))]
    place = home.places.home

    def ask(*words: bytes) -> RedisCommand:
        return RedisCommand(place, words, as_is, repeat=True)

    home.ask(ask(b"SLOWLOG", b"RESET"))  # up to 128 commands that Redis was slow with, some 3 KB each
    home.ask(ask(b"MEMORY", b"PURGE"))
    found = home.ask(RedisCommand(place, (b"KEYS", b"*"), names, repeat=True))
    lines = home.ask(ask(b"INFO", b"memory")).decode().splitlines()
    figures = dict(line.split(":", 1) for line in lines if ":" in line)
    return Place(sorted(found), int(figures["used_memory"]), int(figures["used_memory_dataset"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.balance",
        description="Whether Redis is back where it began after many messages and sockets.",
    )
    parser.add_argument("--messages", type=int, default=1_000_000, metavar="N", help="default: %(default)d")
    parser.add_argument("--sockets", type=int, default=50_000, metavar="N", help="default: %(default)d")
    return parser


if __name__ == "__main__":
    sys.exit(main())
