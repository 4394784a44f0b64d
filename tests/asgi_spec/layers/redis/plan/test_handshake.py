"""Being let in by Redis: the same for who blocks and inside a reactor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from headrace_asgi.errors import LayerRefused, LayerUnavailable
from headrace_asgi.layers.redis.address import Bucket, ServerAddress, parse_address
from headrace_asgi.layers.redis.blocking.connection import RedisAddress, RedisConnection
from headrace_asgi.layers.redis.plan.clock import RedisClock
from headrace_asgi.layers.redis.plan.handshake import Handshake, Identity, SlotMoves
from headrace_asgi.layers.redis.plan.resp import ReplyError
from headrace_asgi.layers.redis.plan.scripts import SCRIPTS
from headrace_asgi.layers.redis.twisted.link import RedisLink
from tests.support.fake_redis import FakeRedis
from tests.support.reactors import HandReactor, hand_reactor

OLD = b"redis_version:6.2.9\r\nrun_id:abc\r\n"
SENTINEL = b"redis_version:7.2.4\r\nredis_mode:sentinel\r\nrun_id:abc\r\n"


@dataclass
class Case:
    """A server that does not let us in, and what that is."""

    greeting: dict[bytes, bytes]
    refused: bool
    told: str
    login: str = ""
    query: str = ""
    last: list[bytes] = field(default_factory=list)


CASES = {
    "wrong password": Case(
        {b"AUTH": b"-WRONGPASS invalid username-password pair\r\n"},
        True,
        "refused the login (WRONGPASS invalid username-password pair); "
        "check user and password in hosts or --layer, as in redis://user:password@host:port/db",
        login=":guess@",
    ),
    "a password for a server without": Case(
        {b"AUTH": b"-ERR AUTH called without any password configured\r\n"},
        True,
        "refused the login (ERR AUTH called without any password configured); it has none: leave the "
        "password out of hosts or --layer",
        login=":guess@",
    ),
    "no password": Case(
        {b"INFO": b"-NOAUTH Authentication required.\r\n"}, True, "refused the login (NOAUTH"
    ),
    "no such database": Case(
        {b"SELECT": b"-ERR DB index is out of range\r\n"},
        True,
        "the db in hosts or --layer (the number at the end of the URL) must be that of a database",
        query="?db=99",
    ),
    "too old": Case(
        {b"INFO": b"$%d\r\n%b\r\n" % (len(OLD), OLD), b"SCRIPT": b"-ERR no engine\r\n"},
        True,
        "is version 6.2.9; Headrace needs Redis 7.0 or Valkey 7.2: upgrade it, or name another in hosts",
    ),
    "a Sentinel": Case(
        {b"INFO": b"$%d\r\n%b\r\n" % (len(SENTINEL), SENTINEL), b"SCRIPT": b"-ERR unknown command\r\n"},
        True,
        "is a Sentinel; in hosts or --layer write it as one, with what it calls the primary: redis+sentinel:",
    ),
    "no scripts allowed": Case(
        {b"SCRIPT": b"-NOPERM this user has no permissions\r\n"},
        True,
        "refused a command that Headrace needs (NOPERM this user has no permissions); a user of an ACL needs",
    ),
    "no time allowed": Case({b"TIME": b"-NOPERM no\r\n"}, True, "refused a command that Headrace needs"),
    "protected mode": Case(
        {b"INFO": b"-DENIED Redis is running in protected mode\r\n"},
        True,
        "refused the connection: DENIED Redis is running in protected mode",
        last=[b"INFO"],
    ),
    "too many": Case(
        {b"INFO": b"-ERR max number of clients reached\r\n"},
        False,
        "is not ready: ERR max number of clients reached",
        last=[b"INFO"],
    ),
    "loading": Case({b"SCRIPT": b"-LOADING data\r\n"}, False, "is not ready: LOADING data"),
    "without its primary": Case({b"SCRIPT": b"-MASTERDOWN no\r\n"}, False, "is not ready: MASTERDOWN no"),
    "in a script": Case({b"TIME": b"-BUSY script\r\n"}, False, "is not ready: BUSY script"),
    "gone in the middle": Case({}, False, "", last=[b"TIME"]),
    "no Redis": Case({b"INFO": b"HTTP/1.1 400 Bad Request\r\n"}, False, "does not speak the Redis protocol"),
}


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as reactor:
        yield reactor


def url(server: FakeRedis, case: Case) -> str:
    return f"redis://{case.login}{server.address}{case.query}"


@pytest.mark.parametrize("name", CASES)
def test_a_blocking_connection_raises_for_a_server_that_does_not_let_it_in(name: str) -> None:
    case = CASES[name]
    with FakeRedis(greeting=case.greeting, last=case.last) as server:
        connection = RedisConnection(RedisAddress(url(server, case)), RedisClock(60))
        with pytest.raises(LayerUnavailable) as raised:
            connection.open()
    assert not connection.is_open
    assert_told(case, raised.value)


@pytest.mark.parametrize("name", CASES)
def test_a_link_is_told_the_same_and_goes_on_trying(name: str, reactor: HandReactor) -> None:
    case = CASES[name]
    with FakeRedis(greeting=case.greeting, last=case.last) as server:
        downs: list[LayerUnavailable] = []
        ups: list[bool] = []
        address = parse_address(url(server, case))
        link = RedisLink(address, reactor, "headrace-test", lambda: ups.append(True), downs.append)
        link.start()
        reactor.until(lambda: len(downs) >= 2)
        link.stop()
        reactor.turn(0.01)
    assert not ups
    for error in downs:
        assert_told(case, error)


def assert_told(case: Case, error: LayerUnavailable) -> None:
    assert isinstance(error, LayerRefused) is case.refused
    assert case.told in str(error)
    assert "guess" not in str(error)


def run(handshake: Handshake, answers: dict[bytes, Any]) -> list[tuple[Any, ...]]:
    """Answer what it says by the first words; what it said beyond the first write."""
    further = []
    for command in handshake.commands:
        assert not handshake.is_over
        more = handshake.heard(answer_to(command, answers))
        if more is not None:
            further.append(more)
    for command in further:
        assert not handshake.is_over
        assert handshake.heard(answer_to(command, answers)) is None
    assert handshake.is_over
    return further


def answer_to(command: tuple[Any, ...], answers: dict[bytes, Any]) -> Any:
    return answers.get(
        command[0], answers.get(b" ".join(one for one in command[:2] if isinstance(one, bytes)))
    )


INFO = {b"INFO": b"redis_version:7.2.4\r\nrun_id:abc\r\n", b"CLIENT ID": 7, b"TIME": [b"12", b"0"]}


def test_everything_is_said_in_one_write_the_login_first() -> None:
    address = ServerAddress(username="me", password="pw", db=3)
    handshake = Handshake(address, "name", None)
    said = handshake.commands
    assert said[:3] == [(b"AUTH", "me", "pw"), (b"SELECT", 3), (b"INFO",)]
    assert [one[2] for one in said if one[0] == b"SCRIPT"] == [one.source for one in SCRIPTS]
    assert said[-1] == (b"CLIENT", b"SETNAME", "name")
    assert run(handshake, INFO) == []
    assert (handshake.client_id, handshake.time, handshake.identity) == (7, [b"12", b"0"], Identity("abc", 7))


@pytest.mark.parametrize(
    ("address", "login"),
    [
        (ServerAddress(password="pw"), [(b"AUTH", "pw")]),
        (ServerAddress(username="me"), [(b"AUTH", "me", "")]),
        (ServerAddress(password=""), []),
        (ServerAddress(), []),
    ],
)
def test_who_has_no_credentials_does_not_log_in(address: ServerAddress, login: list[Any]) -> None:
    assert [one for one in Handshake(address, "name", None).commands if one[0] == b"AUTH"] == login


def test_the_connection_before_is_ended_where_its_number_is_still_its_own() -> None:
    again = Handshake(ServerAddress(), "name", Identity("abc", 5))
    assert run(again, INFO) == [(b"CLIENT", b"KILL", b"ID", 5)]
    restarted = Handshake(ServerAddress(), "name", Identity("a run before", 5))
    assert run(restarted, INFO) == []


def test_a_server_that_tells_nothing_of_itself_lets_us_in_all_the_same() -> None:
    silent = Handshake(ServerAddress(), "name", Identity("abc", 5))
    assert run(silent, {b"TIME": [b"12", b"0"]}) == []
    assert (silent.client_id, silent.identity, silent.advice) == (0, None, "")


def test_a_replica_is_told_of_and_lets_us_in_as_it_may_be_promoted() -> None:
    handshake = Handshake(ServerAddress("r"), "name", None)
    assert not handshake.is_replica
    run(handshake, {**INFO, b"INFO": b"redis_version:7.2.4\r\nrole:slave\r\nmaxmemory_policy:allkeys-lru"})
    assert handshake.is_replica
    assert handshake.advice == (
        "Redis at redis://r:6379/0 is a read-only replica; name the primary in hosts or --layer"
    )


def test_a_replica_that_sentinels_named_as_primary_does_not_let_us_in() -> None:
    handshake = Handshake(ServerAddress("r", primary_of="main"), "name", None)
    with pytest.raises(LayerUnavailable) as raised:
        run(handshake, {**INFO, b"INFO": b"redis_version:7.2.4\r\nrole:slave\r\n"})
    assert not isinstance(raised.value, LayerRefused)
    assert str(raised.value) == (
        "Redis at redis://r:6379/0 (primary of 'main') is a replica, as while it fails over; "
        "its Sentinels are asked again"
    )
    run(Handshake(ServerAddress("r", primary_of="main"), "name", None), INFO)


def test_a_handshake_knows_whether_anything_was_said() -> None:
    handshake = Handshake(ServerAddress(), "name", Identity("abc", 5))
    assert not handshake.has_heard
    handshake.heard(ReplyError("NOPERM"))
    assert handshake.has_heard
    over = Handshake(ServerAddress(), "name", Identity("abc", 5))
    run(over, INFO)
    assert over.has_heard


@pytest.mark.parametrize(("policy", "advised"), [(b"noeviction", False), (b"allkeys-lru", True)])
def test_a_server_that_may_throw_messages_away_is_told_of(policy: bytes, advised: bool) -> None:
    handshake = Handshake(ServerAddress("r"), "name", None)
    run(handshake, {**INFO, b"INFO": b"redis_version:7.2.4\r\nmaxmemory_policy:" + policy})
    assert ("redis://r:6379/0 has maxmemory-policy allkeys-lru" in handshake.advice) is advised


BUCKET = Bucket("0063", "hr1:{0063}:")


def greeted(address: ServerAddress, refused: bytes, answer: Any) -> None:
    """A handshake in which one command has an answer that is not the usual one."""
    handshake = Handshake(address, "test", None)
    for command in list(handshake.commands):
        handshake.heard(answer if command[0] == refused else b"")


def test_a_node_is_asked_for_a_key_that_never_is_there() -> None:
    asked = Handshake(ServerAddress("a", bucket=BUCKET), "test", None).commands
    assert (b"EXISTS", "hr1:{0063}:open") in asked
    assert len(asked) == len(Handshake(ServerAddress("a"), "test", None).commands) + 1


@pytest.mark.parametrize("said", ["MOVED 79 b:1", "ASK 79 b:1", "TRYAGAIN", "CLUSTERDOWN Hash slot"])
def test_a_node_that_does_not_serve_the_slot_lets_nobody_in_for_now(said: str) -> None:
    with pytest.raises(SlotMoves, match=f"a:6379/0 .bucket 0063. is not ready: {said}"):
        greeted(ServerAddress("a", bucket=BUCKET), b"EXISTS", ReplyError(said))


def test_a_node_of_a_cluster_that_is_named_as_one_redis_is_refused() -> None:
    info = b"redis_version:7.2.4\r\nredis_mode:cluster\r\nrun_id:abc\r\nrole:master\r\n"
    with pytest.raises(LayerRefused, match=r"is a node of a Cluster; in hosts or --layer write that, with"):
        greeted(ServerAddress("a"), b"INFO", info)
    greeted(ServerAddress("a", bucket=BUCKET), b"INFO", info)


def test_a_replica_of_a_cluster_is_not_let_in() -> None:
    info = b"redis_version:7.2.4\r\nredis_mode:cluster\r\nrun_id:abc\r\nrole:slave\r\n"
    with pytest.raises(LayerUnavailable, match=r"is a replica, as while it fails over; its Cluster is as"):
        greeted(ServerAddress("a", bucket=BUCKET), b"INFO", info)
