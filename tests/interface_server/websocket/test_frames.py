"""Frames that are read and written without Autobahn."""

from __future__ import annotations

import random
import zlib

import pytest

from headrace_interface.websocket.frames import (
    DEFLATE_LEAST_BYTES,
    PING,
    close_body,
    encode,
    encode_deflated,
    encode_for,
    encode_pong,
    end_of_frames,
    take_controls,
    take_messages,
)
from tests.support.websocket_lab import masked

LIMIT = 100_000


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 125, 126, 127, 1023, 1024, 1025, 1026, 1027, 65535])
@pytest.mark.parametrize("key", [b"\0\0\0\0", b"\x01\x02\x03\x04", b"\xff\x80\x00\x7f"])
def test_a_plain_frame_of_any_size_is_read(size: int, key: bytes) -> None:
    data = bytes(random.Random(size).randbytes(size))
    frame = masked(2, data, key=key)
    assert take_messages(frame, LIMIT) == ([data], len(frame))
    text = ("aé€🦆" * size)[: size // 4]
    frame = masked(1, text.encode(), key=key)
    assert take_messages(frame, LIMIT) == ([text], len(frame))


def test_several_frames_in_one_read_are_all_taken() -> None:
    data = masked(1, b"one") + masked(2, b"two") + masked(1, b"") + masked(2, b"x" * 300)
    assert take_messages(data, LIMIT) == (["one", b"two", "", b"x" * 300], len(data))


def test_no_prefix_of_a_frame_is_taken() -> None:
    whole = masked(1, b"first")
    for frame in (masked(1, b"hello"), masked(2, b"x" * 126), masked(1, b"x" * 2000)):
        for end in range(len(frame)):
            assert take_messages(whole + frame[:end], LIMIT) == (["first"], len(whole))


@pytest.mark.parametrize(
    "frame",
    [
        masked(1, b"a", fin=False),
        masked(0, b"a"),
        masked(1, b"a", rsv=4),
        masked(1, b"a", rsv=2),
        masked(1, b"a", rsv=1),
        masked(8, b"\x03\xe8"),
        masked(9, b""),
        masked(10, b""),
        masked(3, b"a"),
        masked(15, b"a"),
        # Not masked.
        b"\x81\x01aaaaaaaaaa",
        b"\x81\x7e\x00\x80" + b"a" * 200,
        # Lengths that are longer than they need to be (RFC 6455 5.2).
        b"\x81\xfe\x00\x05\0\0\0\0hello",
        b"\x81\xff\0\0\0\0\0\0\0\x05\0\0\0\0hello",
        b"\x81\xff\0\0\0\0\0\0\x01\x00\0\0\0\0" + b"a" * 256,
        # Text that is not UTF-8: overlong, surrogate, too large, cut, a lone continuation.
        masked(1, b"\xc0\x80"),
        masked(1, b"\xed\xa0\x80"),
        masked(1, b"\xf4\x90\x80\x80"),
        masked(1, b"\xe2\x82"),
        masked(1, b"\x80"),
        masked(1, b"ok\xff"),
        # Beyond the limit.
        masked(2, b"x" * 1001),
    ],
)
def test_anything_else_is_left_where_it_lies_with_all_behind_it(frame: bytes) -> None:
    before, after = masked(2, b"before"), masked(2, b"after")
    assert take_messages(before + frame + after, 1000) == ([b"before"], len(before))


def test_a_huge_announcement_is_left_to_autobahn() -> None:
    frame = b"\x82\xff\0\0\0\0\x40\0\0\0\1\2\3\4" + b"x" * 100
    assert take_messages(frame, LIMIT) == ([], 0)


def test_the_limit_itself_is_allowed() -> None:
    frame = masked(2, b"x" * 1000)
    assert take_messages(frame, 1000) == ([b"x" * 1000], len(frame))


@pytest.mark.seeds(20)
def test_random_frames_come_out_as_they_went_in(seed: int) -> None:
    rng = random.Random(seed)
    sent: list[str | bytes] = []
    data = b""
    for _ in range(rng.randrange(1, 30)):
        size = rng.choice([0, 1, 5, 125, 126, 200, 1025, 5000])
        payload: str | bytes = rng.randbytes(size)
        if rng.random() < 0.5:
            payload = "".join(rng.choice("abé€🦆\0") for _ in range(size))
        sent.append(payload)
        data += masked(1, payload.encode()) if isinstance(payload, str) else masked(2, payload)
    assert take_messages(data, LIMIT) == (sent, len(data))


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\0\0\0\0\0\x01\0\0"),
    ],
)
def test_frames_are_written_with_the_shortest_length_and_empty_ones_too_s10(size: int, head: bytes) -> None:
    assert encode("x" * size) == head + b"x" * size
    assert encode(b"x" * size) == b"\x82" + head[1:] + b"x" * size


