"""Packets of MQTT 3.1.1 (OASIS, 29 October 2014) as bytes and back. Pure.

Sections are those of the standard. QoS 2 is not there: `PacketReader` refuses a PUBLISH with it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = [
    "ACCEPTED",
    "FAILURE",
    "Connect",
    "Disconnect",
    "MalformedPacket",
    "Packet",
    "PacketReader",
    "Pingreq",
    "Puback",
    "Publish",
    "Subscribe",
    "Unsubscribe",
    "WrongVersion",
    "connack",
    "pingresp",
    "puback",
    "publish",
    "suback",
    "unsuback",
]

#: Return codes of CONNACK (3.2.2.3) and SUBACK (3.9.3) that are used by name.
ACCEPTED = 0
FAILURE = 0x80

_CONNECT, _CONNACK, _PUBLISH, _PUBACK = 1, 2, 3, 4
_SUBSCRIBE, _SUBACK, _UNSUBSCRIBE, _UNSUBACK = 8, 9, 10, 11
_PINGREQ, _PINGRESP, _DISCONNECT = 12, 13, 14
_LEVEL = 4


class MalformedPacket(Exception):
    """The peer broke the protocol: its connection is to be closed (4.8)."""


class WrongVersion(MalformedPacket):
    """A CONNECT of another version of the protocol (3.1.2.2)."""


@dataclass(frozen=True, slots=True)
class Publish:
    """An application message; `packet_id` is 0 for QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    packet_id: int = 0


@dataclass(frozen=True, slots=True)
class Connect:
    """The first packet of a connection."""

    client_id: str
    clean_session: bool
    keep_alive_seconds: int
    username: str | None = None
    password: bytes | None = None
    will: Publish | None = None


@dataclass(frozen=True, slots=True)
class Puback:
    """A QoS 1 message arrived."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Filters, each with the QoS that is wanted."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Filters that are not wanted any more."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pingreq:
    """Are you there?"""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A farewell: the will is not published."""


Packet = Connect | Publish | Puback | Subscribe | Unsubscribe | Pingreq | Disconnect


class _Body:
    """Reads the fields of a packet one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_over(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise MalformedPacket("a packet ends within a field")
        self._at += count
        return self._data[self._at - count : self._at]

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        found: int = struct.unpack("!H", self.take(2))[0]
        return found

    def packet_id(self) -> int:
        found = self.number()
        if not found:
            raise MalformedPacket("a packet identifier is 0")
        return found

    def binary(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        """UTF-8 without surrogates and the null character (1.5.3)."""
        try:
            found = self.binary().decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedPacket(f"a text is no UTF-8: {error}") from None
        if "\0" in found:
            raise MalformedPacket("a text has the null character in it")
        return found

    def topic(self) -> str:
        """The name of a topic (4.7): no filter, and not empty."""
        found = self.text()
        if not found or "+" in found or "#" in found:
            raise MalformedPacket(f"{found!r} is no name of a topic")
        return found

    def filter(self) -> str:
        """A filter (4.7.1): a wildcard is a level of its own, and # the last one."""
        found = self.text()
        levels = found.split("/")
        bad = any(("+" in level or "#" in level) and len(level) > 1 for level in levels)
        if not found or bad or "#" in levels[:-1]:
            raise MalformedPacket(f"{found!r} is no filter of topics")
        return found


