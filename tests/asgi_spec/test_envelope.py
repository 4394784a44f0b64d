"""Packing messages, and the envelope around them."""

from __future__ import annotations

import contextlib
import random
from itertools import product
from typing import Any

import msgpack
import pytest

from headrace_asgi import envelope
from headrace_asgi.errors import MessageTooLarge, UnknownVersion, UnreadableEntry
from headrace_asgi.sealing import sealing_codec

MESSAGE: dict[str, Any] = {
    "bytes": b"\x00\xff", "text": "ä\n", "int": -(2**63), "float": 0.1, "none": None, "list": [[b"a", "b"]],
    "dict": {"deep": {"deeper": True}},
}  # fmt: skip


def test_a_message_is_unpacked_as_it_was_packed() -> None:
    assert envelope.unpack_message(envelope.pack_message(MESSAGE)) == MESSAGE


def test_tuples_become_lists() -> None:
    assert envelope.unpack_message(envelope.pack_message({"pair": (1, 2)})) == {"pair": [1, 2]}


@pytest.mark.parametrize("value", [object(), {1}, 1j, 2**64, -(2**63) - 1])
def test_a_value_that_no_message_holds_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="A message holds"):
        envelope.pack_message({"value": value})


@pytest.mark.parametrize("message", [None, "text", ["a"], {1: "int key"}, {b"bytes": 1}])
def test_what_is_no_dict_with_string_keys_is_a_type_error(message: Any) -> None:
    with pytest.raises(TypeError, match="dict whose keys are strings"):
        envelope.pack_message(message)


def test_a_message_over_the_limit_says_how_large_it_is_and_what_to_do() -> None:
    assert len(envelope.pack_message({"b": bytes(90)}, 100)) <= 100
    with pytest.raises(MessageTooLarge, match=r"is 10\d bytes .* limit of 100; send it in chunks"):
        envelope.pack_message({"b": bytes(100)}, 100)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"rubbish",
        msgpack.packb([1]),
        msgpack.packb({1: 1}),
        msgpack.packb({b"bytes": 1}),
        msgpack.packb({"a": 1}) + b"more",
        msgpack.packb({"a": 1})[:-1],
    ],
)
def test_a_payload_that_is_no_message_is_unreadable(payload: bytes) -> None:
    with pytest.raises(UnreadableEntry):
        envelope.unpack_message(payload)


FIELDS = {
    "expiry_ms": (0, 1_700_000_000_000, 2**64 - 1),
    "order": (None, 0, 2**32 - 1),
    "channel": (None, "hr1.0.abc!client", "x" * 200),
    "retries": (0, 3),
    "control": (False, True),
}


def test_every_combination_of_fields_is_read_as_it_was_written() -> None:
    for values in product(*FIELDS.values()):
        fields = dict(zip(FIELDS, values, strict=True))
        entry = envelope.decode(envelope.encode(b"payload", **fields))
        assert {name: getattr(entry, name) for name in FIELDS} == fields
        assert entry.payload == b"payload"


def test_the_plain_header_is_ten_bytes_and_the_order_number_follows_it() -> None:
    assert envelope.encode(b"p", 258) == b"\x01\x00" + bytes(6) + b"\x01\x02" + b"p"
    raw = envelope.encode(b"p", 0, order=7, channel="a!b", retries=1, control=True)
    assert raw[10:14] == b"\x00\x00\x00\x07"


def test_more_retries_than_a_byte_holds_stay_at_255() -> None:
    assert envelope.decode(envelope.encode(b"", retries=300)).retries == 255


@pytest.mark.parametrize("flag", [0x04, 0x20, 0x20 | envelope.SEALED])
def test_an_unknown_flag_is_unreadable_for_what_it_adds_may_stand_anywhere(flag: int) -> None:
    with pytest.raises(UnreadableEntry, match="that this process does not know"):
        envelope.decode(bytes((1, flag | envelope.RETRIES)) + bytes(8) + b"\x02" + b"payload")


def test_what_is_sealed_cannot_be_read_but_its_envelope_can() -> None:
    raw = bytearray(envelope.encode(b"payload", 5, order=7, channel="a!b", retries=1))
    raw[1] |= envelope.SEALED
    with pytest.raises(UnreadableEntry, match="this layer has no symmetric_encryption_keys") as raised:
        envelope.decode(bytes(raw))
    assert raised.value.entry == envelope.decode_sealed(bytes(raw))
    assert raised.value.entry == envelope.Entry(5, 7, "a!b", 1, False, b"payload")
    with pytest.raises(UnreadableEntry, match="not encrypted, and this layer has") as raised:
        envelope.decode_sealed(envelope.encode(b"payload", 5, order=7))
    assert raised.value.entry.order == 7


@pytest.mark.parametrize("decode", [envelope.decode, envelope.decode_sealed])
def test_another_version_is_named(decode: Any) -> None:
    with pytest.raises(UnreadableEntry, match="version 2, this process reads up to 1"):
        decode(b"\x02\x00" + bytes(8))


