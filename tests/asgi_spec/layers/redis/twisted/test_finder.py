"""Finding a primary inside a reactor: real sentinels, and made-up ones for what they seldom say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from headrace_asgi.errors import LayerRefused, LayerUnavailable
from headrace_asgi.layers.redis.address import ServerAddress, parse_address
from headrace_asgi.layers.redis.plan.sentinel import PrimarySearch
from headrace_asgi.layers.redis.twisted import finder as twisted_finder
from headrace_asgi.layers.redis.twisted.finder import ServerFinder, ServerWatch
from tests.support.fake_redis import FakeRedis, naming
from tests.support.ports import free_port
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.services import SentinelSet


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as reactor:
        yield reactor


class Search:
    """One search and what came of it."""

    def __init__(self, reactor: HandReactor, finder: ServerFinder) -> None:
        self.reactor = reactor
        self.told: list[ServerAddress | LayerUnavailable] = []
        self.give_up = finder.find(self.told.append, self.told.append)

    def outcome(self) -> Any:
        assert not self.told  # never at once
        self.reactor.until(lambda: self.told)
        self.reactor.turn(0.02)
        (told,) = self.told
        return told


def finder_for(reactor: HandReactor, url: str) -> ServerFinder:
    return ServerFinder(parse_address(url), reactor)


def test_the_primary_is_found(reactor: HandReactor, sentinel_set: SentinelSet) -> None:
    found = Search(reactor, finder_for(reactor, sentinel_set.url)).outcome()
    assert (found.host, found.port) == ("127.0.0.1", sentinel_set.primary.port)
    assert found.primary_of == "main"


def test_a_service_without_a_name_is_found(reactor: HandReactor, sentinel_set: SentinelSet) -> None:
    found = Search(reactor, finder_for(reactor, sentinel_set.url.replace("/main/0", ""))).outcome()
    assert (found.port, found.primary_of) == (sentinel_set.primary.port, "main")


def test_sentinels_that_are_away_are_passed_over_and_the_one_that_answered_is_asked_first(
    reactor: HandReactor,
) -> None:
    with naming(7001) as one, naming(7002) as other:
        url = f"redis+sentinel://127.0.0.1:{free_port()},{one.address},{other.address}/m"
        finder = finder_for(reactor, url)
        assert Search(reactor, finder).outcome().port == 7001
        assert Search(reactor, finder).outcome().port == 7001
        assert (one.connections, other.connections) == (2, 0)
        finder.doubt()
        assert Search(reactor, finder).outcome().port == 7002


def test_a_sentinel_that_says_nothing_or_rubbish_is_passed_over(
    reactor: HandReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twisted_finder, "FINDER_ANSWER_SECONDS", 0.1)
    with FakeRedis([b""]) as silent, FakeRedis([b"HTTP/1.1\r\n"]) as http, naming(7002) as other:
        url = f"redis+sentinel://{silent.address},{http.address},{other.address}/m"
        assert Search(reactor, finder_for(reactor, url)).outcome().port == 7002


def test_a_search_that_nobody_helps_fails_with_what_can_be_mended(reactor: HandReactor) -> None:
    with FakeRedis([b"-NOAUTH Authentication required.\r\n"]) as strict:
        url = f"redis+sentinel://127.0.0.1:{free_port()},{strict.address}/m"
        error = Search(reactor, finder_for(reactor, url)).outcome()
        assert "refused the login" in str(error)
        assert not isinstance(error, LayerRefused)
        url = f"redis+sentinel://{strict.address}/m"
        assert isinstance(Search(reactor, finder_for(reactor, url)).outcome(), LayerRefused)


def test_certificates_that_cannot_be_read_fail_the_search_later(reactor: HandReactor) -> None:
    url = "rediss+sentinel://127.0.0.1:1,127.0.0.1:2/m?ssl_ca_certs=/no/such.pem"
    error = Search(reactor, finder_for(reactor, url)).outcome()
    assert isinstance(error, LayerRefused)
    assert "the certificates for TLS cannot be used" in str(error)


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.05])
def test_a_search_that_is_given_up_tells_nobody_and_leaves_no_connection(
    reactor: HandReactor, seconds: float
) -> None:
    with FakeRedis([b""]) as silent:
        search = Search(reactor, finder_for(reactor, f"redis+sentinel://{silent.address}/m"))
        reactor.turn(seconds)
        search.give_up()
        reactor.turn(0.05)
        assert search.told == []
        assert [one for one in reactor.getReaders() if hasattr(one, "getPeer")] == []


def test_a_watch_tells_each_answer_until_it_is_stopped(
    reactor: HandReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrimarySearch, "look_seconds", 0.01)
    monkeypatch.setattr(PrimarySearch, "failed_look_seconds", 0.01)
    with naming(7001, 7002) as sentinel:
        named: list[int] = []
        finder = finder_for(reactor, f"redis+sentinel://{sentinel.address}/m")
        watch = ServerWatch(finder, reactor, lambda server: named.append(server.port))
        watch.start()
        reactor.until(lambda: 7002 in named)
        watch.stop()
        watch.stop()
        count = len(named)
        reactor.turn(0.1)
        assert len(named) == count
    watch.start()
    reactor.turn(0.1)  # nobody answers any more
    assert len(named) == count
    watch.stop()


def test_a_watch_can_be_stopped_by_what_it_tells(
    reactor: HandReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrimarySearch, "look_seconds", 0.01)
    with naming(7001) as sentinel:
        named: list[ServerAddress] = []
        finder = finder_for(reactor, f"redis+sentinel://{sentinel.address}/m")
        watch: ServerWatch = ServerWatch(finder, reactor, lambda one: (named.append(one), watch.stop()))
        watch.start()
        reactor.until(lambda: named)
        reactor.turn(0.1)
        assert len(named) == 1
