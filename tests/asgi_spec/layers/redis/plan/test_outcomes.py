"""What an answer of Redis means: the same for who blocks and inside a reactor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from headrace_asgi.errors import (
    ChannelFull,
    HeadraceError,
    KeySpoilt,
    LayerRefused,
    LayerUnavailable,
    OutcomeUnknown,
)
from headrace_asgi.layers.redis.address import parse_address
from headrace_asgi.layers.redis.blocking import executor as blocking_executor
from headrace_asgi.layers.redis.blocking.connection import RedisAddress
from headrace_asgi.layers.redis.blocking.executor import RedisExecutor
from headrace_asgi.layers.redis.memory_watch import MemoryWatch
from headrace_asgi.layers.redis.plan.clock import RedisClock
from headrace_asgi.layers.redis.plan.command import RedisCommand, as_is
from headrace_asgi.layers.redis.plan.outcomes import (
    ACL,
    REACTIONS,
    Reaction,
    connection_lost,
    may_repeat,
    reaction_to,
    refusal_of,
)
from headrace_asgi.layers.redis.plan.resp import ReplyError
from headrace_asgi.layers.redis.plan.scripts import script
from headrace_asgi.layers.redis.twisted.executor import TwistedExecutor
from headrace_asgi.layers.redis.twisted.link import RedisLink
from tests.support.fake_redis import FakeRedis
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.source import ROOT

ONE = b":1\r\n"
PASSING = [code for code, one in REACTIONS.items() if one in (Reaction.HOLD, Reaction.LEAVE)]
LEFT = [code for code, one in REACTIONS.items() if one is Reaction.LEAVE]


def error(text: str) -> bytes:
    return f"-{text} for some reason\r\n".encode()


def command(repeat: bool = False, lean: bool = False) -> RedisCommand:
    known = script("settle")
    args = (b"EVALSHA", known.sha, 1, "key")
    less = RedisCommand("0", (b"LEANER",), as_is, repeat=repeat) if lean else None
    return RedisCommand("0", args, as_is, known, repeat, less)


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as reactor:
        yield reactor


@pytest.fixture(params=["blocking", "twisted"])
def ask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks a server over one of the two executors; the answer, or the error in its place."""
    monkeypatch.setattr(blocking_executor, "HOLD_SECONDS", 0.1)
    if request.param == "blocking":
        return ask_blocking
    reactor = request.getfixturevalue("reactor")
    return lambda server, command: ask_in_reactor(reactor, server, command)


def ask_blocking(server: FakeRedis, command: RedisCommand) -> Any:
    executor = RedisExecutor(RedisAddress(f"redis://{server.address}"), RedisClock(60))
    executor.sample_clock()  # so that the commands stand alone
    try:
        (answer,) = executor.run([command])
    finally:
        executor.close()
    return answer


def ask_in_reactor(reactor: HandReactor, server: FakeRedis, command: RedisCommand) -> Any:
    """What may be repeated is insisted on, as the interface server does."""
    address = parse_address(f"redis://{server.address}")
    answers: list[Any] = []

    def up() -> None:
        executor.open = True
        executor.resume()
        if not asked:
            asked.append(True)
            (executor.insist if command.repeat else executor.ask)(command, answers.append)

    def down(error: LayerUnavailable) -> None:
        executor.open = False

    asked: list[bool] = []
    link = RedisLink(address, reactor, "headrace-test", up, down)
    executor = TwistedExecutor({"0": link}, MemoryWatch(address.label, "nothing"))
    link.start()
    try:
        reactor.until(lambda: answers)
    finally:
        link.stop()
        reactor.turn(0.01)
    return answers[0]


def test_a_script_that_redis_does_not_know_is_sent_whole(ask: Any) -> None:
    with FakeRedis([error("NOSCRIPT"), ONE]) as server:
        assert ask(server, command()) == 1
        assert server.asked == [b"EVALSHA", b"EVAL"]


def test_a_script_is_sent_whole_only_once(ask: Any) -> None:
    with FakeRedis([error("NOSCRIPT")]) as server:
        assert type(ask(server, command())) is LayerUnavailable
        assert server.asked == [b"EVALSHA", b"EVAL"]


def test_out_of_memory_is_a_full_channel(ask: Any) -> None:
    with FakeRedis([error("OOM")]) as server:
        answer = ask(server, command())
        assert type(answer) is ChannelFull
        assert str(answer) == (
            f"Redis at redis://{server.address}/0 is out of memory: OOM for some reason; "
            "raise its maxmemory, or see what fills it"
        )


def test_out_of_memory_asks_for_what_needs_none(ask: Any) -> None:
    with FakeRedis([error("OOM"), ONE]) as server:
        assert ask(server, command(lean=True)) == 1
        assert server.asked == [b"EVALSHA", b"LEANER"]


