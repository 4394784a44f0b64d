"""Versions: what is written is what all can read, whatever clocks do and whoever comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace_asgi import envelope
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from headrace_asgi.layers.redis.plan.versions import SETTLED_SECONDS, Agreed, Versions
from headrace_asgi.limits import ANNOUNCED_SECONDS


class Member:
    """A process that reads entries up to a version, with a clock of its own."""

    def __init__(self, url: str, reads: int, patch: pytest.MonkeyPatch) -> None:
        self.layer = RedisPlaceLayer([url])
        self.reads = reads
        self.now = 1000.0
        self._patch = patch
        self.versions = Versions(self.layer.plan, self.layer.plan._scripted, lambda: self.now)

    def say(self) -> Agreed:
        self._patch.setattr(envelope, "VERSION", self.reads)
        agreed: Agreed = self.layer.ask(self.versions.say())
        self.versions.heard(agreed)
        return agreed

    def settle(self) -> Agreed:
        """Say it, and again when all had the time to object."""
        self.say()
        self.now += SETTLED_SECONDS
        return self.say()

    @property
    def writes(self) -> int:
        return self.layer.plan.codec.version

    def ask(self, *args: bytes | str | int) -> object:
        return self.layer.ask(RedisCommand("0", args, as_is))

    @property
    def key(self) -> str:
        return self.layer.plan.key("0", "versions")

    def forget_words(self) -> None:
        """Do what time does to the word of those who say nothing, or a jump of the clock to all."""
        for version in (1, 2, 3):
            if self.ask(b"HEXISTS", self.key, f"reads:{version}"):
                self.ask(b"HINCRBY", self.key, f"reads:{version}", -int(ANNOUNCED_SECONDS * 1000) - 1)


@pytest.fixture
def old(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Member]:
    made = Member(redis_url, 1, monkeypatch)
    yield made
    made.layer.close()


@pytest.fixture
def new(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Member]:
    for version in (2, 3):
        monkeypatch.setitem(envelope.WRITERS, version, envelope.encode)
    made = Member(redis_url, 3, monkeypatch)
    yield made
    made.layer.close()


def test_the_lowest_that_somebody_reads_is_written(old: Member, new: Member) -> None:
    assert old.say() == Agreed(1, 1)
    assert new.settle() == Agreed(1, 1)
    middle = new.reads = 2
    new.forget_words()
    assert new.settle() == Agreed(middle, middle)
    new.reads = 3
    assert new.settle() == Agreed(middle, middle), "the word of who reads no more counts"
    new.forget_words()
    assert new.settle() == Agreed(3, 3)
    assert new.writes == 3


def test_a_higher_version_waits_until_all_had_the_time_to_object(old: Member, new: Member) -> None:
    old.say()
    new.settle()
    new.forget_words()  # as the clock of Redis does that jumps
    assert new.say() == Agreed(1, 3)
    new.now += SETTLED_SECONDS - 1
    assert new.say() == Agreed(1, 3)
    old.say()
    new.now += 2
    assert new.say() == Agreed(1, 1)
    assert (old.writes, new.writes) == (1, 1)


def test_who_cannot_read_what_is_written_is_refused_and_changes_nothing(old: Member, new: Member) -> None:
    assert new.settle().written == 3
    agreed = old.say()
    assert agreed == Agreed(3, 1)
    refusal = old.versions.refusal(agreed)
    assert "version 3" in refusal
    assert "up to 1" in refusal
    assert old.writes == 1
    agreed = new.say()
    assert agreed == Agreed(3, 3)
    assert new.versions.refusal(agreed) == ""


def test_a_redis_that_lost_its_data_and_a_flush_begin_with_the_first_version(
    old: Member, new: Member
) -> None:
    new.settle()
    new.layer.flush()
    assert old.say() == Agreed(1, 1)
    assert new.say() == Agreed(1, 1)
    assert new.writes == 1


@pytest.mark.parametrize(
    "rubbish", [(b"written", "many"), (b"reads:x", 1), (b"reads:2", "now"), (b"", b"\xff")]
)
def test_what_something_else_wrote_there_costs_nothing(
    old: Member, new: Member, rubbish: tuple[bytes | str, bytes | str]
) -> None:
    old.ask(b"HSET", old.key, *rubbish)
    assert old.say() == Agreed(1, 1)
    old.ask(b"DEL", old.key)
    old.ask(b"SET", old.key, "no hash")
    assert old.say() == Agreed(1, 1)
    assert new.say() == Agreed(1, 1)


def test_a_layer_has_a_version_of_its_own(new: Member, redis_url: str) -> None:
    new.settle()
    other = RedisPlaceLayer([redis_url], prefix="other")
    assert (new.writes, other.plan.codec.version, envelope.PLAIN.version) == (3, 1, 1)
    other.close()
