"""What the command line of the UDP server says."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from headrace_asgi.errors import ConfigurationError
from headrace_interface.udp.__main__ import main
from headrace_interface.udp.options import UdpAddress, UdpSettings, make_udp_parser, options_from
from headrace_interface.udp.server import UdpServer

LEAST = ["--layer", "redis://x", "--listen", "127.0.0.1:5140"]


def test_the_least_that_must_be_said_is_a_layer_and_an_address() -> None:
    given = options_from(LEAST, {})
    assert (given.layer, given.verbosity) == ("redis://x", 1)
    assert given.settings == UdpSettings(listen=(UdpAddress("127.0.0.1", 5140),))
    with pytest.raises(ConfigurationError, match="say where to listen"):
        options_from(LEAST[:2], {})
    with pytest.raises(ConfigurationError, match="give the channel layer"):
        options_from(LEAST[2:], {})


def test_the_layer_may_stand_in_the_environment_and_the_command_line_counts_before_it() -> None:
    around = {"HEADRACE_INTERFACE_LAYER": "redis://y"}
    assert options_from(LEAST[2:], around).layer == "redis://y"
    assert options_from(LEAST, around).layer == "redis://x"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5140/log/", UdpAddress("127.0.0.1", 5140, "/log/")),
        ("[::1]:0", UdpAddress("::1", 0)),
        (":53", UdpAddress("127.0.0.1", 53)),
        ("0.0.0.0:53/", UdpAddress("0.0.0.0", 53)),
    ],
)
def test_an_address_has_a_host_a_port_and_a_path(text: str, address: UdpAddress) -> None:
    assert options_from([*LEAST[:2], "--listen", text], {}).settings.listen == (address,)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--listen", "127.0.0.1"),
        ("--listen", "::1:53"),
        ("--listen", "localhost:53"),
        ("--listen", "127.0.0.1:65536"),
        ("--max-datagram-size", "65508"),
        ("--max-datagram-size", "0"),
        ("--address-rate", "-1"),
        ("--rate", "0"),
        ("--queue-timeout", "0"),
        ("--linger", "inf"),
    ],
)
def test_what_cannot_be_is_named_with_its_option(option: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=option):
        options_from([*LEAST, f"{option}={value}"], {})


def test_numbers_are_those_of_the_settings_and_underscores_do() -> None:
    more = ["--max_datagram_size", "1400", "--address-rate", "0", "--rate", "7", "--linger", "0.5"]
    settings = options_from([*LEAST, *more], {}).settings
    assert (settings.max_datagram_bytes, settings.address_rate, settings.rate) == (1400, 0, 7)
    assert (settings.linger_seconds, settings.queue_seconds) == (0.5, UdpSettings().queue_seconds)


def test_every_option_has_a_help_text_that_can_be_shown() -> None:
    assert "--max-datagram-size" in make_udp_parser().format_help()


def test_the_command_says_in_one_line_what_cannot_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADRACE_INTERFACE_LAYER", raising=False)
    assert main(LEAST[2:]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m headrace_interface.udp: give the channel layer")


def test_the_command_serves_what_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr("headrace_interface.udp.__main__.serve", lambda *given: served.append(given) or 7)
    assert main([*LEAST, "-v", "2"]) == 7
    ((name, layer, make, verbosity),) = served
    assert (name, layer, verbosity) == ("python -m headrace_interface.udp", "redis://x", 2)
    assert isinstance(make(Clock(), []), UdpServer)
