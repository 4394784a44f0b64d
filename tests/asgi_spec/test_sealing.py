"""Sealed entries: what was sealed opens where it belongs, and nothing else ever opens."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from headrace_asgi.control import FORGOTTEN_ENTRY
from headrace_asgi.envelope import CHANNEL, CONTROL, COUNTED, ORDER, PLAIN, SEALED, Codec, Entry
from headrace_asgi.errors import UnreadableEntry
from headrace_asgi.sealing import OVERHEAD_BYTES, sealing_codec

OLD, NEW = b"a key that was used for long", b"the key that comes after it"
CODEC = sealing_codec([NEW, OLD])
PROCESS = "hr1.0.5f!"
#: Bytes of an envelope: up to the expiry, up to the order number, and up to what follows the number.
EXPIRY_AT, ORDER_AT, BEHIND_ORDER = 2, 10, 14

#: (queue, full channel name in the envelope)
places = st.sampled_from(
    [("test", None), ("body?x7", None), ("foreign!", "foreign!a"), (PROCESS, PROCESS + "a")]
)
times = st.integers(0, 2**64 - 1)
numbers = st.none() | st.integers(0, 2**32 - 1)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """What `encode` takes."""
    queue, channel = draw(places)
    return {
        "payload": draw(st.binary(max_size=300)),
        "expiry_ms": draw(times),
        "order": draw(numbers),
        "channel": channel,
        "retries": draw(st.integers(0, 255)),
        "control": draw(st.booleans()),
        "queue": queue,
    }


def refused(raw: bytes, queue: str = "test", codec: Codec = CODEC) -> UnreadableEntry:
    with pytest.raises(UnreadableEntry) as raised:
        codec.decode(raw, queue)
    return raised.value


@given(entries())
def test_what_was_sealed_is_opened_as_it_was(given: dict[str, Any]) -> None:
    raw = CODEC.encode(**given)
    expected = PLAIN.decode(PLAIN.encode(**given), given["queue"])
    opened = CODEC.decode(raw, given["queue"])
    assert opened == Entry(
        expected.expiry_ms,
        expected.order,
        expected.channel,
        expected.retries,
        expected.control,
        opened.payload,
    )
    assert bytes(opened.payload) == given["payload"]
    assert len(raw) == len(PLAIN.encode(**given)) + OVERHEAD_BYTES


@given(entries(), st.data())
def test_no_bit_can_be_flipped_but_those_that_scripts_rewrite(
    given: dict[str, Any], data: st.DataObject
) -> None:
    raw = bytearray(CODEC.encode(**given))
    rewritten: set[int] = set()
    if given["order"] is not None:
        rewritten |= set(range(ORDER_AT, BEHIND_ORDER))
    if given["order"]:
        rewritten |= set(range(EXPIRY_AT, ORDER_AT))
    at = data.draw(st.sampled_from([at for at in range(len(raw)) if at not in rewritten]))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    refused(bytes(raw), given["queue"])


@pytest.mark.parametrize(
    "given",
    [
        {"queue": "test"},
        {"queue": PROCESS, "channel": PROCESS + "a", "control": True, "counted": True, "retries": 3},
    ],
)
def test_of_an_entry_without_a_number_no_bit_at_all_can_be_flipped_and_none_left_out(
    given: dict[str, Any],
) -> None:
    raw = CODEC.encode(b"a payload", 1234, **given)
    for at in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[at // 8] ^= 1 << at % 8
        refused(bytes(flipped), given["queue"])
    for end in range(len(raw)):
        refused(raw[:end], given["queue"])
    refused(raw + b"\0", given["queue"])


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", bytes((1, SEALED)), bytes((1, SEALED | CHANNEL | CONTROL))]),
)
def test_rubbish_is_unreadable_and_nothing_worse(rubbish: bytes, head: bytes) -> None:
    refused(head + rubbish)


@given(entries(), places)
def test_an_entry_opens_on_no_other_queue(given: dict[str, Any], other: tuple[str, str | None]) -> None:
    raw = CODEC.encode(**given)
    if other[0] != given["queue"]:
        error = refused(raw, other[0])
        assert "made for another channel" in str(error)
        assert error.entry.order == given["order"]


def test_a_reply_opens_for_no_other_client_of_the_same_process() -> None:
    raw = CODEC.encode(b"for a", 0, None, PROCESS + "a", queue=PROCESS)
    assert bytes(CODEC.decode(raw, PROCESS).payload) == b"for a"
    refused(raw.replace(b"!a", b"!b"), PROCESS)


def test_a_note_does_not_pass_as_a_message_nor_a_message_as_a_note() -> None:
    message = bytearray(CODEC.encode(b"{}", queue=PROCESS))
    note = bytearray(CODEC.encode(b"{}", control=True, queue=PROCESS))
    counted = bytearray(CODEC.encode(b"{}", control=True, counted=True, queue=PROCESS))
    message[1] |= CONTROL
    note[1] &= ~CONTROL
    counted[1] &= ~COUNTED
    for raw in (message, note, counted):
        refused(bytes(raw), PROCESS)


def with_expiry(raw: bytes, expiry_ms: int) -> bytes:
    return raw[:EXPIRY_AT] + struct.pack(">Q", expiry_ms) + raw[ORDER_AT:]


def test_nobody_prolongs_a_message_but_one_that_may_wait_in_a_mailbox() -> None:
    for order in (None, 0):
        raw = CODEC.encode(b"x", 1000, order, queue="test")
        for expiry_ms in (0, 999, 2000):
            refused(with_expiry(raw, expiry_ms))
        # Nor by saying that it is of the other form.
        form_at = BEHIND_ORDER if order is not None else ORDER_AT
        refused(with_expiry(raw[:form_at] + b"\x02" + raw[form_at + 1 :], 2000))
    frame = CODEC.encode(b"x", 1000, 7, queue="test")
    assert CODEC.decode(with_expiry(frame, 2000), "test").expiry_ms == 2000


def test_a_frame_opens_after_its_mailbox_was_drained() -> None:
    raw = with_expiry(CODEC.encode(b"x", 1000, 7, queue="test"), 5000)
    drained = bytes((raw[0], raw[1] & ~ORDER)) + raw[EXPIRY_AT:ORDER_AT] + raw[BEHIND_ORDER:]
    entry = CODEC.decode(drained, "test")
    assert (bytes(entry.payload), entry.order, entry.expiry_ms) == (b"x", None, 5000)


def test_more_retries_than_a_byte_holds_are_255_on_both_sides() -> None:
    assert CODEC.decode(CODEC.encode(b"x", retries=300, queue="test"), "test").retries == 255


def test_what_scripts_read_stands_where_they_read_it() -> None:
    raw = CODEC.encode(b"x", 1000, 7, control=True, counted=True, queue="test")
    assert raw[1] & (CONTROL | COUNTED | ORDER) == CONTROL | COUNTED | ORDER
    assert struct.unpack(">QI", raw[EXPIRY_AT:BEHIND_ORDER]) == (1000, 7)


# Keys


def test_the_first_key_seals_and_every_key_opens() -> None:
    before, between, after = sealing_codec([OLD]), sealing_codec([OLD, NEW]), sealing_codec([NEW, OLD])
    last = sealing_codec([NEW])
    for sender, readers in (
        (before, (before, between, after)),
        (between, (before, between, after)),
        (after, (between, after, last)),
        (last, (between, after, last)),
    ):
        raw = sender.encode(b"x", queue="test")
        assert {bytes(reader.decode(raw, "test").payload) for reader in readers} == {b"x"}
    for sender, reader in ((before, last), (last, before)):
        error = refused(sender.encode(b"x", queue="test"), codec=reader)
        assert "another process uses other symmetric_encryption_keys" in str(error)


def test_one_key_twice_is_most_likely_an_unfinished_rotation() -> None:
    with pytest.raises(ValueError, match="the same"):
        sealing_codec([OLD, NEW, OLD])


def test_no_two_entries_are_alike_and_none_shows_what_it_holds() -> None:
    secret = b"the words that nobody may read"
    sealed = {CODEC.encode(secret, queue="test") for _ in range(100)}
    assert len(sealed) == 100
    assert not any(secret[at : at + 6] in raw for raw in sealed for at in range(len(secret) - 6))


def test_an_entry_is_what_the_decision_says() -> None:
    raw = CODEC.encode(b"payload", 1000, None, PROCESS + "a", 2, queue=PROCESS)
    # HKDF-SHA-256 (RFC 5869) without a salt, by hand.
    secret, info = hmac.digest(bytes(32), NEW, "sha256"), b"headrace: sealed entries, version 1"
    first = hmac.digest(secret, info + b"\x01", "sha256")
    key_id = hmac.digest(secret, first + info + b"\x02", "sha256")[:4]
    head = b"\x01\x8a" + struct.pack(">Q", 1000) + bytes((len(PROCESS) + 1,)) + PROCESS.encode() + b"a\x02"
    assert raw.startswith(head + b"\x01" + key_id)
    nonce, sealed = raw[len(head) + 5 : len(head) + 17], raw[len(head) + 17 :]
    bound = b"\x01\x8a\x02" + struct.pack(">Q", 1000) + b"\x01" + key_id + PROCESS.encode() + b"a"
    assert AESGCM(first).decrypt(nonce, sealed, bound) == b"payload"
    assert hashlib.sha256(NEW).digest() != first


# What is not sealed


def test_plain_entries_are_refused_so_that_nobody_takes_encryption_away() -> None:
    for raw in (PLAIN.encode(b"x"), PLAIN.encode(b"x", 1, 7, "x!a"), PLAIN.encode(b"x", control=True)):
        assert "not encrypted, and this layer has symmetric_encryption_keys" in str(refused(raw))


def test_the_note_that_a_process_is_forgotten_passes_as_the_script_made_it() -> None:
    assert CODEC.decode(FORGOTTEN_ENTRY, PROCESS) == PLAIN.decode(FORGOTTEN_ENTRY, PROCESS)
    refused(FORGOTTEN_ENTRY + b"\0", PROCESS)


def test_a_layer_without_keys_names_the_option_and_what_the_envelope_says() -> None:
    error = refused(CODEC.encode(b"x", 9, 7, "x!a", queue="x!"), codec=PLAIN)
    assert "this layer has no symmetric_encryption_keys" in str(error)
    assert (error.entry.order, error.entry.channel, error.entry.expiry_ms) == (7, "x!a", 9)
