"""How a process is, from nothing to drained."""

from __future__ import annotations

import json

from headrace_asgi import __version__
from headrace_interface.context import ServerContext
from headrace_interface.inbox import Inbox
from headrace_interface.process_state import ProcessState
from headrace_interface.settings import InterfaceSettings
from tests.support.http_lab import Lab
from tests.support.recording_port import RecordingPort


def test_it_is_ready_while_it_listens_and_a_layer_is_there_and_does_not_drain() -> None:
    context = Lab(layer_up=False).context
    inbox, state = Inbox(context), ProcessState(context)
    assert (state.unready, state.has_started) == ("it does not listen yet", False)
    state.addresses = ["http://127.0.0.1:8000/"]
    assert (state.unready, state.has_started) == ("it is not registered at the layer yet", False)
    inbox.layer_lost("nothing there")
    assert not state.has_started
    inbox.layer_back()
    assert (state.unready, state.has_started) == ("", True)
    inbox.layer_lost("gone")
    assert (state.unready, state.has_started) == ("the channel layer is away", True)
    inbox.layer_back()
    context.draining = True
    assert (state.unready, state.has_started) == ("it is draining", True)
    inbox.stop()


def test_with_several_places_one_that_is_there_is_enough() -> None:
    lab = Lab(layer_up=False)
    first = lab.context
    second = first.at(RecordingPort(lab.clock))
    state = ProcessState(first)
    state.addresses = ["unix:/s"]
    Inbox(second).layer_back()
    assert state.unready == ""
    ups = {place["process"]: place["up"] for place in state.as_dict()["places"]}
    assert ups == {first.port.process: False, second.port.process: True}


def test_it_counts_what_is_open_and_tells_no_secret() -> None:
    lab = Lab()
    state = ProcessState(lab.context, wall_clock=lambda: 784111777.5)
    lab.context.counters["answered_503"] += 2
    lab.clock.advance(61.5)
    told = json.loads(state.as_line())
    assert "\n" not in state.as_line()
    assert told["version"] == __version__
    assert (told["since"], told["up_seconds"]) == ("1994-11-06T08:49:37+00:00", 61)
    assert (told["websockets"], told["requests"], told["counters"]) == (0, 0, {"answered_503": 2})
    assert told["unready"] == "it does not listen yet"
    assert not told["ready"]
    [place] = told["places"]
    assert (place["process"], place["layer"]) == (lab.context.port.process, lab.context.port.label)


def test_a_request_that_waits_is_one_and_a_context_of_its_own_has_none() -> None:
    lab = Lab()
    context = ServerContext(InterfaceSettings(), RecordingPort(lab.clock), lab.clock)
    context.connections.add(object())  # type: ignore[arg-type]
    assert ProcessState(context).as_dict()["requests"] == 1
    assert ProcessState(lab.context).as_dict()["requests"] == 0
