"""Two versions on one Redis: they understand each other, or one is refused; nothing is garbled."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.stack import ROOT, SOURCES, Process, Stack, eventually
from tests.support.wsclient import open_socket, receive_json, send_json

HOOK = Path(ROOT) / "tests" / "support" / "other_version"
OLD, NEW = 1, 2


class Mixed(Stack):
    """A stack whose processes have versions of their own."""

    def is_now(self, version: int) -> Mixed:
        """What is started from now on has this version."""
        self.env |= {"OTHER_VERSION": str(version), "PYTHONPATH": f"{HOOK}:{SOURCES}"}
        return self

    def refused(self, process: Process) -> str:
        """What a process says that does not start."""
        assert process.popen.wait(20) == 1, process.output()
        return process.output()


class Agreement:
    """What Redis knows of the versions."""

    def __init__(self, url: str) -> None:
        where, _, prefix = url.partition("?prefix=")
        self.client = redis.Redis.from_url(where)
        self.tag = "hr1:{%s0}:" % (f"{prefix}." if prefix else "")

    @property
    def written(self) -> int:
        return int(self.client.hget(self.tag + "versions", "written") or 1)

    def force(self, version: int) -> None:
        """Do what no process would: have a version written that some cannot read."""
        self.client.hset(self.tag + "versions", "written", version)


@pytest.fixture
def agreement(redis_url: str) -> Iterator[Agreement]:
    made = Agreement(redis_url)
    yield made
    made.client.close()


@contextmanager
def mixed(redis_url: str) -> Iterator[Mixed]:
    with Mixed.over(redis_url) as stack:
        assert isinstance(stack, Mixed)
        yield stack


def hello(port: int, seconds: float = 10) -> int | bytes:
    """The answer of a view, or the status of an error."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/hello", timeout=seconds) as response:
            body: bytes = response.read()
            return body
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def speaks(port: int) -> bool:
    """Whether requests, plain and ordered frames and groups work."""
    with open_socket(port, "/ws/room") as room, open_socket(port, "/ws/numbered") as ordered:
        send_json(room, "to all")
        for number in range(5):
            send_json(ordered, {"n": number})
        heard = [receive_json(ordered)["n"] for _ in range(5)]
        return hello(port) == b"Hello, world!" and receive_json(room) == "to all" and heard == list(range(5))


def test_versions_live_together_while_one_replaces_the_other_and_nobody_goes_back_rt21(
    redis_url: str, agreement: Agreement
) -> None:
    with mixed(redis_url) as stack:
        old_interface, old_worker = stack.is_now(OLD).interface(), stack.worker()
        assert speaks(stack.port)
        new_worker = stack.is_now(NEW).worker()
        old_worker.end()
        assert speaks(stack.port), "an old interface server with a new worker"
        returned = stack.is_now(OLD).worker()
        new_worker.end()
        assert speaks(stack.port), "back to the old worker, as nothing new was written"
        stack.is_now(NEW).worker()
        returned.end()
        port, stack.port = stack.port, 0
        stack.interface()
        assert speaks(port)
        assert speaks(stack.port)
        assert agreement.written == OLD
        old_interface.end()
        eventually(lambda: agreement.written == NEW, 40, "the new version is written")
        assert speaks(stack.port)
        said = stack.refused(stack.is_now(OLD).start_worker())
        assert "entries of version 2" in said
        assert "this one reads up to 1" in said
        stack.port, port = 0, stack.port
        assert "entries of version 2" in stack.refused(stack.start_interface())
        assert speaks(port)
        assert agreement.written == NEW


def test_what_an_old_worker_cannot_read_is_an_error_for_its_client_and_not_tried_again_rt21(
    redis_url: str, agreement: Agreement
) -> None:
    with mixed(redis_url) as stack:
        worker, _ = stack.is_now(OLD).worker(), stack.is_now(NEW).interface()
        with open_socket(stack.port, "/ws/echo") as plain, open_socket(stack.port, "/ws/numbered") as ordered:
            send_json(plain, "still")
            assert receive_json(plain) == "still"
            agreement.force(NEW)
            eventually(lambda: hello(stack.port) == 500, 20, "entries of version 2 are written")
            send_json(plain, "unread")
            send_json(ordered, {"n": 1})
            for socket in (plain, ordered):
                with pytest.raises(ConnectionClosed) as closed:
                    receive_json(socket)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1011
        with pytest.raises(InvalidStatus) as refused, open_socket(stack.port, "/ws/echo"):
            pass
        assert refused.value.response.status_code == 500
        assert worker.output().count("Dropped from") == 1, "one line a minute"


def test_what_an_old_interface_server_cannot_read_is_an_error_for_its_client_rt21(
    redis_url: str, agreement: Agreement
) -> None:
    with mixed(redis_url) as stack:
        interface, _ = stack.is_now(OLD).interface(), stack.is_now(NEW).worker()
        with open_socket(stack.port, "/ws/echo") as socket:
            agreement.force(NEW)
            eventually(lambda: hello(stack.port) == 500, 20, "entries of version 2 are written")
            send_json(socket, "answered in another version")
            with pytest.raises(ConnectionClosed) as closed:
                receive_json(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1011
        interface.wait_for("this one reads up to 1. Start that one again")
        assert interface.output().count("envelope version 2") == 1


def test_a_process_of_another_major_version_that_lives_keeps_this_one_from_starting_rt21(
    redis_url: str, agreement: Agreement
) -> None:
    foreign = agreement.tag.replace("hr1:", "hr2:")
    client = agreement.client
    client.hset(foreign + "beat", "hr2.0.5f!", 1)
    client.hset(foreign + "procs", "hr2.0.5f!", '{"host": "elsewhere", "pid": 7}')
    with mixed(redis_url) as stack:
        starting = stack.is_now(OLD).start_worker()
        eventually(
            lambda: not client.hincrby(foreign + "beat", "hr2.0.5f!", 1) or starting.popen.poll() == 1, 20
        )
        said = stack.refused(starting)
        assert "hr2.0.5f! ({" in said
        assert "another major version" in said
        stack.start_worker().wait_for(r"Taking from", 30)  # dead ones are in nobody's way