def test_text_is_measured_in_bytes() -> None:
    assert encode("é" * 63) == b"\x81\x7e\x00\x7e" + "é".encode() * 63


def test_a_lone_surrogate_does_not_end_the_connection() -> None:
    assert encode("a\ud800b") == b"\x81\x03a?b"


def inflate(frame: bytes, window_bits: int) -> bytes:
    assert frame[0] & 0x70 == 0x40, "RSV1 and nothing else"
    size, at = frame[1], 2
    if size == 126:
        size, at = int.from_bytes(frame[2:4], "big"), 4
    elif size == 127:
        size, at = int.from_bytes(frame[2:10], "big"), 10
    assert len(frame) == at + size
    return zlib.decompressobj(-window_bits).decompress(frame[at:] + b"\0\0\xff\xff")


@pytest.mark.parametrize("window_bits", range(9, 16))
@pytest.mark.parametrize("size", [10, 1500, 70_000])
def test_a_deflated_frame_is_understood_with_the_agreed_window(window_bits: int, size: int) -> None:
    text = ("The quick brown fox " * (size // 10))[:size] + "z" * 200
    assert inflate(encode_deflated(text, window_bits), window_bits) == text.encode()
    assert encode_deflated(text.encode(), window_bits)[0] == 0xC2


def test_what_does_not_get_smaller_goes_as_it_is() -> None:
    data = random.Random(1).randbytes(2000)
    assert encode_deflated(data, 15) == encode(data)


def test_only_large_messages_to_clients_that_agreed_are_compressed() -> None:
    small, large = "x" * (DEFLATE_LEAST_BYTES - 1), "x" * DEFLATE_LEAST_BYTES
    assert encode_for(small, 15) == encode(small)
    assert encode_for(large, 0) == encode(large)
    assert len(encode_for(large, 15)) < 50


def test_a_close_reason_fits_into_its_frame_and_ends_at_a_character() -> None:
    assert close_body("") == b""
    assert close_body("é" * 100) == "é".encode() * 61
    assert len(close_body("x" * 200)) == 123


def test_a_ping_is_two_bytes() -> None:
    assert PING == b"\x89\x00"


def test_a_run_of_pings_and_pongs_is_read_and_the_last_pings_are_kept() -> None:
    pings = [masked(9, b"%d" % number) for number in range(20)]
    data = b"before" + b"".join(pings) + masked(10, b"x" * 125) + masked(9, b"") + masked(1, b"text")
    payloads, count, at = take_controls(data, 6)
    assert payloads == [*(b"%d" % number for number in range(5, 20)), b""]
    assert (count, at) == (22, len(data) - len(masked(1, b"text")))


@pytest.mark.parametrize(
    "frame",
    [
        masked(8, b""),
        masked(9, b"", fin=False),
        masked(9, b"", rsv=4),
        masked(10, b"x" * 126),
        masked(11, b""),
        b"\x89\x00abcd",
    ],
)
def test_what_is_no_whole_and_correct_ping_or_pong_is_left(frame: bytes) -> None:
    ping = masked(9, b"good")
    assert take_controls(ping + frame + ping, 0) == ([b"good"], 1, len(ping))
    for end in range(len(ping)):
        assert take_controls(ping + ping[:end], 0) == ([b"good"], 1, len(ping))


def test_frames_end_where_they_end() -> None:
    sizes = (0, 125, 126, 65535, 65536, 3)
    frames = [masked(2, b"x" * size) for size in sizes]
    data = b"".join(frames)
    at = 0
    for frame in frames:
        assert end_of_frames(data, at, 1) == at + len(frame)
        assert end_of_frames(data[: at + len(frame) - 1], at, 1) == at + len(frame) - 1
        at += len(frame)
    assert end_of_frames(data, 0, 7) == len(frames[0]) + len(frames[1])
    assert end_of_frames(data, 0, len(data)) == len(data)
    assert end_of_frames(data, len(data), 1) == len(data)


def test_a_pong_carries_what_the_ping_did() -> None:
    assert encode_pong(b"") == b"\x8a\x00"
    assert encode_pong(b"x" * 125) == b"\x8a\x7d" + b"x" * 125
