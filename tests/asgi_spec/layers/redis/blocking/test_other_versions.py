"""Who may not start beside others of another version."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from headrace_asgi import envelope
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.redis.blocking import other_versions
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is


class Scene:
    """A layer, and hands that write what other versions do."""

    def __init__(self, url: str) -> None:
        self.layer = RedisPlaceLayer([url])
        self.foreign = self.layer.places.tag("0").replace("hr1:", "hr3:")

    def do(self, *args: bytes | str | int) -> object:
        return self.layer.ask(RedisCommand("0", args, as_is))


@pytest.fixture
def scene(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(other_versions, "BEATS_WATCHED_SECONDS", 1.0)
    monkeypatch.setattr(other_versions, "LOOK_SECONDS", 0.05)
    made = Scene(redis_url)
    yield made
    made.layer.close()


def test_who_cannot_read_what_was_written_does_not_start(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.layer.ensure_usable()
    scene.do(b"HSET", scene.layer.plan.key("0", "versions"), "written", 2)
    with pytest.raises(ConfigurationError, match=r"version 2 here.* up to 1\. Start that one"):
        scene.layer.ensure_usable()
    monkeypatch.setattr(envelope, "VERSION", 2)
    monkeypatch.setitem(envelope.WRITERS, 2, envelope.encode)
    scene.layer.ensure_usable()
    assert scene.layer.plan.codec.version == 2


def test_a_living_process_of_another_major_version_is_named(scene: Scene) -> None:
    scene.do(b"HSET", scene.foreign + "beat", "hr3.0.5f!", 7)
    scene.do(b"HSET", scene.foreign + "procs", "hr3.0.5f!", "interface on edge-1")
    scene.layer.ensure_usable()  # it does not beat

    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.1):
            scene.do(b"HINCRBY", scene.foreign + "beat", "hr3.0.5f!", 1)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(ConfigurationError, match=r"5f! \(interface on edge-1\) is of another major"):
            scene.layer.ensure_usable()
    finally:
        stop.set()
        beating.join()


def test_what_something_else_wrote_there_keeps_nobody_from_starting(scene: Scene) -> None:
    scene.do(b"SET", scene.foreign + "beat", "no hash")
    scene.layer.ensure_usable()
