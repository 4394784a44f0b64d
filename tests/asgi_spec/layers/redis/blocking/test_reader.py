"""ChannelReader: fair among channels, and robust against what is in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from headrace_asgi.envelope import Codec, Message, decode, encode, pack_message, unpack_message
from headrace_asgi.layers.redis.blocking import reader as redis_reader
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.blocking.reader import ChannelReader
from headrace_asgi.layers.redis.plan.command import RedisCommand
from headrace_asgi.layers.redis.plan.scripts import script
from headrace_asgi.sealing import sealing_codec

NEVER = 2**60


KEY = "the key of this process"
OURS, THEIRS = sealing_codec([KEY.encode()]), sealing_codec([b"the key of another one"])


def reader_of(layer: RedisPlaceLayer) -> Iterator[ChannelReader]:
    executor = layer.executor("0")
    executor.put_back(executor.take_out())
    yield ChannelReader(layer.plan, "0", executor)
    layer.close()


@pytest.fixture
def reader(redis_url: str) -> Iterator[ChannelReader]:
    yield from reader_of(RedisPlaceLayer([redis_url]))


@pytest.fixture
def sealed_reader(redis_url: str) -> Iterator[ChannelReader]:
    yield from reader_of(RedisPlaceLayer([redis_url], symmetric_encryption_keys=[KEY]))


def names_of(commands: list[RedisCommand]) -> list[str]:
    return [command.script.name for command in commands if command.script is not None]


def order(reader: ChannelReader, channels: list[str]) -> str:
    command, _ = reader.take(channels, 1, None)
    keys = command.args[2 : 2 + int(command.args[1])]
    return "".join(str(key).rpartition(":")[2] for key in keys)


def test_the_channel_served_last_goes_to_the_end_and_idle_ones_change_nothing(reader: ChannelReader) -> None:
    channels = list("abcd")
    assert order(reader, channels) == "abcd"
    assert order(reader, channels) == "abcd"
    orders = []
    for served in "aaccda":
        reader.served(channels, served)
        orders.append(order(reader, channels))
    assert orders == ["bcda", "bcda", "bdac", "bdac", "bacd", "bcda"]


def test_each_list_of_channels_has_an_order_of_its_own(reader: ChannelReader) -> None:
    reader.served(["a", "b"], "a")
    assert order(reader, ["a", "b"]) == "ba"
    assert order(reader, ["b", "a"]) == "ba"
    assert order(reader, ["a", "b", "c"]) == "abc"


def test_takes_are_kept_ready_and_their_number_is_bounded(
    reader: ChannelReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reader.take(["a"], 1, None)[0] is reader.take(["a"], 1, None)[0]
    monkeypatch.setattr(redis_reader, "TAKES_KEPT", 3)
    for limit in range(1, 20):
        reader.take(["a", f"b{limit}"], limit, None)
    assert len(reader._takes) <= 3
    assert len(reader._orders) <= 3


def test_what_cannot_be_read_is_counted_and_told_once(
    reader: ChannelReader, caplog: pytest.LogCaptureFixture
) -> None:
    good = encode(pack_message({"n": 1}), NEVER)
    with caplog.at_level(logging.ERROR, "headrace.layer"):
        taken = reader.read("test", [b"", b"\x02rubbish of another version", good, encode(b"\xc1", NEVER)])
    assert [one.message for one in taken.alive] == [{"n": 1}]
    assert (reader.counters["test|taken"], reader.counters["test|unreadable"]) == (4, 3)
    assert len(caplog.records) == 1


def test_what_is_owed_for_dropped_entries_depends_on_what_they_were(reader: ChannelReader) -> None:
    expired = encode(pack_message({"reply_channel": "hr1.0.x!a"}), 1, order=7)
    unreadable = encode(b"\xc1", NEVER, order=8, channel="hr1.0.x!b")
    taken = reader.read("websocket.receive", [expired, unreadable])
    assert taken.alive == []
    assert names_of(taken.owed) == ["push", "finish"] * 2
    assert [command.args[-2] for command in taken.owed if command.script is script("finish")] == [7, 8]
    unseen = encode(pack_message({"reply_channel": "hr1.0.x!a"}), 1, order=0)
    assert names_of(reader.read("websocket.connect", [unseen]).owed) == ["drop_connect"]
    seen = encode(pack_message({"reply_channel": "hr1.0.x!a"}), 1, order=0, retries=1)
    assert names_of(reader.read("websocket.connect", [seen]).owed) == ["finish"]
    foreign = encode(pack_message({"reply_channel": "daphne!a"}), 1, order=7)
    assert names_of(reader.read("websocket.receive", [foreign]).owed) == ["finish"]
    assert reader.read("test", [encode(pack_message({}), 1)]).owed == []


@pytest.mark.parametrize(
    ("channel", "order", "said", "owed"),
    [
        ("http.request", None, {"control": "failed", "status": 500}, ["push"]),
        ("websocket.connect", 0, {"control": "failed", "status": 500}, ["push", "drop_connect"]),
        ("websocket.receive", None, {"control": "close", "code": 1011}, ["push"]),
        ("websocket.receive", 7, {"control": "close", "code": 1011}, ["push", "push", "finish"]),
        ("websocket.disconnect", 8, None, ["push", "finish"]),
        ("work", None, None, []),
    ],
)
def test_the_client_of_an_entry_that_only_a_newer_process_can_read_gets_an_error_rt21(
    reader: ChannelReader, channel: str, order: int | None, said: Message | None, owed: list[str]
) -> None:
    message = pack_message({"reply_channel": "hr1.0.5f!me"})
    taken = reader.read(channel, [b"\x02" + encode(message, NEVER, order)[1:]])
    assert taken.alive == []
    assert names_of(taken.owed) == owed
    if said is not None:
        note = unpack_message(decode(bytes(taken.owed[0].args[-1])).payload)  # type: ignore[arg-type]
        assert note.items() >= {**said, "local": "me"}.items()
    assert reader.counters[f"{channel}|unreadable"] == 1


def test_of_an_entry_of_another_version_that_does_not_say_whose_it_is_nothing_is_owed(
    reader: ChannelReader,
) -> None:
    for payload in (pack_message({}), pack_message({"reply_channel": 7}), b"\xc1", b""):
        for order in (None, 3):
            assert reader.read("websocket.receive", [b"\x02" + encode(payload, 0, order)[1:]]).owed == []


def test_notes_between_processes_are_no_messages(reader: ChannelReader) -> None:
    note = encode(pack_message({"control": "verdict"}), NEVER, control=True)
    assert reader.read("test", [note]).alive == []
    assert reader.counters["test|unreadable"] == 1


def test_channels_of_one_reader_are_counted_together(reader: ChannelReader) -> None:
    entry = encode(pack_message({"content": b""}), NEVER, channel=None)
    for number in range(100):
        reader.read(f"http.request.body?{number}", [entry])
    assert dict(reader.counters) == {"http.request.body?|taken": 100}


def test_an_entry_that_lies_on_the_wrong_channel_is_not_delivered_there(reader: ChannelReader) -> None:
    misplaced = encode(pack_message({}), NEVER, channel="admin.secret")
    of_nobody = encode(pack_message({}), NEVER, order=3)
    right = encode(pack_message({}), NEVER, channel="test.process!me")
    assert reader.read("test", [misplaced, of_nobody]).alive == []
    assert [one.channel for one in reader.read("test.process!", [right]).alive] == ["test.process!me"]
    assert (reader.counters["test|unreadable"], reader.counters["test.process!|unreadable"]) == (2, 0)


def test_spoilt_channels_are_left_out_of_every_list_for_a_while(
    reader: ChannelReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = reader._executor.run
    key = reader._plan.queue_key("0", "b")
    run([RedisCommand("0", (b"SET", key, "mine"), str)])
    assert order(reader, ["a", "b", "c"]) == "abc"
    assert reader.leave_out_spoilt(["a", "b", "c"])
    assert order(reader, ["a", "b", "c"]) == "ac"
    assert order(reader, ["b", "c"]) == "c"
    assert not reader.leave_out_spoilt(["b"])
    assert order(reader, ["b"]) == "b"
    monkeypatch.setattr(reader, "_left_out_until", 0.0)
    assert order(reader, ["a", "b", "c"]) == "abc"


# With keys


MESSAGE = pack_message({"n": 1})


def flipped(entry: bytes) -> bytes:
    return entry[:-1] + bytes((entry[-1] ^ 1,))


def sealed(codec: Codec = OURS, queue: str = "test", expiry_ms: int = NEVER) -> bytes:
    return codec.encode(MESSAGE, expiry_ms, queue=queue)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (sealed(THEIRS), "another process uses other symmetric_encryption_keys"),
        (sealed()[:-1], "changed or cut short"),
        (flipped(sealed()), "changed or cut short"),
        (sealed(queue="other"), "made for another channel"),
        (encode(MESSAGE, NEVER), "an entry is not encrypted"),
    ],
)
def test_what_was_not_sealed_for_this_channel_is_counted_and_the_next_is_read_st13(
    sealed_reader: ChannelReader, entry: bytes, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "headrace.layer"):
        taken = sealed_reader.read("test", [entry, entry, sealed()])
    assert [one.message for one in taken.alive] == [{"n": 1}]
    assert sealed_reader.counters == {"test|taken": 3, "test|unreadable": 2}
    assert len(caplog.records) == 1
    assert text in caplog.text


def test_a_replayed_entry_expires_when_it_would_have_st13(sealed_reader: ChannelReader) -> None:
    old = sealed(expiry_ms=1)
    prolonged = old[:2] + NEVER.to_bytes(8) + old[10:]
    assert sealed_reader.read("test", [old, prolonged]).alive == []
    assert sealed_reader.counters == {"test|taken": 2, "test|expired": 1, "test|unreadable": 1}


def test_a_reader_without_keys_names_the_option_st13(
    reader: ChannelReader, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "headrace.layer"):
        taken = reader.read("test", [sealed(), encode(MESSAGE, NEVER)])
    assert [one.message for one in taken.alive] == [{"n": 1}]
    assert reader.counters["test|unreadable"] == 1
    assert "this layer has no symmetric_encryption_keys" in caplog.text


@pytest.mark.parametrize("codec", [OURS, THEIRS])
def test_the_token_of_an_ordered_entry_is_finished_whoever_sealed_it_st13(
    reader: ChannelReader, sealed_reader: ChannelReader, codec: Codec
) -> None:
    # An envelope that names its socket: as unreadable as one whose payload is broken.
    entry = codec.encode(MESSAGE, NEVER, 8, "hr1.0.5f!b", queue="websocket.receive")
    for each in (reader, sealed_reader):
        owed = each.read("websocket.receive", [entry]).owed
        assert names_of(owed) == ["push", "finish"]
        assert owed[1].args[-2] == 8
