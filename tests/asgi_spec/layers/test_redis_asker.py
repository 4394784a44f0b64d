"""Errors of Redis sorted into what may be repeated and what may not."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hiredis import ReplyError

from headrace_asgi.contract import Outcome
from headrace_asgi.errors import ChannelFull, LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.redis_asker import Asker
from headrace_asgi.layers.redis_call import Call, no_answer
from headrace_asgi.layers.redis_facts import NOT_NOW
from headrace_asgi.layers.redis_memory import MemoryWatch
from tests.support.interfaces import plan_for
from tests.support.links import ScriptedLink

PLAN, _ = plan_for("redis://localhost")
CONNECT = PLAN.connect("hr1.0.p!a", "/", b"entry")


@pytest.fixture
def link() -> ScriptedLink:
    return ScriptedLink()


@pytest.fixture
def asker(link: ScriptedLink) -> Asker:
    asker = Asker(cast(Any, {"0": link}), MemoryWatch("here", "nothing"))
    asker.open = True
    return asker


def call(name: str) -> Call:
    return Call("0", (name,), no_answer, repeat=True)


def test_an_answer_is_read(asker: Asker, link: ScriptedLink) -> None:
    answers: list[Any] = []
    asker.ask(CONNECT, answers.append)
    assert asker.busy
    assert link.answer(1) == CONNECT.args
    assert answers == [Outcome.SENT]
    assert not asker.busy


def test_an_unknown_script_is_sent_whole_once(asker: Asker, link: ScriptedLink) -> None:
    answers: list[Any] = []
    asker.ask(CONNECT, answers.append)
    link.answer(ReplyError("NOSCRIPT No matching script."))
    assert link.commands == [CONNECT.whole()]
    link.answer(ReplyError("NOSCRIPT again"))
    assert isinstance(answers[0], LayerUnavailable)


def test_out_of_memory_is_a_full_channel(asker: Asker, link: ScriptedLink) -> None:
    answers: list[Any] = []
    asker.ask(CONNECT, answers.append)
    link.answer(ReplyError("OOM command not allowed when used memory > 'maxmemory'."))
    assert isinstance(answers[0], ChannelFull)
    assert not link.dropped


@pytest.mark.parametrize("said", sorted(NOT_NOW))
def test_a_redis_that_cannot_serve_now_is_left(asker: Asker, link: ScriptedLink, said: str) -> None:
    answers: list[Any] = []
    asker.ask(CONNECT, answers.append)
    link.answer(ReplyError(f"{said} for some reason"))
    assert type(answers[0]) is LayerUnavailable
    assert said in link.dropped[0]


def test_a_refusal_that_is_our_defect_is_logged_once(
    asker: Asker, link: ScriptedLink, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = []
    for _ in range(3):
        asker.ask(CONNECT, answers.append)
        link.answer(ReplyError("NOPERM this user has no permissions"))
    assert [type(answer) for answer in answers] == [LayerUnavailable] * 3
    assert len(caplog.records) == 1


def test_what_is_insisted_on_waits_for_the_registration_in_its_order(
    asker: Asker, link: ScriptedLink
) -> None:
    asker.open = False
    answers: list[str] = []
    for name in "abc":
        asker.insist(call(name), lambda _, name=name: answers.append(name))  # type: ignore[misc]
    assert not link.sent
    assert asker.busy
    asker.open = True
    asker.resume()
    assert link.commands == [("a",), ("b",), ("c",)]
    link.answer(None)
    asker.open = False
    link.answer(OutcomeUnknown("lost"))
    link.answer(LayerUnavailable("lost"))
    asker.insist(call("d"), lambda _: answers.append("d"))
    assert answers == ["a"]
    assert asker.holds == 3
    asker.open = True
    asker.resume()
    assert link.commands == [("b",), ("c",), ("d",)]


def test_what_is_insisted_on_may_be_shed_by_a_full_memory(asker: Asker, link: ScriptedLink) -> None:
    answers: list[Any] = []
    asker.insist(CONNECT, answers.append)
    link.answer(ReplyError("OOM"))
    assert isinstance(answers[0], ChannelFull)
    assert not asker.holds
