"""Whether workers take what is sent: what is said, and when nothing is."""

from __future__ import annotations

import logging
import math

import pytest

from headrace_asgi import control
from headrace_interface.deadlines import Deadlines
from headrace_interface.settings import InterfaceSettings
from headrace_interface.untaken import Untaken
from tests.support.http_lab import GET, Lab, response
from tests.support.reactors import hand_reactor
from tests.support.websocket_lab import Lab as SocketLab

NEVER = math.inf


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of takers since the last call."""
    found = [record.getMessage() for record in caplog.records if "taken" in record.getMessage()]
    caplog.clear()
    return found


def test_each_change_is_said_once() -> None:
    this = Untaken("http.request", lambda: "redis://a")
    enough = "3 are taken and not answered; are there enough?"
    said = [this.look(now, now in (9, 10), 1 if now < 9 else NEVER, 0) for now in range(1, 12)]
    said += [this.look(now, False, 12, 3) for now in range(12, 20)]
    assert [text for text in said if text] == [
        "No worker has taken http.request at redis://a for 5 s: is one running?",
        "http.request at redis://a is taken again after 8 s.",
        f"No worker has taken http.request at redis://a for 5 s: {enough}",
    ]
    assert said.index(this.text) == 16


def test_what_waits_behind_others_that_are_answered_is_no_news() -> None:
    this = Untaken("http.request", lambda: "redis://a")
    assert not any(this.look(now, now % 5 == 0, 0, 0) for now in range(100))


def test_nobody_takes_the_requests(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    lab.connect().send(GET)
    lab.wait(4.75)
    assert said(caplog) == []
    lab.wait(0.25)
    assert said(caplog) == ["No worker has taken http.request at memory for 5 s: is one running?"]
    lab.connect().send(GET)
    lab.wait(20)
    assert said(caplog) == []
    lab.reply()
    lab.wait(1)
    assert said(caplog) == ["http.request at memory is taken again after 26 s."]


@pytest.mark.parametrize("kind", [control.RUNNING, control.FAILED])
def test_a_note_is_a_sign_of_a_worker(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    first, second = lab.connect(), lab.connect()
    first.send(GET)
    second.send(GET)
    lab.wait(4)
    lab.note(kind, status=500)
    lab.wait(4)
    assert said(caplog) == []
    lab.wait(2)
    [line] = said(caplog)
    assert line.endswith("are there enough?" if kind == control.RUNNING else "is one running?")


def test_while_nothing_waits_nothing_runs() -> None:
    lab = Lab()
    client = lab.connect()
    client.send(GET)
    lab.reply(response(headers=[[b"Connection", b"close"]]))
    client.leave()
    lab.wait(3)
    assert not any("_look" in str(call) for call in lab.clock.getDelayedCalls())


def test_a_layer_that_is_away_is_no_missing_worker(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    lab.connect().send(GET)
    lab.inbox.layer_lost("gone")
    lab.wait(20)
    assert said(caplog) == []


def test_the_page_says_it_only_where_one_debugs() -> None:
    for debug, text in (
        (True, b"No worker has taken http.request at memory"),
        (False, b"The server is busy"),
    ):
        lab = Lab(InterfaceSettings(debug=debug, deadlines=Deadlines(queue=8)))
        client = lab.connect()
        client.send(GET)
        lab.wait(9)
        assert client.answers[0].status == 503
        assert client.answers[0].body.startswith(text)


def test_nobody_takes_the_handshakes(caplog: pytest.LogCaptureFixture) -> None:
    with hand_reactor() as reactor:
        lab = SocketLab(reactor)
        client = lab.client()
        reactor.turn(5.3)
        assert said(caplog) == ["No worker has taken websocket.connect at memory for 5 s: is one running?"]
        client.shell.control("verdict", {"ordered": False})
        client.shell.reply({"accept": True})
        reactor.turn(1.2)
        [line] = said(caplog)
        assert line.startswith("websocket.connect at memory is taken again after")
        lab.close()


def test_warnings_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    lab.connect().send(GET)
    lab.wait(6)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_workers_that_are_too_slow_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab(InterfaceSettings(deadlines=Deadlines(queue=4)))
    for _ in range(3):
        lab.connect().send(GET)
    lab.wait(4.5)
    lab.connect().send(GET)
    lab.reply()
    lab.wait(20)
    began, ended = [record.getMessage() for record in caplog.records]
    assert began.startswith(
        "http.request is not taken before the queue deadline, so clients are answered 503"
    )
    assert ended == "http.request was taken too late: 3 clients were answered 503 within 1 s."
