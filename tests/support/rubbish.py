"""Rubbish for what processes read from Redis: random bytes, and good entries with a change. Seeded."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from headrace_asgi import control
from headrace_asgi.envelope import encode, pack_message
from headrace_asgi.names import new_process_queue

__all__ = ["EXECUTED", "Rubbish"]

#: What a pickle of ours does to whoever loads it: it stays empty, as nothing here is ever loaded as one.
EXECUTED: list[str] = []

_NOTES = [value for name, value in vars(control).items() if name.isupper() and isinstance(value, str)]
_NAMES = [
    "test",
    "http.request",
    "websocket.receive",
    "daphne.response.x!a",
    "http.request.body?x",
    "hr1.0.feed!a",
    "hr1..x.feed!a",
    "hr1.a.b!c",
    "hr1.!",
    "!",
    "a b",
    "x" * 255,
    "a\n",
    "",
]


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return EXECUTED.append, ("a pickle was loaded",)


class Rubbish:
    """An endless supply. `process` is whose queue entries may be for."""

    def __init__(self, seed: int, process: str = "") -> None:
        self.random = random.Random(seed)
        self._process = process or new_process_queue("0")
        self._kinds: list[Callable[[], bytes]] = [
            self._bytes,
            self._header,
            self._message,
            self._note,
            self._mutated,
            self._mutated,
            self._pickle,
        ]

    def blobs(self, count: int) -> Iterator[bytes]:
        """So many of them."""
        for _ in range(count):
            yield self.random.choice(self._kinds)()

    def blob(self) -> bytes:
        """One of them."""
        return next(self.blobs(1))

    def _bytes(self) -> bytes:
        return self.random.randbytes(self.random.choice((0, 1, 2, 9, 10, 11, 15, 40, 300)))

    def _header(self) -> bytes:
        """What begins like an entry."""
        flags = self.random.choice((0, 1, 2, 8, 0x10, 0x40, 0x50, 3, 0x0B, 0x5B, self.random.randrange(256)))
        version = self.random.choice((0, 1, 1, 1, 1, 2, 255))
        return bytes((version, flags)) + self._bytes()

    def _message(self) -> bytes:
        """An entry with anything in it."""
        dice = self.random
        payload = dice.choice((self._value, self._content))()
        return self._entry(msgpack.packb(payload, use_bin_type=True), dice.random() < 0.2)

    def _note(self) -> bytes:
        note = {
            key: self._value() if self.random.random() < 0.3 else self._name()
            for key in ("group", "local", "answer", "channel", "packed", "code", "ordered", "status", "bytes")
            if self.random.random() < 0.7
        }
        if self.random.random() < 0.3:
            note["packed"] = self._mutated()
        note["control"] = self.random.choice((*_NOTES, self._value()))
        return self._entry(msgpack.packb(note, use_bin_type=True), True)

    def _pickle(self) -> bytes:
        body = pickle.dumps(_Bomb())
        return self.random.choice((body, self._entry(body, False), encode(pack_message({"body": body}))))

    def _mutated(self) -> bytes:
        """A good entry with a byte changed, a part cut out, or a part doubled."""
        good = bytearray(self._entry(pack_message(self._content()), False))
        at, end = sorted(self.random.randrange(len(good) + 1) for _ in range(2))
        way = self.random.randrange(4)
        if way == 0:
            del good[at:end]
        elif way == 1:
            good[at:at] = good[at:end]
        elif way == 2:
            del good[at:]
        else:
            for _ in range(self.random.randrange(1, 4)):
                good[self.random.randrange(len(good))] = self.random.randrange(256)
        return bytes(good)

    def _entry(self, payload: bytes, is_control: bool) -> bytes:
        dice = self.random
        name = self._name().encode("ascii", "replace").decode()[:255]
        return encode(
            payload,
            expiry_ms=dice.choice((0, 0, 1, 2**60, 2**64 - 1, dice.getrandbits(64))),
            order=dice.choice((None, None, None, 0, 1, 2**32 - 1)),
            channel=dice.choice((None, None, name)),
            retries=dice.choice((0, 0, 1, 255)),
            control=is_control,
            counted=dice.random() < 0.1,
        )

    def _content(self) -> dict[str, Any]:
        """What looks like a message."""
        content = {"text": "x", "path": "/", "reply_channel": self._name(), "order": 1, "body": b""}
        for key in list(content):
            if self.random.random() < 0.3:
                content[key] = self._value()
        return content

    def _name(self) -> str:
        dice = self.random
        ours = self._process + dice.choice(("", "a", "no\u00ebl", "a b", "x" * 200))
        return dice.choice(
            (ours, dice.choice(_NAMES), f"hr1.{dice.choice(('0', '', '.', '9'))}.{dice.random()}!")
        )

    def _value(self, depth: int = 0) -> Any:
        dice = self.random
        plain = (
            None,
            True,
            dice.getrandbits(64),
            -dice.getrandbits(63),
            float("nan"),
            float("inf"),
            dice.random(),
            dice.randbytes(dice.randrange(20)),
            "".join(map(chr, dice.choices(range(0x2FF), k=dice.randrange(10)))),
            "\x00",
            msgpack.ExtType(dice.randrange(128), dice.randbytes(4)),
            msgpack.Timestamp(dice.getrandbits(33), 0),
        )
        if depth > 3 or dice.random() < 0.7:
            return dice.choice(plain)
        inner = [self._value(depth + 1) for _ in range(dice.randrange(4))]
        if dice.random() < 0.5:
            return inner
        keys = dice.choice((["a", "b", "c"], [1, b"2", None], ["control", "local", "group"]))
        return dict(zip(keys, inner, strict=False))
