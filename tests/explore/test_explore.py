"""The explorers with small bounds: the shipped scripts hold, every broken variant is caught."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.explore.explorer import Server
from tests.explore.protocols import Task, tasks
from tests.support.services import RedisServer, valkey_binary


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with RedisServer(valkey_binary()) as redis:
        server = Server(redis.path)
        yield server
        server.close()


@pytest.mark.parametrize("task", tasks(small=True), ids=lambda task: task.model.name)
def test_a_protocol_holds_and_a_broken_one_is_caught(server: Server, task: Task) -> None:
    report = task.run(server)
    story = "\n".join([report.violation, *report.trace])
    assert task.is_fine(report), story or f"not caught in {report.states} states"
