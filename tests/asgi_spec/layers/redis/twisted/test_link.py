"""A connection that comes back by itself, to a real server."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from headrace_asgi.errors import LayerRefused, LayerUnavailable
from headrace_asgi.layers.redis.address import ServerAddress, parse_address
from headrace_asgi.layers.redis.plan.resp import pack
from headrace_asgi.layers.redis.plan.scripts import SCRIPTS
from headrace_asgi.layers.redis.plan.sentinel import PrimarySearch
from headrace_asgi.layers.redis.twisted.link import FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS, RedisLink
from tests.support.fake_redis import naming
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.services import RedisServer, valkey_binary


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as reactor:
        yield reactor
        for linked in Linked.started:
            linked.link.stop()
        Linked.started.clear()


class Linked:
    """A link and how often it came and went; the end of the test stops it."""

    started: ClassVar[list[Linked]] = []

    def __init__(self, reactor: HandReactor, address: ServerAddress, **options: Any) -> None:
        self.reactor = reactor
        self.ups = 0
        self.downs: list[LayerUnavailable] = []
        self.link = RedisLink(address, reactor, "headrace-test", self.up, self.downs.append, **options)
        self.link.start()
        self.started.append(self)

    def up(self) -> None:
        self.ups += 1

    def until_up(self, times: int = 1) -> RedisLink:
        self.reactor.until(lambda: self.ups >= times)
        return self.link

    def ask(self, *args: Any) -> Any:
        answers: list[Any] = []
        self.link.send(args, answers.append)
        self.reactor.until(lambda: answers)
        return answers[0]


def test_a_link_is_let_in_with_password_database_and_name(reactor: HandReactor) -> None:
    with RedisServer(valkey_binary(), ["--requirepass", "s@crt"]) as server:
        linked = Linked(reactor, parse_address(f"unix://:s%40crt@{server.path}?db=3"))
        linked.until_up()
        assert b"db=3" in linked.ask("CLIENT", "INFO")
        assert linked.ask("CLIENT", "GETNAME") == b"headrace-test"
        assert linked.ask("SCRIPT", "EXISTS", *(script.sha for script in SCRIPTS)) == [1] * len(SCRIPTS)


def test_a_user_of_the_access_list_is_let_in(reactor: HandReactor, private_redis_server: RedisServer) -> None:
    private_redis_server.command("ACL", "SETUSER", "me", "on", ">pw", "~*", "+@all")
    linked = Linked(reactor, parse_address(f"redis://me:pw@127.0.0.1:{private_redis_server.port}"))
    linked.until_up()
    assert linked.ask("ACL", "WHOAMI") == b"me"


def test_a_user_who_may_only_do_the_necessary_is_let_in(
    reactor: HandReactor, private_redis_server: RedisServer
) -> None:
    """Without CLIENT, CONFIG and INFO we know less, but work."""
    private_redis_server.command(
        "ACL", "SETUSER", "me", "on", ">pw", "~*", "+@all", "-client", "-config", "-info"
    )
    linked = Linked(reactor, parse_address(f"redis://me:pw@127.0.0.1:{private_redis_server.port}"))
    linked.until_up()
    linked.link.drop(LayerUnavailable("the test says so"))
    linked.until_up(2)
    assert linked.link.advice == ""


def test_a_wrong_password_is_said_and_tried_again(reactor: HandReactor) -> None:
    with RedisServer(valkey_binary(), ["--requirepass", "right"]) as server:
        linked = Linked(reactor, parse_address(f"unix://:wrong@{server.path}"))
        reactor.until(lambda: len(linked.downs) >= 2)
        assert isinstance(linked.downs[0], LayerRefused)
        assert "refused the login (WRONGPASS" in str(linked.downs[0])
        assert "wrong@" not in str(linked.downs[0])
        assert not linked.link.is_open


def writes_of(link: RedisLink) -> list[bytes]:
    """What the open connection hands to the kernel from now on, a write each."""
    writes: list[bytes] = []
    connection: Any = link._connection
    real = connection.transport.writeSomeData
    connection.transport.writeSomeData = lambda data: writes.append(data) or real(data)
    return writes


def test_commands_of_one_turn_leave_in_one_write(reactor: HandReactor, redis_server: RedisServer) -> None:
    gathered: list[int] = []
    linked = Linked(reactor, parse_address(redis_server.url), gather=lambda: gathered.append(1))
    link = linked.until_up()
    writes = writes_of(link)
    answers: list[Any] = []
    for number in range(50):
        link.send((b"ECHO", number), answers.append)
    assert not writes
    reactor.until(lambda: len(answers) == 50)
    assert len(writes) == 1
    assert len(gathered) == 1


def test_a_command_that_is_sent_now_leaves_at_once_behind_those_before_it(
    reactor: HandReactor, redis_server: RedisServer
) -> None:
    linked = Linked(reactor, parse_address(redis_server.url))
    link = linked.until_up()
    writes = writes_of(link)
    answers: list[Any] = []
    link.send_now(pack((b"ECHO", 1)), answers.append)
    assert len(writes) == 1
    assert link.flush not in [call.func for call in reactor.getDelayedCalls()], "nothing is left to write"
    link.send((b"ECHO", 2), answers.append)
    link.send_now(pack((b"ECHO", 3)), answers.append)
    assert len(writes) == 2
    reactor.until(lambda: len(answers) == 3)
    assert answers == [b"1", b"2", b"3"]


def test_a_link_comes_back_and_ends_its_previous_connection(
    reactor: HandReactor, redis_server: RedisServer
) -> None:
    linked = Linked(reactor, parse_address(redis_server.url))
    link = linked.until_up()
    identity = linked.ask("CLIENT", "ID")
    connection: Any = link._connection
    # The old connection looks dead to us but not to Redis: it would still pop.
    answers: list[Any] = []
    link.send((b"BLPOP", "a-list-of-this-test", 0), answers.append)
    link.flush()
    reactor.turn(0.02)
    kept = connection.transport.socket.dup()
    link.drop(LayerUnavailable("the test says so"))
    linked.until_up(2)
    assert isinstance(answers[0], LayerUnavailable)
    assert f"id={identity} ".encode() not in linked.ask("CLIENT", "LIST")
    kept.close()


def test_a_restarted_server_is_not_asked_to_end_somebody_elses_connection(
    reactor: HandReactor, private_redis_server: RedisServer
) -> None:
    linked = Linked(reactor, parse_address(private_redis_server.url))
    linked.until_up()
    private_redis_server.kill()
    reactor.until(lambda: linked.downs)
    private_redis_server.start()
    linked.until_up(2)
    assert b"cmdstat_client|kill" not in linked.ask("INFO", "commandstats")
    assert linked.ask("SCRIPT", "EXISTS", SCRIPTS[0].sha) == [1]


def test_waits_grow_to_a_cap_and_are_jittered(reactor: HandReactor) -> None:
    waits: list[float] = []

    class Clock:
        def callLater(self, delay: float, command: Any, *args: Any) -> Any:  # noqa: N802
            waits.append(delay)
            return reactor.callLater(0, command, *args)

        def connectTCP(self, *args: Any, **options: Any) -> Any:  # noqa: N802
            raise NotImplementedError

        def connectUNIX(self, address: str, factory: Any, timeout: float = 0) -> Any:  # noqa: N802
            return reactor.connectUNIX(address, factory, timeout=timeout)

    downs: list[LayerUnavailable] = []
    link = RedisLink(
        ServerAddress(path="/nowhere/v.sock"),
        Clock(),
        "x",
        lambda: None,
        downs.append,
        random_part=lambda: 1.0,
    )
    link.start()
    reactor.until(lambda: len(waits) >= 9)
    link.stop()
    assert waits[:3] == [FIRST_WAIT_SECONDS, 2 * FIRST_WAIT_SECONDS, 4 * FIRST_WAIT_SECONDS]
    assert waits[8] == LAST_WAIT_SECONDS


def test_waits_grow_while_a_server_lets_us_in_but_does_not_serve(
    reactor: HandReactor, redis_server: RedisServer
) -> None:
    linked = Linked(reactor, parse_address(redis_server.url))
    counts = []
    for times in (1, 2, 3):
        linked.until_up(times)
        linked.link.drop(LayerUnavailable("the test says so"))
        reactor.until(lambda times=times: len(linked.downs) == times)
        counts.append(linked.link._backoff.failures)
    assert counts == [1, 2, 3]


def test_a_primary_that_lets_nobody_in_is_left_when_its_sentinels_name_another(
    reactor: HandReactor, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrimarySearch, "look_seconds", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with naming(port, port, redis_server.port) as sentinel:
            address = parse_address(f"redis+sentinel://{sentinel.address}/main")
            linked = Linked(reactor, address, answer_timeout_seconds=60.0)
            link = linked.until_up()
    assert [str(error) for error in linked.downs] == [
        f"Redis failed over from redis://127.0.0.1:{port}/0 (primary of 'main') to {link.server.label}"
    ]
    assert link.server.port == redis_server.port
    assert link.address is address


def test_a_link_that_is_stopped_asks_no_sentinel_any_more(
    reactor: HandReactor, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrimarySearch, "look_seconds", 0.01)
    with naming(redis_server.port) as sentinel:
        address = parse_address(f"redis+sentinel://{sentinel.address}/main")
        early = Linked(reactor, address)
        early.link.stop()
        late = Linked(reactor, address)
        late.until_up().stop()
        count = sentinel.connections
        reactor.turn(0.1)
        assert sentinel.connections == count
    assert early.ups == 0
    assert early.downs == late.downs == []


def test_without_a_connection_a_command_is_not_sent(reactor: HandReactor) -> None:
    linked = Linked(reactor, ServerAddress(path="/nowhere/v.sock"))
    assert type(linked.ask("PING")) is LayerUnavailable


def test_a_redis_that_is_too_old_is_named(reactor: HandReactor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        linked = Linked(reactor, ServerAddress("127.0.0.1", listener.getsockname()[1]))
        reactor.until(lambda: select.select([listener], [], [], 0)[0])
        peer, _ = listener.accept()
        with peer:
            info = b"redis_version:6.2.9\r\nrun_id:abc\r\n"
            peer.sendall(b"$%d\r\n%b\r\n" % (len(info), info))
            reactor.until(lambda: linked.downs)
    assert isinstance(linked.downs[0], LayerRefused)
    assert "is version 6.2.9" in str(linked.downs[0])
    linked.link.stop()


@pytest.mark.parametrize("when", ["connecting", "open", "waiting"])
def test_a_stopped_link_stays_down(reactor: HandReactor, redis_server: RedisServer, when: str) -> None:
    address = ServerAddress(path="/nowhere/v.sock") if when == "waiting" else parse_address(redis_server.url)
    linked = Linked(reactor, address)
    if when == "open":
        linked.until_up()
    elif when == "waiting":
        reactor.until(lambda: linked.downs)
    before = len(linked.downs)
    linked.link.stop()
    reactor.turn(0.1)
    assert linked.ups == (when == "open")
    assert len(linked.downs) == before
    assert not linked.link.is_open
    assert linked.link._connection is None
    assert not [command for command in reactor.getDelayedCalls() if command.active()]


def test_a_link_that_is_stopped_while_it_is_let_in_ends(
    reactor: HandReactor, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    greet = RedisLink._greet

    def greet_and_stop(link: RedisLink, connection: Any) -> None:
        greet(link, connection)
        link.stop()

    monkeypatch.setattr(RedisLink, "_greet", greet_and_stop)
    linked = Linked(reactor, parse_address(redis_server.url))
    reactor.until(lambda: linked.link._give_up is None)
    assert linked.ups == 0
    assert linked.link._connection is None


def test_a_link_that_leaves_hears_the_answers_that_are_due_before_it_comes_back(
    reactor: HandReactor, redis_server: RedisServer
) -> None:
    linked = Linked(reactor, ServerAddress("127.0.0.1", redis_server.port))
    link = linked.until_up()
    told: list[Any] = []
    for number in range(3):
        link.send(("ECHO", number), told.append)
    link.flush()
    link.leave(LayerUnavailable("the slot moved"))
    assert not link.is_open
    link.send(("ECHO", "late"), told.append)
    assert isinstance(told.pop(), LayerUnavailable)
    linked.until_up(2)
    assert told == [b"0", b"1", b"2"]
    assert set(map(str, linked.downs)) == {"the slot moved"}


def test_a_link_that_owes_nothing_leaves_at_once(reactor: HandReactor, redis_server: RedisServer) -> None:
    linked = Linked(reactor, ServerAddress("127.0.0.1", redis_server.port))
    link = linked.until_up()
    link.leave(LayerUnavailable("the slot moved"))
    link.leave(LayerUnavailable("again"))
    linked.until_up(2)
    assert list(map(str, linked.downs)) == ["the slot moved"]
    assert linked.ask("ECHO", "back") == b"back"


def test_a_link_that_leaves_a_redis_that_says_nothing_does_not_wait_for_it(
    reactor: HandReactor, private_redis_server: RedisServer
) -> None:
    address = ServerAddress("127.0.0.1", private_redis_server.port)
    linked = Linked(reactor, address, answer_timeout_seconds=0.2)
    link = linked.until_up()
    private_redis_server.pause()
    told: list[Any] = []
    link.send(("ECHO", "never"), told.append)
    link.flush()
    link.leave(LayerUnavailable("the slot moved"))
    reactor.until(lambda: told)
    assert isinstance(told[0], LayerUnavailable)
    private_redis_server.resume()
    linked.until_up(2)
