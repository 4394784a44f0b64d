"""Errors of Redis sorted into what may be repeated and what may not."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hiredis import ReplyError

from headrace_asgi.contract import Outcome
from headrace_asgi.errors import ChannelFull, LayerRefused, LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.redis.memory_watch import MemoryWatch
from headrace_asgi.layers.redis.plan.command import RedisCommand, no_answer
from headrace_asgi.layers.redis.plan.outcomes import REACTIONS, Reaction
from headrace_asgi.layers.redis.twisted.executor import TwistedExecutor
from tests.support.interfaces import plan_for
from tests.support.links import ScriptedLink

PLAN, _ = plan_for("redis://localhost")
CONNECT = PLAN.connect("hr1.0.p!a", "/", b"entry")


@pytest.fixture
def link() -> ScriptedLink:
    return ScriptedLink()


@pytest.fixture
def executor(link: ScriptedLink) -> TwistedExecutor:
    executor = TwistedExecutor(cast(Any, {"0": link}), MemoryWatch("here", "nothing"))
    executor.open = True
    return executor


def command(name: str) -> RedisCommand:
    return RedisCommand("0", (name,), no_answer, repeat=True)


def test_an_answer_is_read(executor: TwistedExecutor, link: ScriptedLink) -> None:
    answers: list[Any] = []
    executor.ask(CONNECT, answers.append)
    assert executor.busy
    assert link.answer(1) == CONNECT.args
    assert answers == [Outcome.SENT]
    assert not executor.busy


def test_an_unknown_script_is_sent_whole_once(executor: TwistedExecutor, link: ScriptedLink) -> None:
    answers: list[Any] = []
    executor.ask(CONNECT, answers.append)
    link.answer(ReplyError("NOSCRIPT No matching script."))
    assert link.commands == [CONNECT.whole().args]
    link.answer(ReplyError("NOSCRIPT again"))
    assert isinstance(answers[0], LayerUnavailable)


def test_out_of_memory_is_a_full_channel(executor: TwistedExecutor, link: ScriptedLink) -> None:
    answers: list[Any] = []
    executor.ask(CONNECT, answers.append)
    link.answer(ReplyError("OOM command not allowed when used memory > 'maxmemory'."))
    assert isinstance(answers[0], ChannelFull)
    assert not link.left


@pytest.mark.parametrize(
    "said", [code for code, reaction in REACTIONS.items() if reaction in (Reaction.HOLD, Reaction.LEAVE)]
)
def test_a_redis_that_cannot_serve_now_is_left(
    executor: TwistedExecutor, link: ScriptedLink, said: str
) -> None:
    answers: list[Any] = []
    executor.ask(CONNECT, answers.append)
    link.answer(ReplyError(f"{said} for some reason"))
    assert isinstance(answers[0], LayerUnavailable)
    assert not isinstance(answers[0], OutcomeUnknown)
    assert said in str(answers[0])
    assert link.left == answers


def test_a_refusal_that_is_our_defect_is_logged_once(
    executor: TwistedExecutor, link: ScriptedLink, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = []
    for _ in range(3):
        executor.ask(CONNECT, answers.append)
        link.answer(ReplyError("NOPERM this user has no permissions"))
    assert [type(answer) for answer in answers] == [LayerRefused] * 3
    (record,) = caplog.records
    assert "refused connect: NOPERM" in record.getMessage()
    assert "a user of an ACL needs: " in record.getMessage()


def test_what_is_insisted_on_waits_for_the_registration_in_its_order(
    executor: TwistedExecutor, link: ScriptedLink
) -> None:
    executor.open = False
    answers: list[str] = []
    for name in "abc":
        executor.insist(command(name), lambda _, name=name: answers.append(name))  # type: ignore[misc]
    assert not link.sent
    assert executor.busy
    executor.open = True
    executor.resume()
    assert link.commands == [("a",), ("b",), ("c",)]
    link.answer(None)
    executor.open = False
    link.answer(OutcomeUnknown("lost"))
    link.answer(LayerUnavailable("lost"))
    executor.insist(command("d"), lambda _: answers.append("d"))
    assert answers == ["a"]
    assert executor.holds == 3
    executor.open = True
    executor.resume()
    assert link.commands == [("b",), ("c",), ("d",)]


def test_what_is_insisted_on_may_be_shed_by_a_full_memory(
    executor: TwistedExecutor, link: ScriptedLink
) -> None:
    answers: list[Any] = []
    executor.insist(CONNECT, answers.append)
    link.answer(ReplyError("OOM"))
    assert isinstance(answers[0], ChannelFull)
    assert not executor.holds


def test_an_answer_that_means_nothing_is_an_outage_of_that_command_and_logged_once(
    executor: TwistedExecutor, link: ScriptedLink, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = []
    for _ in range(3):
        executor.ask(PLAN.group_adds("g", "hr1.0.feed!"), answers.append)
        link.answer(b"many")
    assert [type(answer) for answer in answers] == [OutcomeUnknown] * 3
    assert "answered HGET with b'many'" in str(answers[0])
    assert "delete it: hr1:{0}:g:g" in str(answers[0])
    assert len(caplog.records) == 1
    assert link.left == []
