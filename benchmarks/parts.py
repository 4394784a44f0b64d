"""CPU time of the parts of a message's path, each alone in a tight loop in this process."""

from __future__ import annotations

import os
import sys

from headrace_asgi import messages
from headrace_asgi.envelope import decode, encode, pack_message, unpack_message

from .processes import APP, redis_server
from .samples import FRAME, REQUEST, REQUEST_ENTRY, RESPONSE, TEXT
from .table import Row
from .timing import Lap, calls, measured

__all__ = ["measure"]

#: What a turn of a lap is of the seconds for a round of load: there are many parts.
SHARE = 1 / 25


def measure(seconds: float, rounds: int) -> list[Row]:
    """The rows of the parts; `seconds` are those of a round of load."""
    _set_up_django()
    # Only now: they import Django's handlers, which read the settings.
    from . import parts_interface, parts_worker

    with redis_server() as redis:
        turn = parts_worker.RedisTurn(redis.url)
        try:
            laps = [_machine(), *_messages(), *parts_interface.laps(), *parts_worker.laps(), turn.lap]
            figures = measured(laps, seconds * SHARE, rounds)
        finally:
            turn.close()
    return [
        Row(f"parts: {name}", values, "µs" if "elapsed" in name else "µs CPU")
        for name, values in figures.items()
    ]


def _set_up_django() -> None:
    sys.path.insert(0, str(APP))
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench.settings"
    os.environ["BENCH_MW"] = ""
    import django

    django.setup()


def _machine() -> Lap:
    """A fixed loop: figures of two runs can be compared as far as this one agrees."""
    kept: dict[int, str] = {}

    def loop() -> None:
        for number in range(1000):
            kept[number & 255] = str(number)

    return calls("the machine: a fixed loop of 1,000 steps", loop, 10)


def _messages() -> list[Lap]:
    request_payload = pack_message(REQUEST)
    said = {"text": TEXT}
    return [
        calls("envelope: encode a request", lambda: encode(pack_message(REQUEST), 1)),
        calls("envelope: decode a request", lambda: unpack_message(decode(REQUEST_ENTRY).payload)),
        calls("envelope: encode a frame", lambda: encode(pack_message(FRAME), 1, 7, FRAME["reply_channel"])),
        calls("envelope: the header alone, of a packed request", lambda: encode(request_payload, 1)),
        calls("messages: build http.request", lambda: messages.HTTP_REQUEST.build(**REQUEST)),
        calls("messages: check a response", lambda: messages.HTTP_RESPONSE.check(RESPONSE)),
        calls("messages: check websocket.send", lambda: messages.WEBSOCKET_SEND.check(said)),
    ]