def test_a_script_sent_whole_may_still_ask_for_what_needs_no_memory(ask: Any) -> None:
    with FakeRedis([error("NOSCRIPT"), error("OOM"), ONE]) as server:
        assert ask(server, command(lean=True)) == 1
        assert server.asked == [b"EVALSHA", b"EVAL", b"LEANER"]


@pytest.mark.parametrize("code", PASSING)
def test_what_redis_cannot_do_at_present_is_asked_again(ask: Any, code: str) -> None:
    with FakeRedis([error(code), ONE]) as server:
        assert ask(server, command(repeat=True)) == 1
        assert server.asked == [b"EVALSHA", b"EVALSHA"]


@pytest.mark.parametrize("code", LEFT)
def test_a_server_that_is_not_the_one_to_ask_is_asked_over_another_connection(ask: Any, code: str) -> None:
    with FakeRedis([error(code), ONE]) as server:
        assert ask(server, command(repeat=True)) == 1
        assert server.connections == 2


@pytest.mark.parametrize("code", PASSING)
def test_what_redis_cannot_do_for_long_was_not_executed(ask: Any, code: str) -> None:
    refused = LayerRefused if code in ("NOAUTH", "WRONGPASS") else LayerUnavailable
    with FakeRedis([error(code)]) as server:
        answer = ask(server, command())
        assert type(answer) is refused
        told = "refused the login" if refused is LayerRefused else "refused settle: "
        assert told in str(answer)
        assert f"Redis at redis://{server.address}/0 " in str(answer)
        assert f"{code} for some reason" in str(answer)


@pytest.mark.parametrize(
    ("code", "expected", "told"),
    [
        ("NOPERM", LayerRefused, "NOPERM for some reason; a user of an ACL needs: "),
        ("ERR ACL failure in script: no", LayerRefused, "for some reason; a user of an ACL needs: "),
        ("ERR The user executing the script can't run this", LayerRefused, "; a user of an ACL needs: "),
        ("WRONGTYPE", KeySpoilt, "refused settle: WRONGTYPE for some reason; something else wrote"),
        ("BUSYKEY", LayerUnavailable, "refused settle: BUSYKEY for some reason"),
        ("ERR", LayerUnavailable, "refused settle: ERR for some reason"),
    ],
)
def test_what_will_be_refused_again_is_not_asked_again(
    ask: Any, code: str, expected: type[HeadraceError], told: str
) -> None:
    with FakeRedis([error(code)]) as server:
        answer = ask(server, command())
        assert type(answer) is expected
        assert told in str(answer)
        assert server.asked == [b"EVALSHA"]
        assert server.connections == 1


@pytest.mark.parametrize("end", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_after_a_broken_connection_what_may_be_repeated_is(ask: Any, end: bytes | None) -> None:
    with FakeRedis([end, ONE]) as server:
        assert ask(server, command(repeat=True)) == 1
        assert server.connections == 2


@pytest.mark.parametrize("end", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_after_a_broken_connection_nobody_knows_of_the_others(ask: Any, end: bytes | None) -> None:
    with FakeRedis([end]) as server:
        answer = ask(server, command())
        assert type(answer) is OutcomeUnknown
        assert f"the connection to Redis at redis://{server.address}/0 broke" in str(answer)
        assert server.asked == [b"EVALSHA"]


def test_what_was_not_written_was_not_executed_and_may_be_sent_again() -> None:
    assert type(connection_lost("here", "gone", written=False)) is LayerUnavailable
    assert type(connection_lost("here", "gone", written=True)) is OutcomeUnknown
    assert may_repeat(command(), written=False)
    assert not may_repeat(command(), written=True)
    assert may_repeat(command(repeat=True), written=True)


def test_only_the_first_word_of_an_error_is_its_code() -> None:
    assert reaction_to(ReplyError("BUSY Redis is busy running a script.")) is Reaction.HOLD
    assert reaction_to(ReplyError("BUSYKEY Target key name already exists.")) is Reaction.FAIL
    assert reaction_to(ReplyError("ERR NOSCRIPT")) is Reaction.FAIL


def test_a_command_without_a_script_cannot_be_sent_whole() -> None:
    plain = RedisCommand("0", (b"GET", "x"), as_is)
    refusal = refusal_of(ReplyError("NOSCRIPT"), plain, "here")
    assert (refusal.reaction, refusal.command) == (Reaction.FAIL, None)
    assert "refused GET" in str(refusal.error)


def test_the_documentation_says_what_a_user_needs() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert f"ACL SETUSER headrace on >PASSWORD {ACL}\n" in page


@pytest.mark.parametrize("code", ["READONLY", "MOVED", "CLUSTERDOWN", "NOREPLICAS", "MISCONF", "NOPERM"])
def test_what_people_can_mend_is_told_with_what_to_do(code: str) -> None:
    told = str(refusal_of(ReplyError(f"{code} for some reason"), command(), "here").error)
    said, _, remedy = told.partition("; ")
    assert said == f"Redis at here refused settle: {code} for some reason"
    assert remedy
