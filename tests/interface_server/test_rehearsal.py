"""What `--check` says and asks, over a layer in memory."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet.task import Clock

from headrace_asgi.errors import ConfigurationError, LayerUnavailable
from headrace_asgi.layers.memory import InMemoryChannelLayer
from headrace_interface.admin import admin_endpoint
from headrace_interface.deadlines import OFF, Deadlines, rows
from headrace_interface.listeners import make_endpoints
from headrace_interface.rehearsal import deadlines_line, rehearse
from headrace_interface.settings import InterfaceSettings


class Elsewhere(InMemoryChannelLayer):
    """A layer that says it is for several processes, and that may be away."""

    local_only = False
    away = False

    def takers(self) -> dict[str, float]:
        if self.away:
            raise LayerUnavailable("there is no connection")
        return {"http.request": 1.0, "chat.old": 3600.0}


def said(layer: InMemoryChannelLayer, settings: InterfaceSettings | None = None) -> list[str]:
    lines: list[str] = []
    endpoints = partial(make_endpoints, port=80, unix_socket="/run/s")
    admin = partial(admin_endpoint, ":9000")
    rehearse(Clock(), layer, settings or InterfaceSettings(), endpoints, admin, lines.append)
    return lines


def test_it_says_where_it_would_listen_and_who_takes_now() -> None:
    first, second, third, _, last = said(Elsewhere(), InterfaceSettings(max_body_bytes=5))
    assert first == "It would listen on --unix-socket /run/s, 127.0.0.1 port 80; --admin :9000."
    assert second.startswith("The channel layer is ")
    assert third == "Limits other than the defaults: --max-body-size 5 (not 104857600)."
    assert last == "The channel layer answers; workers take http.request"


def test_it_says_what_tls_is_spoken_with() -> None:
    lines: list[str] = []
    endpoints = partial(make_endpoints, port=443)
    rehearse(
        Clock(), Elsewhere(), InterfaceSettings(), endpoints, None, lines.append, ["a.pem for a", "b.pem"]
    )
    assert lines[1:3] == ["Certificate: a.pem for a", "Certificate: b.pem"]


def test_a_layer_that_is_away_is_an_error_with_the_reason() -> None:
    layer = Elsewhere()
    layer.away = True
    with pytest.raises(ConfigurationError, match="the channel layer does not answer: there is no connection"):
        said(layer)


def test_a_layer_of_one_process_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="one process"):
        said(InMemoryChannelLayer())


def test_every_deadline_is_said_and_what_the_default_would_be() -> None:
    line = deadlines_line(Deadlines(header=1.5, drain=OFF))
    assert ", --header-timeout 1.5 s (not 10 s), " in line
    assert line.endswith("--drain-timeout off (not 25 s)")
    assert all(row.option in line for _, _, row in rows())
