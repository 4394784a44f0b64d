"""Sentinels, in both tiers: what is set up wrongly is told in the same words, and a failover is survived."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace_asgi import RedisChannelLayer
from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.contract import Delivery, Outcome
from headrace_asgi.errors import ConfigurationError, LayerUnavailable
from headrace_asgi.layers.redis.plan.sentinel import SENTINEL_ACL
from tests.support.fake_redis import naming
from tests.support.ports import free_port
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.services import RedisServer, Sentinel, SentinelSet, valkey_binary
from tests.support.tls import certificate, tls_in_front

#: Seconds in which both tiers serve again, once there is a new primary.
BACK_SECONDS = 5.0


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as reactor:
        yield reactor


# What is set up wrongly


@pytest.fixture(scope="module")
def strict(redis_server: RedisServer) -> Iterator[Sentinel]:
    """A sentinel with users. The default one has a password."""
    with Sentinel(valkey_binary(), "main", redis_server.port) as sentinel:
        for name, *rules in (("least", *SENTINEL_ACL.split()), ("nothing", "+ping")):
            assert sentinel.command("ACL", "SETUSER", name, "on", ">pw", *rules) == b"+OK\r\n"
        assert sentinel.command("ACL", "SETUSER", "default", "on", "resetpass", ">right") == b"+OK\r\n"
        yield sentinel


def told_to_both(host: Any, reactor: HandReactor) -> str:
    """What a worker and an interface server are told: the same."""
    layer = RedisChannelLayer([host])
    with pytest.raises((LayerUnavailable, ConfigurationError)) as raised:
        layer.send("test", {})
    port, receiver = layer.open_interface_port(reactor), Recorder()
    port.start(receiver)
    reactor.until(lambda: receiver.of("lost"))
    ((reason,),) = receiver.of("lost")
    port.stop(lambda: None, 0)
    reactor.turn(0.05)
    layer.close()
    assert reason == str(raised.value)
    return str(reason)


def is_served(host: Any, reactor: HandReactor) -> None:
    """Both tiers come to Redis."""
    layer = RedisChannelLayer([host], prefix="served")
    layer.ensure_usable()
    layer.send("test", {})
    port, receiver = layer.open_interface_port(reactor), Recorder()
    port.start(receiver)
    reactor.until(lambda: receiver.of("back"))
    assert receiver.of("lost") == []
    port.stop(lambda: None, 0)
    reactor.turn(0.05)
    layer.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {},
            "refused the login (NOAUTH Authentication required.); check username and password in sentinel_kw",
        ),
        (
            {"password": "guess"},
            "refused the login (WRONGPASS invalid username-password pair or user is disabled",
        ),
        ({"username": "nothing", "password": "pw"}, f"; a user of its ACL needs: {SENTINEL_ACL}"),
    ],
)
def test_what_a_sentinel_refuses_names_the_option(
    strict: Sentinel, reactor: HandReactor, options: dict[str, Any], told: str
) -> None:
    host = {"sentinels": [("127.0.0.1", strict.port)], "master_name": "main", "sentinel_kwargs": options}
    said = told_to_both(host, reactor)
    assert said.startswith(
        f"no Sentinel says where Redis is: Sentinel at redis://127.0.0.1:{strict.port} refu"
    )
    assert told in said
    assert "guess" not in said
    with pytest.raises(ConfigurationError):
        RedisChannelLayer([host]).ensure_usable()


@pytest.mark.parametrize("login", ["least:pw", "default:right", ":right"])
@pytest.mark.parametrize("service", ["main", ""])
def test_a_user_of_a_sentinel_needs_no_more_than_is_documented(
    strict: Sentinel, reactor: HandReactor, login: str, service: str
) -> None:
    username, _, password = login.partition(":")
    options = f"sentinel_password={password}" + (f"&sentinel_username={username}" if username else "")
    is_served(f"redis+sentinel://127.0.0.1:{strict.port}/{service}?{options}", reactor)


def test_a_wrong_name_is_told_with_those_that_there_are(
    sentinel_set: SentinelSet, reactor: HandReactor
) -> None:
    said = told_to_both(sentinel_set.url.replace("/main/", "/mymaster/"), reactor)
    assert "watches 'main', and not 'mymaster'; correct master_name, services, or the name in the URL" in said


def test_a_redis_is_no_sentinel_and_a_sentinel_no_redis(
    sentinel_set: SentinelSet, reactor: HandReactor
) -> None:
    port = sentinel_set.primary.port
    said = told_to_both(f"redis+sentinel://127.0.0.1:{port}/main", reactor)
    assert f"what answers at redis://127.0.0.1:{port} is no Sentinel" in said
    assert "or name this Redis itself as redis://host:port/0" in said
    said = told_to_both(f"redis://127.0.0.1:{sentinel_set.hosts[0][1]}/0", reactor)
    assert "is a Sentinel; in hosts or --layer write it as one" in said


def test_sentinels_that_are_away_are_told_with_where_they_should_be(reactor: HandReactor) -> None:
    ports = free_port(), free_port()
    said = told_to_both("redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in ports), reactor)
    assert said.startswith(
        "no Sentinel says where Redis is: there is no connection to Sentinel at redis://127"
    )
    assert said.endswith("correct where it is in hosts or --layer (and 1 other says no more)")


def test_the_sentinels_may_speak_tls_and_their_certificate_is_checked(
    sentinel_set: SentinelSet, reactor: HandReactor, tmp_path: Path
) -> None:
    pem = certificate(tmp_path)
    with tls_in_front(sentinel_set.sentinels[0].path, pem) as port:
        host = {"sentinels": [("127.0.0.1", port)], "master_name": "main"}
        trusting = {"ssl": True, "ssl_ca_certs": str(pem)}
        is_served({**host, "sentinel_kwargs": trusting}, reactor)
        said = told_to_both({**host, "sentinel_kwargs": {"ssl": True}}, reactor)
        assert (
            f"no connection to Sentinel at rediss://127.0.0.1:{port}: its certificate cannot be trus" in said
        )


def test_redis_may_speak_tls_while_its_sentinels_do_not(
    redis_server: RedisServer, reactor: HandReactor, tmp_path: Path
) -> None:
    pem = certificate(tmp_path)
    with tls_in_front(redis_server.path, pem) as port, naming(port) as sentinel:
        host = {"address": f"redis+sentinel://{sentinel.address}/main", "ssl": True}
        is_served({**host, "ssl_ca_certs": str(pem)}, reactor)
        said = told_to_both(host, reactor)
        assert (
            f"at rediss://127.0.0.1:{port}/0 (primary of 'main'): its certificate cannot be trusted" in said
        )


# Failing over


class Site:
    """An interface port with a socket in a group, and a worker port, over one set of servers."""

    def __init__(self, servers: SentinelSet, reactor: HandReactor) -> None:
        self.servers = servers
        self.reactor = reactor
        self.layer = RedisChannelLayer([servers.url])
        self.receiver = Recorder()
        self.port = self.layer.open_interface_port(reactor)
        self.port.start(self.receiver)
        self.worker = self.layer.open_worker_port(lambda item, outcome: None)
        reactor.until(lambda: self.receiver.of("back"))
        self.receiver.sockets["a"] = "/chat"
        self.channel = f"{self.port.process}a"
        outcomes: list[Outcome] = []
        connect = {"reply_channel": self.channel, "path": "/chat"}
        self.port.connect("a", "/chat", connect, 60, outcomes.append)
        reactor.until(lambda: outcomes == [Outcome.SENT])
        assert [one.channel for one in self.take("websocket.connect")] == ["websocket.connect"]
        self.layer.group_add("room", self.channel)
        self.count = 0
        self.until_served()

    def take(self, channel: str) -> list[Delivery]:
        """One turn of the worker, which may find Redis away."""
        try:
            return self.worker.turn([], [channel], 1, 0.05)
        except LayerUnavailable:
            return []

    def is_served(self) -> bool:
        """Whether a frame comes to the worker, a reply to the socket and a group message to its member."""
        self.count += 1
        outcomes: list[Outcome] = []
        self.port.frame("a", {"text": str(self.count)}, self.count, False, outcomes.append)
        self.reactor.until(lambda: outcomes)
        self.meanwhile(self._say)
        deliveries = self.take("websocket.receive")
        self.reactor.turn(0.05)
        heard = {message["text"] for message in self.receiver.heard_by("a")}
        return bool(deliveries) and {f"reply {self.count}", f"group {self.count}"} <= heard

    def _say(self) -> None:
        with contextlib.suppress(LayerUnavailable):
            self.layer.send(self.channel, {"text": f"reply {self.count}"})
            self.layer.send_group("room", {"text": f"group {self.count}"})

    def until_served(self) -> float:
        """Seconds until everything works."""
        begun = time.monotonic()
        while not self.is_served():
            assert time.monotonic() - begun < BACK_SECONDS
            self.reactor.turn(0.02)
        return time.monotonic() - begun

    def meanwhile(self, act: Callable[[], object]) -> None:
        """Do something that blocks while the reactor turns."""
        thread = threading.Thread(target=act)
        thread.start()
        self.reactor.until(lambda: not thread.is_alive(), 20)

    def close(self) -> None:
        self.port.stop(lambda: None, 0)
        self.reactor.turn(0.05)
        self.worker.close()
        self.layer.close()


@pytest.fixture
def site(private_sentinel_set: SentinelSet, reactor: HandReactor) -> Iterator[Site]:
    site = Site(private_sentinel_set, reactor)
    yield site
    site.close()


def clients(server: RedisServer) -> int:
    """Connections of ours that a server has."""
    return server.command("CLIENT", "LIST").count(b"name=headrace")


def test_both_tiers_go_on_over_the_replica_when_the_primary_is_killed_r6(site: Site) -> None:
    site.meanwhile(site.servers.kill_primary)
    assert site.until_served() < BACK_SECONDS
    assert site.receiver.of("fenced") == []
    assert len(site.receiver.of("back")) == 2


def test_both_tiers_leave_a_primary_that_is_well_when_sentinels_name_another(site: Site) -> None:
    for sentinel in site.servers.sentinels:
        sentinel.tune(publish_period=5_000)  # it stays a primary, and keeps nothing of what is said to it
    former = site.servers.primary
    site.meanwhile(site.servers.fail_over)
    assert b"role:master" in former.command("INFO", "replication")
    begun = time.monotonic()
    while clients(former):
        assert time.monotonic() - begun < BACK_SECONDS
        site.is_served()
    assert site.until_served() < BACK_SECONDS
    assert b"role:master" in former.command("INFO", "replication")


def test_both_tiers_leave_a_primary_that_hangs(site: Site) -> None:
    former, new = site.servers.primary, site.servers.replica
    former.pause()
    try:
        site.meanwhile(lambda: site.servers.until_primary(new))
        site.reactor.turn(2.0)  # a look and a connect; the worker looks with its next turn
        assert site.until_served() < BACK_SECONDS
    finally:
        former.resume()


def test_when_the_sentinel_that_answers_first_dies_the_others_are_asked(site: Site) -> None:
    site.servers.sentinels[0].kill()
    former = site.servers.primary
    site.meanwhile(site.servers.fail_over)
    former.kill()
    assert site.until_served() < BACK_SECONDS
