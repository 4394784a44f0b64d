"""A connection to a real server: order, one write per turn, errors that say what is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hiredis import ReplyError

from headrace_asgi.errors import LayerRefused, LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.redis.address import ServerAddress, parse_address
from headrace_asgi.layers.redis.plan.faults import Fault
from headrace_asgi.layers.redis.plan.resp import pack
from headrace_asgi.layers.redis.twisted.connection import RespProtocol, connect
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.services import RedisServer
from tests.support.tls import certificate, tls_in_front


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as reactor:
        yield reactor


class ConnectionLab:
    """One connection and what became of it."""

    def __init__(
        self, reactor: HandReactor, address: ServerAddress, answer_timeout_seconds: float = 5.0
    ) -> None:
        self.reactor = reactor
        self.made: list[RespProtocol] = []
        self.lost: list[str] = []
        self.give_up = connect(address, reactor, answer_timeout_seconds, self.made.append, self.lose)

    def lose(self, why: str, fault: Fault) -> None:
        self.lost.append(why)

    def opened(self) -> RespProtocol:
        self.reactor.until(lambda: self.made or self.lost)
        assert not self.lost, self.lost
        return self.made[0]

    def ask(self, *args: Any) -> Any:
        lab, answers = self.opened(), []
        lab.send(pack(args), answers.append)
        lab.flush()
        self.reactor.until(lambda: answers)
        return answers[0]


@pytest.fixture
def lab(reactor: HandReactor, redis_server: RedisServer) -> ConnectionLab:
    return ConnectionLab(reactor, parse_address(redis_server.url))


def test_answers_come_in_the_order_of_the_commands(lab: ConnectionLab) -> None:
    protocol, answers = lab.opened(), []
    for number in range(1000):
        protocol.send(pack((b"ECHO", number)), answers.append)
    assert protocol.unanswered == 1000
    protocol.flush()
    lab.reactor.until(lambda: len(answers) == 1000)
    assert answers == [b"%d" % number for number in range(1000)]
    assert protocol.unanswered == 0


@pytest.mark.parametrize("scheme", ["url", "tcp_url"])
def test_megabytes_that_the_kernel_does_not_take_at_once_stay_in_order(
    reactor: HandReactor, redis_server: RedisServer, scheme: str
) -> None:
    lab = ConnectionLab(reactor, parse_address(getattr(redis_server, scheme)))
    protocol, answers = lab.opened(), []
    bodies = [bytes([65 + number]) * 3_000_000 for number in range(8)]
    for body in bodies:
        protocol.send(pack((b"ECHO", body)), answers.append)
        protocol.flush()  # part of it stays behind; the next must not overtake it
    reactor.until(lambda: len(answers) == len(bodies))
    assert answers == bodies
    assert lab.ask("ECHO", "small") == b"small"


def test_an_error_of_redis_is_an_answer(lab: ConnectionLab) -> None:
    answer = lab.ask("NO-SUCH-COMMAND")
    assert isinstance(answer, ReplyError)
    assert lab.ask("ECHO", "still here") == b"still here"


def test_a_lost_connection_tells_sent_commands_from_unsent_ones(
    lab: ConnectionLab, redis_server: RedisServer
) -> None:
    protocol, answers = lab.opened(), []
    protocol.send(pack((b"BLPOP", "nobody-pushes-here", 0)), answers.append)
    protocol.flush()
    protocol.send(pack((b"ECHO", "x")), answers.append)
    assert redis_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").startswith(b":")
    lab.reactor.until(lambda: lab.lost)
    sent, unsent = answers
    assert isinstance(sent, OutcomeUnknown)
    assert isinstance(unsent, LayerUnavailable)
    assert not isinstance(unsent, OutcomeUnknown)


def test_nobody_listening_is_a_failure_with_a_reason(reactor: HandReactor, tmp_path: Path) -> None:
    lab = ConnectionLab(reactor, ServerAddress(path=str(tmp_path / "none.sock")))
    reactor.until(lambda: lab.lost)
    assert "o such file" in lab.lost[0]


def test_a_server_that_falls_silent_is_given_up(
    reactor: HandReactor, private_redis_server: RedisServer
) -> None:
    lab = ConnectionLab(reactor, parse_address(private_redis_server.url), answer_timeout_seconds=0.05)
    assert lab.ask("ECHO", "x") == b"x"
    private_redis_server.pause()
    answers: list[Any] = []
    lab.opened().send(pack((b"ECHO", "y")), answers.append)
    lab.opened().flush()
    reactor.until(lambda: answers)
    assert isinstance(answers[0], OutcomeUnknown)
    assert "no answer for" in lab.lost[0]
    private_redis_server.resume()


def test_an_idle_connection_is_not_given_up(reactor: HandReactor, redis_server: RedisServer) -> None:
    lab = ConnectionLab(reactor, parse_address(redis_server.url), answer_timeout_seconds=0.02)
    assert lab.ask("ECHO", "x") == b"x"
    reactor.turn(0.1)
    assert not lab.lost
    assert not reactor.getDelayedCalls()


def test_something_that_is_no_redis_is_given_up(reactor: HandReactor, redis_server: RedisServer) -> None:
    lab = ConnectionLab(reactor, parse_address(redis_server.url))
    lab.opened().dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    reactor.until(lambda: lab.lost)
    assert "does not speak the Redis protocol" in lab.lost[0]


def test_an_answer_nobody_asked_for_breaks_the_connection(lab: ConnectionLab) -> None:
    lab.opened().dataReceived(b"+OK\r\n")
    lab.reactor.until(lambda: lab.lost)
    assert "nobody asked for" in lab.lost[0]


def test_a_closed_connection_writes_what_is_queued_first(
    lab: ConnectionLab, redis_server: RedisServer
) -> None:
    lab.opened().send(pack((b"SET", "written-last", "1")), lambda answer: None)
    lab.opened().close()
    lab.reactor.until(lambda: lab.lost)
    assert lab.lost == ["closed"]
    assert redis_server.command("GET", "written-last") == b"$1\r\n1\r\n"


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("127.0.0.1", "ssl_ca_certs={pem}"),
        ("127.0.0.1", "ssl_ca_certs={pem}&ssl_certfile={pem}"),
        ("elsewhere.example", "ssl_cert_reqs=none"),
        ("elsewhere.example", "ssl_ca_certs={pem}&ssl_check_hostname=false"),
    ],
)
def test_tls_is_spoken(
    reactor: HandReactor, redis_server: RedisServer, tmp_path: Path, name: str, query: str
) -> None:
    pem = certificate(tmp_path, name)
    with tls_in_front(redis_server.path, pem, ask_certificate="certfile" in query) as port:
        lab = ConnectionLab(reactor, parse_address(f"rediss://127.0.0.1:{port}/0?{query.format(pem=pem)}"))
        body = b"x" * 500_000
        assert lab.ask("ECHO", body) == body
        lab.opened().close()
        reactor.until(lambda: lab.lost)


def test_tls_refuses_a_certificate_of_another_name(
    reactor: HandReactor, redis_server: RedisServer, tmp_path: Path
) -> None:
    pem = certificate(tmp_path, "elsewhere.example")
    with tls_in_front(redis_server.path, pem) as port:
        lab = ConnectionLab(reactor, parse_address(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={pem}"))
        reactor.until(lambda: lab.made or lab.lost)
        if not lab.lost:  # the protocol is made before the handshake ends
            answers: list[Any] = []
            lab.made[0].send(pack((b"PING",)), answers.append)
            lab.made[0].flush()
            reactor.until(lambda: lab.lost)
            assert isinstance(answers[0], LayerUnavailable)


def test_certificates_that_cannot_be_read_are_refused(reactor: HandReactor, tmp_path: Path) -> None:
    for name in ("ssl_ca_certs", "ssl_certfile"):
        address = parse_address(f"rediss://127.0.0.1:1/0?{name}={tmp_path}/none.pem")
        with pytest.raises(LayerRefused, match=r"none\.pem|certificates"):
            connect(address, reactor, 5.0, lambda lab: None, lambda why, fault: None)


def test_a_callback_that_raises_keeps_no_other_from_being_told_of_a_lost_connection(
    lab: ConnectionLab, caplog: pytest.LogCaptureFixture
) -> None:
    protocol, answers = lab.opened(), []

    def broken(answer: Any) -> None:
        raise RuntimeError("a defect")

    for answered in (broken, answers.append, broken, answers.append):
        protocol.send(pack((b"PING",)), answered)
        if protocol.unanswered == 2:
            protocol.flush()
    protocol.abort("a test")
    lab.reactor.until(lambda: len(answers) == 2)
    assert [type(answer) for answer in answers] == [OutcomeUnknown, LayerUnavailable]
    assert caplog.text.count("RuntimeError: a defect") == 2
