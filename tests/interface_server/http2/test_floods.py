"""Frames before the library sees them: cut, counted, and let pass as long as they are not too many."""

from __future__ import annotations

import random

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, WindowUpdateFrame

from headrace_interface.http2.floods import MAX_FRAME_BYTES, PREFACE, FrameGate, Violation
from headrace_interface.settings import FrameRate, InterfaceSettings

PING = PingFrame(0, b"12345678").serialize()
SETTINGS = InterfaceSettings(http2_pings=FrameRate(10, 2))


def gate(settings: InterfaceSettings = SETTINGS) -> FrameGate:
    made = FrameGate(settings, 100.0)
    made.feed(PREFACE, 100.0)
    return made


def test_only_whole_frames_pass() -> None:
    this = gate()
    assert this.feed(PING[:5], 100.0).data == b""
    assert this.in_frame
    assert this.feed(PING[5:] + PING[:9], 100.0).data == PING
    assert this.feed(PING[9:], 100.0).data == PING
    assert not this.in_frame


@pytest.mark.seeds(20)
def test_bytes_pass_as_they_came_however_they_are_cut(seed: int) -> None:
    chosen = random.Random(seed)
    frames = [
        DataFrame(1, chosen.randbytes(chosen.randrange(256, 5000))).serialize()
        for _ in range(chosen.randrange(1, 20))
    ]
    whole = PREFACE + b"".join(frames)
    this, passed, rest = FrameGate(SETTINGS, 0.0), b"", whole
    while rest:
        count = chosen.randrange(1, 3000)
        passed += this.feed(rest[:count], 0.0).data
        rest = rest[count:]
    assert passed == whole


def test_another_beginning_than_the_preface_is_a_violation() -> None:
    for beginning in (b"GET / HTTP/1.1\r\n", PREFACE[:-1] + b"x", b"\0" * 24):
        with pytest.raises(Violation):
            FrameGate(SETTINGS, 0.0).feed(beginning, 0.0)
    this = FrameGate(SETTINGS, 0.0)
    assert this.feed(PREFACE[:7], 0.0).data == PREFACE[:7]
    assert this.in_head
    this.feed(PREFACE[7:], 0.0)
    assert not this.in_head


def test_a_frame_that_is_too_large_is_a_violation_before_it_is_whole() -> None:
    with pytest.raises(Violation) as raised:
        gate().feed((MAX_FRAME_BYTES + 1).to_bytes(3, "big") + b"\0\0\0\0\0\1", 100.0)
    assert (raised.value.code, raised.value.flood) == (0x6, "")


def test_goodbyes_do_not_reach_the_library() -> None:
    goodbye = GoAwayFrame(0, last_stream_id=0).serialize()
    passed = gate().feed(PING + goodbye + PING, 100.0)
    assert passed.data == PING + PING
    assert passed.leaving
    assert not gate().feed(PING, 100.0).leaving


def test_a_rate_has_a_burst_and_fills_up_with_time() -> None:
    this = gate()
    this.feed(PING * 9, 100.0)
    with pytest.raises(Violation) as raised:
        this.feed(PING, 100.1)
    assert (raised.value.code, raised.value.flood) == (0xB, "pings")
    this = gate()
    this.feed(PING * 9, 100.0)
    this.feed(PING * 9, 110.0)


def test_a_head_is_known_from_its_first_frame_to_its_last() -> None:
    this = gate()
    this.feed(HeadersFrame(1, b"\x82").serialize(), 100.0)
    assert (this.in_head, this.heads) == (True, 0)
    this.feed(b"\0\0\1\x09\x04\0\0\0\1\x84", 100.0)
    assert (this.in_head, this.heads) == (False, 1)


def test_content_that_was_sent_earns_window_updates() -> None:
    this = gate(InterfaceSettings(http2_window_updates=FrameRate(10, 1)))
    update = WindowUpdateFrame(0, window_increment=1).serialize()
    for _ in range(50):
        this.sent(2)
        this.feed(update * 8, 100.0)
    with pytest.raises(Violation, match="window updates"):
        this.feed(update * 11, 100.0)


def test_content_of_a_good_size_is_never_too_much() -> None:
    this = gate(InterfaceSettings(http2_small_frames=FrameRate(5, 1), http2_empty_frames=FrameRate(5, 1)))
    this.feed(DataFrame(1, b"a" * 256).serialize() * 100, 100.0)
    this.feed(DataFrame(1, b"", flags=["END_STREAM"]).serialize() * 100, 100.0)
    for _ in range(100):
        this.content(256, 100.0)
    for _ in range(4):
        this.content(255, 100.0)
    with pytest.raises(Violation, match="small frames"):
        this.content(255, 100.0)
    with pytest.raises(Violation, match="empty frames"):
        this.feed(DataFrame(1, b"").serialize() * 6, 100.0)
