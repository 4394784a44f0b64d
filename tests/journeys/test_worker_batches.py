"""What a worker took together: nothing that is done, or could run elsewhere, waits for a slow message."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from tests.journeys.test_worker_restart import get
from tests.support.stack import Process, Stack, eventually

STOP_DEADLINE_SECONDS = 2.0


@contextlib.contextmanager
def large_takes(redis_url: str) -> Iterator[tuple[Stack, RedisPlaceLayer]]:
    """A stack whose workers take as much as they may, and its layer."""
    with Stack.over(redis_url) as stack:
        settings = {"TAKE_SECONDS": 60, "STOP_DEADLINE_SECONDS": STOP_DEADLINE_SECONDS}
        stack.env["JOURNEY_HEADRACE"] = json.dumps({"ORIGIN_CHECK": False, **settings})
        layer = RedisPlaceLayer(**stack.config)
        yield stack, layer
        layer.close()


def marked(layer: RedisPlaceLayer, count: int, seconds: float) -> list[Any]:
    """What `count` messages on journey.mark left, or those that did so in time."""
    marks: list[Any] = []
    deadline = time.monotonic() + seconds
    while len(marks) < count and (left := deadline - time.monotonic()) > 0:
        marks += [mark["from"] for _, mark in layer.receive_many(["journey.marks"], count, left)]
    return marks


def warm(layer: RedisPlaceLayer) -> None:
    """Let the worker learn that its messages are quick: then it takes many at once."""
    layer.send("journey.mark", {"from": "warm up"})
    assert marked(layer, 1, 10) == ["warm up"]


def test_what_is_done_is_said_while_a_slow_message_of_the_same_take_runs(redis_url: str) -> None:
    with large_takes(redis_url) as (stack, layer):
        stack.worker()
        warm(layer)
        seconds = [0, 0, 1.5, 0]
        began = time.monotonic()
        layer.send_many([("journey.mark", {"from": n, "seconds": s}) for n, s in enumerate(seconds)])
        assert marked(layer, 2, 5) == [0, 1]
        assert time.monotonic() - began < 0.7
        assert marked(layer, 2, 5) == [2, 3]


def test_what_was_taken_with_a_slow_message_is_run_by_an_idle_worker(redis_url: str) -> None:
    with large_takes(redis_url) as (stack, layer):
        stack.worker()
        warm(layer)
        seconds = [0, 20, *[0] * 8]
        layer.send_many([("journey.mark", {"from": n, "seconds": s}) for n, s in enumerate(seconds)])
        stack.worker()
        assert marked(layer, 9, 10) == [0, *range(2, 10)]


def test_requests_are_answered_while_a_slow_one_of_the_same_take_runs(redis_url: str) -> None:
    with large_takes(redis_url) as (stack, _), concurrent.futures.ThreadPoolExecutor(5) as pool:
        stack.interface()
        worker = stack.worker()
        assert get(stack.port, "/hello") == b"Hello, world!"
        os.kill(worker.pid, signal.SIGSTOP)
        requests = []
        # The first one ends the wait of the worker alone.
        for path in ("/hello", "/hello", "/hello", "/slow/1500"):
            requests.append(pool.submit(get, stack.port, path))
            time.sleep(0.05)
        os.kill(worker.pid, signal.SIGCONT)
        quick = concurrent.futures.wait(requests[:3], 1.2)
        assert len(quick.done) == 3
        assert not requests[3].done()
        assert requests[3].result(10) == b"slept 1500"


def test_a_worker_announces_what_it_takes(redis_url: str) -> None:
    with large_takes(redis_url) as (stack, layer):
        stack.worker("--only-channels", "journey.background", "--only-channels", "journey.mark")
        home = layer.places.home
        ask = RedisCommand(home, (b"ZRANGE", layer.plan.key(home, "takers"), 0, -1), as_is)
        eventually(lambda: sorted(layer.ask(ask)) == [b"journey.background", b"journey.mark"])


def test_at_a_stop_what_was_not_started_is_back_at_once_and_what_is_cut_off_is_told(redis_url: str) -> None:
    with large_takes(redis_url) as (stack, layer):
        worker = stack.worker()
        warm(layer)
        seconds = [0, 20, *[0] * 8]
        layer.send_many([("journey.mark", {"from": n, "seconds": s}) for n, s in enumerate(seconds)])
        assert marked(layer, 1, 5) == [0]
        worker.popen.terminate()
        began = time.monotonic()
        eventually(lambda: layer.statistics("journey.mark")["pending"] == 8, 1)
        assert worker.popen.poll() is None
        assert worker.popen.wait(10) == 1
        assert STOP_DEADLINE_SECONDS - 0.1 < time.monotonic() - began < STOP_DEADLINE_SECONDS + 2
        assert "A message on journey.mark still runs 2 s after the stop; it is cut off" in worker.output()
        assert "done 2, given back 8, lost 1" in worker.output()
        stack.worker()
        assert marked(layer, 8, 10) == list(range(2, 10))


def ended_in_time(worker: Process) -> int:
    """The status with which a worker ends that was just asked to."""
    began = time.monotonic()
    status = worker.popen.wait(STOP_DEADLINE_SECONDS + 5)
    assert time.monotonic() - began < STOP_DEADLINE_SECONDS + 2, worker.output()
    return status


@pytest.mark.parametrize(("processes", "threads"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_idle_workers_leave_in_time_with_0_while_redis_hangs(
    private_redis_server: Any, processes: int, threads: int
) -> None:
    with large_takes(private_redis_server.url) as (stack, layer):
        worker = stack.worker(processes=processes, threads=threads)
        warm(layer)
        private_redis_server.pause()
        worker.popen.terminate()
        status = ended_in_time(worker)
        private_redis_server.resume()
        assert status == 0, worker.output()
        assert "The channel layer did not answer within 2 s of the stop" in worker.output()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("seconds", "status"), [(1.0, 0), (20.0, 1)], ids=["ends in time", "is cut off"])
def test_a_worker_that_runs_something_leaves_in_time_while_redis_hangs(
    private_redis_server: Any, threads: int, seconds: float, status: int
) -> None:
    with large_takes(private_redis_server.url) as (stack, layer):
        worker = stack.worker(processes=2, threads=threads)
        warm(layer)
        layer.send("journey.mark", {"from": 1, "seconds": seconds})
        eventually(lambda: layer.statistics("journey.mark")["pending"] == 0)
        time.sleep(0.3)  # popped, but perhaps not yet on its way
        private_redis_server.pause()
        worker.popen.terminate()
        ended = ended_in_time(worker)
        private_redis_server.resume()
        assert ended == status, worker.output()
