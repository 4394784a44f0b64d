"""What a server of another protocol is given: the places of the layer, what is said once, an end in order."""

# ruff: noqa: N802, N803 (names of Twisted)

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.task import Clock

from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.memory import InMemoryChannelLayer
from headrace_asgi.layers.threaded_port import ThreadedPort
from headrace_interface.bridge import UNTAKEN_SECONDS, Bridge, _BridgeProcess, serve
from tests.support.recording_port import RecordingPort


class Pigeons(Bridge):
    """A protocol without sockets: it notes what it is told."""

    def __init__(self, reactor: Any, ports: Any) -> None:
        super().__init__(reactor, ports)
        self.heard: list[tuple[str, Any]] = []
        self.busy = False
        self.fails = False

    async def listen(self) -> list[str]:
        return ["the roof"]

    def stop_listening(self) -> None:
        self.heard.append(("stop", None))

    def reply(self, local: str, message: Message) -> None:
        if self.fails:
            raise RuntimeError("a bug")
        self.heard.append((local, message))

    def is_busy(self) -> bool:
        return self.busy

    def close(self) -> None:
        self.heard.append(("close", None))


class BridgeLab:
    """A started bridge over as many places as are asked for."""

    def __init__(self, places: int = 1) -> None:
        self.clock = Clock()
        self.ports = [RecordingPort(self.clock) for _ in range(places)]
        self.bridge = Pigeons(self.clock, self.ports)
        started = defer.ensureDeferred(self.bridge.start())
        assert started.result == ["the roof"]
        self.turn()

    def turn(self, seconds: float = 0) -> None:
        self.clock.advance(seconds)
        for _ in range(4):
            self.clock.advance(0)


def test_clients_take_the_places_in_turn_and_leave_out_those_that_are_away() -> None:
    lab = BridgeLab(3)
    first, second, third = lab.bridge.places
    assert [lab.bridge.next_place() for _ in range(4)] == [second, third, first, second]
    lab.ports[2].real.lose()
    assert [lab.bridge.next_place() for _ in range(3)] == [first, second, first]
    for port in lab.ports:
        port.real.lose()
    assert lab.bridge.next_place() in lab.bridge.places


def test_a_reply_channel_leads_to_its_place() -> None:
    lab = BridgeLab(2)
    for place, port in zip(lab.bridge.places, lab.ports, strict=True):
        assert place.reply_channel("a1") == f"{port.process}.a1"


def test_a_client_that_ends_leaves_its_groups_by_the_name_it_is_known_by() -> None:
    lab = BridgeLab()
    lab.bridge.places[0].leave_groups("a1")
    assert lab.ports[0].left == [".a1"]


def test_every_member_of_a_group_hears_its_message() -> None:
    lab = BridgeLab()
    lab.bridge.places[0].group_message("news", [".a", ".b"], {"text": "x"})
    assert lab.bridge.heard == [("a", {"text": "x"}), ("b", {"text": "x"})]
    assert lab.bridge.counters["replies"] == 2


