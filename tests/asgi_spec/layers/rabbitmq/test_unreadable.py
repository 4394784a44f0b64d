"""What something else put into queues of RabbitMQ costs no process and no good message; none of it is run.

HEADRACE_FULL=1 takes a hundred times as much.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgpack
import pytest

from headrace_asgi.contract import WorkerPort
from headrace_asgi.envelope import encode, pack_message
from headrace_asgi.layers.rabbitmq import RabbitMQChannelLayer
from headrace_asgi.layers.rabbitmq.reader import GROUP_HEADER
from tests.support.rabbitmq_raw import publish_all
from tests.support.rubbish import EXECUTED, Rubbish

#: Pieces of rubbish for each kind of queue.
PIECES = 100_000 if os.environ.get("HEADRACE_FULL") else 1_000
AT_ONCE = 500
#: What may stand where the name of a group is.
HEADERS: list[Mapping[str, Any]] = [
    {},
    {GROUP_HEADER: 7},
    {GROUP_HEADER: ""},
    {GROUP_HEADER: "a b"},
    {GROUP_HEADER: ["group"]},
    {GROUP_HEADER: "group"},
    {"else": None},
]


class Scene:
    """A layer whose queues a stranger writes to."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.layer = RabbitMQChannelLayer(**config, capacity=1_000_000)
        self.port: WorkerPort = self.layer.open_worker_port(lambda item, outcome: None)

    def put(self, queue: str, rubbish: Rubbish, good: bytes | None = None) -> None:
        """Rubbish, and behind it something good."""
        choose = rubbish.random.choice
        entries = [(blob, choose(HEADERS)) for blob in rubbish.blobs(AT_ONCE)]
        publish_all(self.config, queue, entries + ([] if good is None else [(good, {})]))

    def taken_to(self, last: dict[str, Any], channel: str) -> None:
        """Take up to a message: some by a worker's port, some by `receive_many`."""
        for turn in range(10 * AT_ONCE):
            if turn % 2:
                found = [message for _, message in self.layer.receive_many([channel], 50, 1)]
            else:
                found = [one.message for one in self.port.turn([], [channel], 50, 1)]
            if last in found:
                return
        raise AssertionError(f"{last} was not taken")


@pytest.fixture
def scene(rabbitmq_config: dict[str, Any]) -> Iterator[Scene]:
    made = Scene(rabbitmq_config)
    yield made
    made.port.close()
    made.layer.close()
    assert EXECUTED == []


@pytest.mark.seeds(1)
@pytest.mark.parametrize("channel", ["test", "test?x", "server!"])
def test_good_messages_are_taken_among_rubbish_and_the_log_is_short_st12(
    scene: Scene, channel: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    rubbish = Rubbish(seed, "server!")
    scene.layer.receive([channel])  # so that its queues are there
    full_name = f"{channel}a" if channel.endswith("!") else None
    with caplog.at_level(logging.WARNING):
        for number in range(PIECES // AT_ONCE):
            last = {"good": number}
            scene.put(f"c:{channel}", rubbish, encode(pack_message(last), channel=full_name))
            scene.put(f"b:{channel}", rubbish)
            scene.taken_to(last, channel)
    assert 1 <= len(caplog.records) < 10
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.seeds(1)
def test_a_client_hears_its_group_among_rubbish_where_notes_are_st12(scene: Scene, seed: int) -> None:
    rubbish = Rubbish(seed, "server!")
    scene.layer.group_add("group", "server!a")
    for number in range(PIECES // AT_ONCE):
        scene.put("n:server!", rubbish)
        last = {"good": number}
        scene.layer.send_group("group", last)
        scene.taken_to(last, "server!")


@pytest.mark.seeds(1)
def test_members_and_takers_are_told_among_rubbish_where_records_are_st12(scene: Scene, seed: int) -> None:
    rubbish = Rubbish(seed)
    scene.layer.group_add("group", "test")
    scene.layer.announce(["test"])
    publish_all(scene.config, "g:group", [(record(key, said), {}) for key, said in NO_RECORDS])
    publish_all(scene.config, "takers", [(record(key, said), {}) for key, said in NO_RECORDS])
    for _ in range(PIECES // AT_ONCE // 4 or 1):
        scene.put("g:group", rubbish)
        scene.put("takers", rubbish)
        assert scene.layer.group_channels("group") == ["test"]
        assert scene.layer.takers().keys() == {"test"}


NO_RECORDS: list[tuple[Any, Any]] = [
    ("a", {"joins": True}),
    ("b", {"joins": True, "channel": 7}),
    ("c", {"joins": True, "channel": "a b"}),
    ("d", {"channels": 7, "at": 1.0}),
    ("e", {"channels": ["other"], "at": "now"}),
    ("f", {"channels": [["other"], 7], "at": 1.0}),
    ("g", {"channels": ["other"]}),
    (7, {"channels": ["other"], "at": 1.0}),
    ("h", "said"),
]


def record(key: Any, said: Any) -> bytes:
    packed: bytes = msgpack.packb({"key": key, "said": said})
    return packed