class PacketReader:
    """Finds whole packets in bytes as they come; holds up to one packet and what came with it."""

    def __init__(self, max_packet_bytes: int) -> None:
        self._max = max_packet_bytes
        self._data = b""

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that are whole now. Raises MalformedPacket: then the connection is of no use."""
        data = self._data + data
        found, at = [], 0
        while (head := _head(data[at : at + 5])) is not None:
            head_bytes, body_bytes = head
            if body_bytes > self._max:
                raise MalformedPacket(f"a packet has {body_bytes} bytes")
            start, end = at + head_bytes, at + head_bytes + body_bytes
            if len(data) < end:
                break
            found.append(_decoded(data[at], _Body(data[start:end])))
            at = end
        self._data = data[at:]
        return found


def _head(data: bytes) -> tuple[int, int] | None:
    """Bytes of the fixed header, and of what follows it (2.2.3); None if the header is not whole."""
    length = 0
    for index, byte in enumerate(data[1:5]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return index + 2, length
    if len(data) >= 5:
        raise MalformedPacket("a length has more than four bytes")
    return None


def _decoded(first: int, body: _Body) -> Packet:
    kind, flags = first >> 4, first & 0x0F
    if kind == _PUBLISH:
        return _publish(flags, body)
    needed, decode = _DECODERS.get(kind, (-1, None))
    if decode is None or flags != needed:
        raise MalformedPacket(f"a packet begins with {first:#04x}")
    packet = decode(body)
    if not body.is_over:
        raise MalformedPacket("a packet is longer than its fields")
    return packet


def _publish(flags: int, body: _Body) -> Publish:
    qos = flags >> 1 & 3
    if qos > 1:
        raise MalformedPacket(f"QoS {qos} is not served")
    topic = body.topic()
    return Publish(topic, packet_id=body.packet_id() if qos else 0, qos=qos, retain=bool(flags & 1),
                   payload=body.rest())  # fmt: skip


def _connect(body: _Body) -> Connect:
    if (body.text(), body.byte()) != ("MQTT", _LEVEL):
        raise WrongVersion("MQTT 3.1.1 is served, and no other version")
    flags, keep_alive = body.byte(), body.number()
    has_name, has_password, has_will = flags & 0x80, flags & 0x40, flags & 0x04
    will_qos, will_retain = flags >> 3 & 3, bool(flags & 0x20)
    if flags & 1 or (has_password and not has_name) or (not has_will and (will_qos or will_retain)):
        raise MalformedPacket(f"the flags of a CONNECT are {flags:#04x}")
    client_id = body.text()
    will = Publish(body.topic(), body.binary(), min(will_qos, 1), will_retain) if has_will else None
    username = body.text() if has_name else None
    password = body.binary() if has_password else None
    return Connect(client_id, bool(flags & 0x02), keep_alive, username, password, will)


def _subscribe(body: _Body) -> Subscribe:
    packet_id, filters = body.packet_id(), list[tuple[str, int]]()
    while not body.is_over:
        filters.append((body.filter(), body.byte()))
    if not filters or any(qos > 2 for _, qos in filters):
        raise MalformedPacket("a SUBSCRIBE without filters, or with a QoS that is none")
    return Subscribe(packet_id, tuple(filters))


def _unsubscribe(body: _Body) -> Unsubscribe:
    packet_id, filters = body.packet_id(), list[str]()
    while not body.is_over:
        filters.append(body.filter())
    if not filters:
        raise MalformedPacket("an UNSUBSCRIBE without filters")
    return Unsubscribe(packet_id, tuple(filters))


#: Of each packet that a client sends: the flags that it must have (2.2.2), and what reads it.
_DECODERS: dict[int, tuple[int, Callable[[_Body], Packet]]] = {
    _CONNECT: (0, _connect),
    _PUBACK: (0, lambda body: Puback(body.packet_id())),
    _SUBSCRIBE: (2, _subscribe),
    _UNSUBSCRIBE: (2, _unsubscribe),
    _PINGREQ: (0, lambda body: Pingreq()),
    _DISCONNECT: (0, lambda body: Disconnect()),
}


def _packet(first: int, body: bytes) -> bytes:
    length, digits = len(body), bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        digits.append(digit | 0x80 if length else digit)
        if not length:
            return bytes([first]) + digits + body


def connack(code: int) -> bytes:
    """Accepted, or why not. No session is ever present: it ends with its connection."""
    return _packet(_CONNACK << 4, bytes([0, code]))


def publish(message: Publish) -> bytes:
    """An application message, for a client."""
    first = _PUBLISH << 4 | message.qos << 1 | message.retain
    topic = message.topic.encode()
    number = struct.pack("!H", message.packet_id) if message.qos else b""
    return _packet(first, struct.pack("!H", len(topic)) + topic + number + message.payload)


def puback(packet_id: int) -> bytes:
    """A QoS 1 message has been taken over."""
    return _packet(_PUBACK << 4, struct.pack("!H", packet_id))


def suback(packet_id: int, codes: Sequence[int]) -> bytes:
    """The QoS that each filter got, or FAILURE."""
    return _packet(_SUBACK << 4, struct.pack("!H", packet_id) + bytes(codes))


def unsuback(packet_id: int) -> bytes:
    """Done."""
    return _packet(_UNSUBACK << 4, struct.pack("!H", packet_id))


def pingresp() -> bytes:
    """Here I am."""
    return _packet(_PINGRESP << 4, b"")