def test_a_bug_of_the_protocol_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    lab = BridgeLab()
    lab.bridge.fails = True
    lab.bridge.places[0].reply("a", {})
    lab.bridge.fails = False
    lab.bridge.places[0].reply("b", {})
    assert (lab.bridge.heard, lab.bridge.counters["errors"]) == ([("b", {})], 1)
    assert "a bug" in caplog.text


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.FULL, "full"),
        (Outcome.UNSENDABLE, "unsendable"),
        (Outcome.UNKNOWN, "away"),
        (Outcome.FORGOTTEN, "away"),
    ],
)
def test_what_is_not_accepted_is_told_counted_and_said_once(
    outcome: Outcome, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    lab = BridgeLab()
    lab.ports[0].auto = outcome
    told: list[Outcome] = []
    for _ in range(5):
        lab.bridge.places[0].send("pigeon.receive", {"text": "x"}, done=told.append)
    lab.turn()
    assert told == [outcome] * 5
    assert lab.bridge.counters == {kind: 5}
    assert len(caplog.records) == 1
    lab.turn(30)
    assert caplog.records[-1].message.startswith("5 messages for pigeon.receive were refused")


def test_while_the_layer_is_away_the_outcome_is_told_at_once() -> None:
    lab = BridgeLab()
    lab.ports[0].real.lose()
    told: list[Outcome] = []
    lab.bridge.places[0].send("pigeon.receive", {}, done=told.append)
    assert told == [Outcome.UNAVAILABLE]


def test_a_channel_that_no_worker_takes_is_named_once_while_it_is_sent_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = BridgeLab()
    for _ in range(int(UNTAKEN_SECONDS) + 10):
        lab.bridge.places[0].send("pigeon.receive", {})
        lab.turn(1)
    assert [each.message for each in caplog.records] == [
        "No worker is known to take pigeon.receive: is one running?"
    ]
    lab.ports[0].taken_channels = frozenset(("pigeon.receive",))
    caplog.clear()
    for _ in range(int(UNTAKEN_SECONDS) + 10):
        lab.bridge.places[0].send("pigeon.receive", {})
        lab.turn(1)
    (ended,) = caplog.records
    assert ended.message.startswith("10 messages were put on pigeon.receive")


def test_a_port_that_never_hears_of_workers_says_nothing_of_them(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    bridge = Pigeons(clock, [ThreadedPort(InMemoryChannelLayer(), clock)])
    for _ in range(40):
        bridge.places[0]._sent("pigeon.receive", lambda outcome: None, Outcome.SENT)
        clock.advance(1)
    assert caplog.records == []


def test_an_end_waits_for_clients_and_answers_and_then_closes_and_withdraws() -> None:
    lab = BridgeLab(2)
    lab.bridge.busy = True
    ended: list[bool] = []
    lab.bridge.stop(lambda: ended.append(True))
    lab.turn(0.3)
    assert lab.bridge.heard == [("stop", None)]
    assert not any(port.stopped for port in lab.ports)
    lab.bridge.busy = False
    for _ in range(10):
        lab.turn(0.1)
    assert lab.bridge.heard == [("stop", None), ("close", None)]
    assert all(port.stopped for port in lab.ports)
    assert ended == [True]


def test_what_the_layer_lost_is_said(caplog: pytest.LogCaptureFixture) -> None:
    place = BridgeLab().bridge.places[0]
    place.data_lost()
    place.entries_lost(3)
    place.fenced()
    assert [each.levelname for each in caplog.records] == ["ERROR"] * 3


@pytest.mark.parametrize("url", ["redis:/x", "nothing:here", "ftp://x"])
def test_a_layer_that_cannot_be_is_one_line_and_status_1(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_interface.log.configure", lambda verbosity: None)
    monkeypatch.setattr("twisted.internet.reactor.seconds", None, raising=False)
    assert serve("pigeons", url, Pigeons) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pigeons: ")


class ScriptedReactor(Clock):
    """Runs from one step of a test to the next, until it is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.running = False
        self._first: list[Callable[[], Any]] = []
        self.steps: Iterator[Callable[[], Any]] = iter(())

    def callWhenRunning(self, act: Callable[[], Any]) -> None:
        self._first.append(act)

    def callFromThread(self, act: Callable[[], Any]) -> None:
        self.callLater(0, act)

    def run(self, installSignalHandlers: bool) -> None:
        self.running = True
        for act in self._first:
            act()
        for _ in range(200):
            if not self.running:
                return
            next(self.steps, lambda: None)()
            self.advance(0.1)
        raise AssertionError("nobody stopped it")

    def stop(self) -> None:
        self.running = False


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> dict[int, Callable[[], Any]]:
    """What the process does about signals."""
    found: dict[int, Callable[[], Any]] = {}
    monkeypatch.setattr("signal.signal", lambda number, handler: found.update({number: handler}))
    return found


def run_process(bridge_class: type[Pigeons], *steps: Callable[[], Any]) -> int:
    """The exit status of a process with these steps in its life."""
    reactor = ScriptedReactor()
    reactor.steps = iter(steps)
    return _BridgeProcess(reactor, bridge_class(reactor, [RecordingPort(reactor)])).run()


def test_a_signal_ends_the_process_in_order_and_a_second_one_at_once(
    handlers: dict[int, Callable[[], Any]], caplog: pytest.LogCaptureFixture
) -> None:
    class Busy(Pigeons):
        drain_seconds = 10.0

        def is_busy(self) -> bool:
            return True

    def signalled(number: int) -> Callable[[], Any]:
        def step() -> None:
            handlers[number]()

        return step

    caplog.set_level("INFO")
    assert run_process(Pigeons, signalled(signal.SIGUSR1), signalled(signal.SIGTERM)) == 0
    assert run_process(Busy, signalled(signal.SIGINT)) == 0
    assert run_process(Busy, signalled(signal.SIGTERM), signalled(signal.SIGTERM)) == 1
    said = [each.message for each in caplog.records]
    assert said[0].startswith("Listening on the roof; the channel layer is ")
    assert said[1].startswith('SIGUSR1, the state is {"counters": {}, "places": [{"layer": ')
    assert said[-1] == "A second signal: ending at once."


def test_a_server_that_cannot_start_ends_its_process(
    handlers: dict[int, Callable[[], Any]], caplog: pytest.LogCaptureFixture
) -> None:
    class Taken(Pigeons):
        async def listen(self) -> list[str]:
            raise ConfigurationError("the roof is taken")

    class Broken(Pigeons):
        async def listen(self) -> list[str]:
            raise RuntimeError("a bug")

    with pytest.raises(ConfigurationError, match="taken"):
        run_process(Taken)
    assert run_process(Broken) == 1
    assert "The server could not start." in caplog.text
