"""The command line and what it means."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_interface.deadlines import OFF, Deadlines, rows
from headrace_interface.files.mounts import Mount
from headrace_interface.options import changed_limits, make_parser, normalised, settings_from
from headrace_interface.settings import InterfaceSettings


def settings(*arguments: str) -> InterfaceSettings:
    return settings_from(make_parser().parse_args(normalised(arguments)))


def test_without_options_everything_is_the_default() -> None:
    this = settings()
    assert this.deadlines == Deadlines()
    assert this == InterfaceSettings(trusted_proxies=this.trusted_proxies, http2=True)


@pytest.mark.parametrize(
    "option",
    [
        *("-p", "-b", "-u", "-e", "-v", "-t", "--port", "--bind", "--unix-socket", "--fd", "--endpoint"),
        *("--verbosity", "--http-timeout", "--access-log", "--ping-interval", "--ping-timeout"),
        *("--ws-protocol", "--websocket_timeout", "--websocket_connect_timeout", "--root-path"),
        *("--proxy-headers", "--trusted-proxies", "--layer", "--force-sync", "-s", "--server-name"),
        *("--no-server-name", "--log-fmt", "--websocket-max-message-size", "--websocket-max-frame-size"),
        *("--application-close-timeout", "--request-buffer-size"),
    ],
)
def test_the_options_of_daphne_are_there_in_both_spellings(option: str) -> None:
    values = {"-v": "2", "--verbosity": "2", "--proxy-headers": None, "--trusted-proxies": "10.0.0.0/8"}
    values |= {"--force-sync": None, "--no-server-name": None, "--log-fmt": "%(message)s"}
    value = values.get(option, "5")
    for spelling in {
        option,
        option[:2] + option[2:].replace("-", "_"),
        option[:2] + option[2:].replace("_", "-"),
    }:
        make_parser().parse_args(normalised([spelling] if value is None else [spelling, value]))


def test_every_option_has_a_help_text() -> None:
    actions = make_parser()._actions
    assert len(actions) > 40
    assert all(action.help for action in actions)
    for name, seconds, row in rows():
        assert f"({seconds:g})" in next(
            action.help or "" for action in actions if row.option in action.option_strings
        ), name


def test_uploads_are_streamed_on_request() -> None:
    assert not settings().stream_uploads
    assert settings("--stream-uploads").stream_uploads
    assert settings("--max-bodies-memory", "5").max_bodies_memory_bytes == 5


def test_only_names_of_options_are_normalised() -> None:
    given = ["--http_timeout=5_0", "-u", "/a_b", "my_asgi:layer_x", "--", "--a_b"]
    assert normalised(given) == ["--http-timeout=5_0", "-u", "/a_b", "my_asgi:layer_x", "--", "--a_b"]


def test_deadlines_are_seconds_and_can_be_switched_off_s6() -> None:
    assert settings("-t", "1.5").deadlines.response == 1.5
    for off in ("-1", "0"):
        this = settings("--websocket_timeout", off, "--websocket_connect_timeout", off).deadlines
        assert (this.socket_age, this.handshake) == (OFF, OFF)
    assert settings("--websocket-connect-timeout", "60").deadlines.handshake == 60


def test_limits_and_names() -> None:
    this = settings(
        *("--max-body-size", "5", "--websocket-max-message-size", "6", "--max-websockets", "7"),
        *("--ws-protocol", "a", "b", "--no-websocket-compression"),
    )
    assert (this.max_body_bytes, this.max_websocket_message_bytes, this.max_websockets) == (5, 6, 7)
    assert this.websocket_protocols == ("a", "b")
    assert not this.websocket_compression


def test_the_root_path_is_decoded_d8() -> None:
    assert settings("--root-path", "/caf%C3%A9/").root_path == "/café"
    assert settings("--root-path", "/").root_path == ""
    with pytest.raises(ConfigurationError, match="slash"):
        settings("--root-path", "app")


def test_proxies_are_believed_only_when_asked_for_and_named_s3() -> None:
    assert not settings().proxy_headers
    local = settings("--proxy-headers")
    assert local.trusted_proxies == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    named = settings(
        "--proxy-headers", "--trusted-proxies", "10.0.0.0/8, 192.0.2.1", "--trusted-proxies", "fd00::/8"
    )
    assert named.trusted_proxies == tuple(map(ip_network, ("10.0.0.0/8", "192.0.2.1", "fd00::/8")))
    with pytest.raises(ConfigurationError, match="--proxy-headers"):
        settings("--trusted-proxies", "10.0.0.0/8")
    with pytest.raises(ConfigurationError, match="nonsense"):
        settings("--proxy-headers", "--trusted-proxies", "nonsense")


def test_which_headers_are_believed_is_one_choice() -> None:
    plain = settings("--proxy-headers")
    assert (plain.forwarded, plain.client_header, plain.port_header) == (
        False,
        b"x-forwarded-for",
        b"x-forwarded-port",
    )
    assert plain.root_path_header == b""
    named = settings(
        *("--proxy-headers", "--proxy-headers-host", "X-Real-IP", "--proxy_headers_port=X-Real-Port"),
        *("--proxy-headers-root-path", "Daphne-Root-Path"),
    )
    assert (named.client_header, named.port_header) == (b"x-real-ip", b"x-real-port")
    assert named.root_path_header == b"daphne-root-path"
    other = settings("--forwarded", "--trusted-proxies", "10.0.0.0/8")
    assert other.proxy_headers
    assert other.forwarded
    for wrong in (
        ("--forwarded", "--proxy-headers"),
        ("--forwarded", "--proxy-headers-host", "X-Real-IP"),
        ("--proxy-headers-port", "X-Real-Port"),
        ("--proxy-protocol", "--proxy-headers-root-path", "Daphne-Root-Path"),
    ):
        with pytest.raises(ConfigurationError, match="--proxy-headers"):
            settings(*wrong)


def test_the_proxy_protocol_is_spoken_when_asked_for() -> None:
    assert not settings().proxy_protocol
    this = settings("--proxy-protocol", "--trusted-proxies", "10.0.0.0/8", "--proxy-protocol-timeout", "2")
    assert (this.proxy_protocol, this.proxy_headers) == (True, False)
    assert this.trusted_proxies == (ip_network("10.0.0.0/8"),)
    assert this.deadlines.introduction == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--proxy-headers", "--proxy-headers-host", "X_Real_IP"),
        ("--proxy-headers", "--proxy-headers-host", "a b"),
        ("--proxy-headers", "--proxy-headers-host", ""),
        ("--proxy-headers", "--proxy-headers-root-path", "caf\u00e9:"),
        ("-p", "65536"),
        ("-p", "-1"),
        ("-p", "http"),
        ("-v", "4"),
        ("-t", "soon"),
        ("-t", "-5"),
        ("-t", "nan"),
        ("-t", "inf"),
        ("--max-body-size", "-1"),
        ("--unknown",),
        ("--http",),
        ("a", "b"),
    ],
)
def test_what_cannot_be_is_an_error_that_names_it(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="--help"):
        settings(*arguments)


def test_http2_is_offered_where_its_library_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings("--http2").http2
    assert not settings("--no-http2").http2
    assert not settings().http2_prior_knowledge
    known = settings("--http2-prior-knowledge", "--trusted-proxies", "10.0.0.0/8")
    assert known.http2_prior_knowledge
    assert known.trusted_proxies == (ip_network("10.0.0.0/8"),)
    for other in ("--http2", "--http2-prior-knowledge"):
        with pytest.raises(ConfigurationError, match="--no-http2 excludes"):
            settings("--no-http2", other)
    monkeypatch.setattr("headrace_interface.options.find_spec", lambda name: None)
    assert not settings().http2
    for option in ("--http2", "--http2-prior-knowledge"):
        with pytest.raises(ConfigurationError, match=r"headrace\[http2\]"):
            settings(option)


def test_folders_of_files_are_named_with_their_prefixes() -> None:
    given = ["--static", "/static/=/a", "--static=/media=/b", "--internal", "/p/=/c", "--sendfile_root", "/d"]
    found = settings_from(make_parser().parse_args(normalised(given)))
    assert found.static == (Mount("/static/", "/a"), Mount("/media/", "/b"))
    assert found.internal == (Mount("/p/", "/c"),)
    assert found.sendfile_root == "/d"
    assert [folder for _, folder in found.folders] == ["/a", "/b", "/c", "/d"]
    assert InterfaceSettings().folders == ()


def test_a_prefix_has_one_folder() -> None:
    given = ["--internal", "/p/=/a", "--internal", "/p=/b"]
    with pytest.raises(ConfigurationError, match="--internal: /p/ is given twice"):
        settings_from(make_parser().parse_args(given))


def test_the_server_header_can_be_another_or_none() -> None:
    assert settings().server_name == b"headrace"
    assert settings("-s", "edge 1").server_name == b"edge 1"
    assert settings("--no-server-name", "--server-name", "edge").server_name == b""
    assert settings("--server-name", "").server_name == b""
    for wrong in ("a\r\nb", " a", "\xe9"):
        with pytest.raises(ConfigurationError, match="--server-name"):
            settings("--server-name", wrong)


def test_a_log_format_is_tried_before_anything_is_written_with_it() -> None:
    given = make_parser().parse_args(["--log-fmt", "%(asctime)-15s %(levelname)-8s %(message)s"])
    assert given.log_fmt == "%(asctime)-15s %(levelname)-8s %(message)s"
    for wrong in ("no field", "%(nobody)s", "%(message)d"):
        with pytest.raises(ConfigurationError, match="--log-fmt"):
            make_parser().parse_args(["--log-fmt", wrong])


def test_limits_other_than_the_defaults_are_named_by_their_options() -> None:
    assert changed_limits(settings()) == []
    assert changed_limits(settings("--max-websockets", "5")) == ["--max-websockets 5 (not 0)"]
