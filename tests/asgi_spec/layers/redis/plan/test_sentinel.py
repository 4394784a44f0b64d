"""What sentinels are asked, and what their answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_asgi.errors import LayerRefused, LayerUnavailable
from headrace_asgi.layers.redis.address import Sentinels, ServerAddress
from headrace_asgi.layers.redis.plan.resp import ReplyError
from headrace_asgi.layers.redis.plan.sentinel import (
    SENTINEL_ACL,
    PrimarySearch,
    SentinelQuestion,
)

SENTINEL = ServerAddress("s", 26379, kind="Sentinel")
WHERE = (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME")
NAMES = (b"SENTINEL", b"MASTERS")


def watched(*names: bytes) -> list[list[bytes]]:
    return [[b"name", name, b"ip", b"10.0.0.1", b"port", b"6379"] for name in names]


def test_a_sentinel_is_asked_for_a_service_by_its_name() -> None:
    question = SentinelQuestion(SENTINEL, "main")
    assert question.commands == [(*WHERE, "main")]
    assert not question.is_over
    assert question.heard([b"10.0.0.7", b"6380"]) is None
    assert question.is_over
    assert (question.host, question.port, question.service) == ("10.0.0.7", 6380, "main")


def test_the_sentinels_own_login_comes_first() -> None:
    sentinel = ServerAddress("s", username="me", password="pw", kind="Sentinel")
    question = SentinelQuestion(sentinel, "main")
    assert question.commands == [(b"AUTH", "me", "pw"), (*WHERE, "main")]
    assert question.heard(b"OK") is None
    assert not question.is_over
    assert SentinelQuestion(ServerAddress("s", password="pw"), "m").commands[0] == (b"AUTH", "pw")


def test_without_a_name_the_only_service_is_found() -> None:
    question = SentinelQuestion(SENTINEL, "")
    assert question.commands == [NAMES]
    assert question.heard(watched(b"only")) == (*WHERE, "only")
    assert not question.is_over
    assert question.heard([b"redis.example", b"6379"]) is None
    assert (question.host, question.service) == ("redis.example", "only")


def refused(question: SentinelQuestion, *answers: Any) -> LayerUnavailable:
    *first, last = answers
    for answer in first:
        question.heard(answer)
    with pytest.raises(LayerUnavailable) as raised:
        question.heard(last)
    assert not question.is_over
    return raised.value


@pytest.mark.parametrize(
    ("service", "answers", "told"),
    [
        (
            "mine",
            [None, watched(b"b", b"a")],
            "Sentinel at redis://s:26379 watches 'a', 'b', and not 'mine'; cor",
        ),
        (
            "mine",
            [None, []],
            "watches no Redis, and not 'mine'; correct master_name, services, or the name in",
        ),
        (
            "",
            [watched(b"b", b"a")],
            "watches 'a', 'b'; say which is meant: master_name, services, or the name",
        ),
        ("", [[]], "watches no Redis; it needs a line `sentinel monitor` for one"),
        (
            "m",
            [ReplyError("NOAUTH Authentication required.")],
            "refused the login (NOAUTH Authentication requi",
        ),
        ("m", [ReplyError("WRONGPASS invalid")], "check username and password in sentinel_kwargs"),
        (
            "m",
            [ReplyError("ERR AUTH <password> called without any password configured")],
            "it has no password",
        ),
        (
            "m",
            [ReplyError("NOPERM this user has no permissions")],
            f"a user of its ACL needs: {SENTINEL_ACL}",
        ),
        (
            "m",
            [ReplyError("ERR unknown command 'SENTINEL'")],
            "what answers at redis://s:26379 is no Sentinel",
        ),
    ],
)
def test_what_only_settings_can_mend_is_refused_with_the_setting(
    service: str, answers: list[Any], told: str
) -> None:
    error = refused(SentinelQuestion(SENTINEL, service), *answers)
    assert isinstance(error, LayerRefused)
    assert told in str(error)


@pytest.mark.parametrize(
    ("service", "answers", "told"),
    [
        ("m", [ReplyError("LOADING data")], "does not say where Redis is: LOADING data"),
        ("", [watched(b"m"), None], "does not know any more where 'm' is"),
        ("m", [b"10.0.0.1"], "gave an answer that means nothing"),
        ("m", [[b"10.0.0.1", b"port"]], "gave an answer that means nothing"),
        ("m", [[1, 2]], "gave an answer that means nothing"),
        ("", [7], "gave an answer that means nothing"),
        ("", [[[b"ip", b"10.0.0.1"]]], "gave an answer that means nothing"),
        ("", [[[b"name"]]], "gave an answer that means nothing"),
    ],
)
def test_what_makes_no_sense_is_for_another_sentinel_to_say(
    service: str, answers: list[Any], told: str
) -> None:
    error = refused(SentinelQuestion(SENTINEL, service), *answers)
    assert not isinstance(error, LayerRefused)
    assert told in str(error)


ADDRESS = ServerAddress(
    "",
    0,
    password="pw",
    db=3,
    sentinels=Sentinels(tuple(ServerAddress(f"s{number}", kind="Sentinel") for number in range(3)), "main"),
)


def search(first: int = 0) -> PrimarySearch:
    assert ADDRESS.sentinels is not None
    return PrimarySearch(ADDRESS, ADDRESS.sentinels, first)


def test_each_sentinel_is_asked_once_beginning_with_the_one_that_answered_last() -> None:
    for first, order in ((0, [0, 1, 2]), (2, [2, 0, 1]), (4, [1, 2, 0])):
        asked = search(first)
        assert [asked.next() for _ in range(4)] == [*order, None]


def test_what_is_found_is_a_server_with_the_login_of_the_place_and_says_who_named_it() -> None:
    question = SentinelQuestion(SENTINEL, "main")
    question.heard([b"10.0.0.7", b"6380"])
    found = search().found(question)
    assert found == ServerAddress("10.0.0.7", 6380, password="pw", db=3, primary_of="main")
    assert found.label == "redis://10.0.0.7:6380/3 (primary of 'main')"
    assert ADDRESS.label == "redis+sentinel://s0:6379,s1:6379,s2:6379/main/3"


def test_a_search_that_failed_tells_what_a_setting_could_mend_before_all_else() -> None:
    asked = search()
    asked.failed(LayerUnavailable("s0 is away"))
    assert str(asked.error) == "no Sentinel says where Redis is: s0 is away"
    asked.failed(LayerRefused("s1 wants a password"))
    asked.failed(LayerUnavailable("s2 is away"))
    assert not isinstance(asked.error, LayerRefused)
    assert str(asked.error) == (
        "no Sentinel says where Redis is: s1 wants a password (and 2 others say no more)"
    )


def test_a_search_that_each_sentinel_refused_is_refused() -> None:
    asked = search()
    asked.failed(LayerRefused("s0 wants a password"))
    assert isinstance(asked.error, LayerRefused)
    asked.failed(LayerRefused("s1 wants a password"))
    assert isinstance(asked.error, LayerRefused)
    assert str(asked.error).endswith("s0 wants a password (and 1 other says no more)")