def test_an_entry_of_another_version_still_says_what_every_version_says() -> None:
    raw = b"\x02" + envelope.encode(envelope.pack_message({"reply_channel": "hr1.0.5f!a"}), 5, order=7)[1:]
    with pytest.raises(UnknownVersion) as raised:
        envelope.decode(raw)
    assert (raised.value.entry.order, envelope.reply_channel_of(raised.value.entry)) == (7, "hr1.0.5f!a")
    with_more = bytes((2, raw[1] | 0x04)) + raw[2:]
    with pytest.raises(UnknownVersion) as raised:
        envelope.decode(with_more)
    assert raised.value.entry.order == 7
    named = envelope.Entry(0, None, "hr1.0.5f!b", 0, False, b"\xc1")
    assert envelope.reply_channel_of(named) == "hr1.0.5f!b"
    assert envelope.reply_channel_of(envelope.Entry(0, None, "work", 0, False, b"\xc1")) == ""


@pytest.mark.parametrize("codec", [envelope.plain_codec(), sealing_codec([b"a key of the tests"])])
def test_a_codec_writes_the_version_that_it_is_told_and_reads_all_up_to_its_own(
    codec: envelope.Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = codec.encode(b"one", queue="test")
    codec.write(2)
    assert codec.version == 1, "no higher one than it knows"
    monkeypatch.setattr(envelope, "VERSION", 2)
    monkeypatch.setitem(
        envelope.WRITERS, 2, lambda *args, **more: b"\x02" + envelope.encode(*args, **more)[1:]
    )
    codec.write(2)
    second = codec.encode(b"two", 9, 7, queue="test")
    assert (first[0], second[0]) == (1, 2)
    assert bytes(codec.decode(first, "test").payload) == b"one"
    assert bytes(codec.decode(second, "test").payload) == b"two"
    codec.write(1)
    monkeypatch.undo()
    assert codec.encode(b"x", queue="test")[0] == 1
    with pytest.raises(UnknownVersion):
        codec.decode(second, "test")


def test_a_header_cut_anywhere_is_unreadable() -> None:
    raw = envelope.encode(b"", 1, order=1, channel="abc!d", retries=1)
    sealed = bytes((raw[0], raw[1] | envelope.SEALED)) + raw[2:]
    for end in range(len(raw)):
        with pytest.raises(UnreadableEntry):
            envelope.decode(raw[:end])
        with pytest.raises(UnreadableEntry):
            envelope.decode_sealed(sealed[:end])


@pytest.mark.seeds(5)
def test_random_bytes_are_read_or_unreadable_but_raise_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(1_000):
        raw = b"\x01" + chance.randbytes(chance.randrange(60))
        with contextlib.suppress(UnreadableEntry):
            envelope.unpack_message(envelope.decode(raw).payload)


def test_text_that_is_no_unicode_and_too_deep_a_nesting_are_type_errors() -> None:
    nested: dict[str, Any] = {}
    for _ in range(2000):
        nested = {"deeper": nested}
    for value in ("\ud800", nested):
        with pytest.raises(TypeError, match=r"valid Unicode, and lists and dicts not nested too deep"):
            envelope.pack_message({"value": value})


SOCKET = "hr1.0.feed!a"


@pytest.mark.parametrize(
    ("queue", "channel", "order", "message"),
    [
        ("test", None, 3, {"reply_channel": SOCKET}),
        ("test", "test", None, {}),
        ("test.process!", "test.process!me", None, {}),
        ("test?x", "test?x", 0, {"reply_channel": "daphne.x!a"}),
    ],
)
def test_an_entry_may_lie_on_the_queue_that_its_channel_falls_into(
    queue: str, channel: str | None, order: int | None, message: dict[str, Any]
) -> None:
    packed = envelope.pack_message(message)
    entry = envelope.decode(envelope.encode(packed, order=order, channel=channel))
    envelope.require_place_on(queue, entry, message)


@pytest.mark.parametrize(
    ("queue", "channel", "order", "message"),
    [
        ("test", "other", None, {}),
        ("test", "", None, {}),
        ("test.process!", "test.other!me", None, {}),
        ("test", None, 3, {}),
        ("test", None, 3, {"reply_channel": 7}),
        ("test", None, 0, {"reply_channel": "no socket"}),
        ("test", None, 0, {"reply_channel": "hr1.0.feed!\u00e4"}),
        ("test", None, 0, {"reply_channel": SOCKET + "a" * 200}),
    ],
)
def test_an_entry_for_another_queue_or_without_its_socket_is_unreadable(
    queue: str, channel: str | None, order: int | None, message: dict[str, Any]
) -> None:
    packed = envelope.pack_message(message)
    entry = envelope.decode(envelope.encode(packed, order=order, channel=channel))
    with pytest.raises(UnreadableEntry):
        envelope.require_place_on(queue, entry, message)
