"""Every kind of key of the protocol, spoilt: nothing is raised that callers do not expect, and it mends.

HEADRACE_FULL=1 writes a million pieces of rubbish in all.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from tests.support.every_key import TYPES, Everything, documented_kinds
from tests.support.interfaces import interface_side
from tests.support.reactors import hand_reactor
from tests.support.rubbish import EXECUTED, Rubbish

FULL = bool(os.environ.get("HEADRACE_FULL"))
KINDS = documented_kinds()
#: Rounds of rubbish in the keys of one kind, and pieces in each: a million in all kinds together.
ROUNDS, AT_ONCE = (40, 1000) if FULL else (4, 25)


@pytest.fixture
def everything(redis_url: str) -> Iterator[Everything]:
    with hand_reactor() as reactor, interface_side(reactor, redis_url) as side:
        made = Everything(redis_url, reactor, side)
        yield made
        made.close()
        assert side.port.counters["failed"] == 0
    assert EXECUTED == []


def test_the_kinds_are_those_of_the_protocol() -> None:
    assert len(KINDS) == 29
    assert set(KINDS.values()) <= set(TYPES)


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_another_type_is_an_error_that_callers_expect_until_it_is_deleted_st12(
    everything: Everything, kind: str, type_: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for key in everything.spoiler.keys(kind):
            everything.spoiler.make(key, type_)
            everything.use()
            everything.client.delete(key)
        everything.client.delete(*everything.spoiler.keys(kind))
        everything.works_again()
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.seeds(1)
@pytest.mark.parametrize("kind", KINDS)
def test_rubbish_in_a_key_of_the_right_type_is_an_error_that_callers_expect_and_the_log_is_short_st12(
    everything: Everything, kind: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    rubbish = Rubbish(seed, everything.spoiler.process)
    with caplog.at_level(logging.WARNING):
        for _ in range(ROUNDS):
            for key in everything.spoiler.keys(kind):
                everything.spoiler.fill(key, KINDS[kind], rubbish, AT_ONCE)
            everything.use()
        everything.client.delete(*everything.spoiler.keys(kind))
        everything.works_again()
    assert [record for record in caplog.records if record.exc_info] == []
    assert len(caplog.records) < 30
