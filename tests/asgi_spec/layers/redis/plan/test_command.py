from __future__ import annotations

import pytest

from headrace_asgi.contract import Outcome
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is, names, no_answer, outcome, text
from headrace_asgi.layers.redis.plan.scripts import script


def test_a_script_unknown_to_redis_is_sent_whole_with_the_same_keys_and_arguments() -> None:
    finish = script("finish")
    command = RedisCommand("0", (b"EVALSHA", finish.sha, 1, "key", "argument"), outcome, finish)
    assert command.whole().args == (b"EVAL", finish.source, 1, "key", "argument")


def test_a_command_without_script_is_whole_as_it_is() -> None:
    command = RedisCommand("0", (b"PING",), as_is)
    assert command.whole().args == (b"PING",)


@pytest.mark.parametrize("one", Outcome)
def test_the_numbers_that_scripts_answer_are_outcomes(one: Outcome) -> None:
    assert outcome(int(one)) is one


def test_names_are_text_in_both_dialects_of_the_protocol() -> None:
    assert names([b"a", "b"]) == ["a", "b"]
    assert text(b"a") == "a"
    assert no_answer(b"OK") is None
