"""Options from a file, the environment and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_interface.options import ENVIRONMENT_PREFIX, WITHOUT_MEANING, make_parser, settings_from
from headrace_interface.sources import Given, gather


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "headrace.toml"
    path.touch(0o600)
    return path


def given(*arguments: str, environment: dict[str, str] | None = None) -> Given:
    return gather(make_parser(), arguments, environment or {})


def around(**environment: str) -> Given:
    return given(environment={ENVIRONMENT_PREFIX + name: text for name, text in environment.items()})


def test_without_any_source_everything_is_what_the_parser_says() -> None:
    this = given()
    assert vars(this.options) == vars(make_parser().parse_args([]))
    assert (this.said_by, this.warnings) == ({}, [])


#: What an option may be given, where a number would not do.
VALUES: dict[str, str] = {
    "--verbosity": "2",
    "--access-log-format": "json",
    "--root-path": "/app",
    "--log-fmt": "%(message)s",
    "--trusted-proxies": "10.0.0.0/8",
}


def options() -> list[tuple[str, bool]]:
    """The long name of every option that all sources have, and whether it is a switch."""
    return [
        (option, each.nargs == 0)
        for each in make_parser().options
        for option in each.option_strings
        if option.startswith("--") and option not in ("--config", "--check", "--upgrade")
    ]


@pytest.mark.parametrize(("option", "is_switch"), options())
def test_every_option_means_the_same_from_each_source(option: str, is_switch: bool, file: Path) -> None:
    text = VALUES.get(option, "5")
    spoken = vars(given(*([option] if is_switch else [option, text])).options)
    name = option[2:].upper().replace("-", "_")
    assert vars(around(**{name: "1" if is_switch else text}).options) == spoken
    changed = {key: value for key, value in spoken.items() if value != vars(given().options).get(key)}
    assert len(changed) <= 1, option
    is_number = isinstance(next(iter(changed.values()), None), int | float)
    value = "true" if is_switch else text if is_number else f'"{text}"'
    file.write_text(f"{option[2:]} = {value}\n")
    if changed:  # else its default is what was said
        from_file = {**vars(given("--config", str(file)).options), "config": None}
        assert from_file == spoken


def test_the_command_line_counts_before_the_environment_and_that_before_the_file(file: Path) -> None:
    file.write_text(
        "http-timeout = 1\nping_timeout = 2.5\nport = 3\nendpoint = ['tcp:1', 'tcp:2']\ndebug = true\n"
    )
    environment = {
        "HEADRACE_INTERFACE_CONFIG": str(file),
        "HEADRACE_INTERFACE_PORT": "4",
        "HEADRACE_INTERFACE_PING_TIMEOUT": "5",
        "HEADRACE_INTERFACE_DEBUG": "off",
        "HEADRACE_INTERFACE_ROOT_PATH": "",
    }
    this = given("-p", "6", "-e", "tcp:7", environment=environment)
    assert (this.options.port, this.options.endpoint, this.options.debug) == (6, ["tcp:7"], False)
    deadlines = settings_from(this.options).deadlines
    assert (deadlines.response, deadlines.ping) == (1, 5)
    assert this.said_by["port"] == this.said_by["endpoint"] == "the command line"
    assert this.said_by["deadline_ping"] == "the environment"
    assert this.said_by["deadline_response"] == str(file)
    assert "root_path" not in this.said_by


def test_of_options_that_answer_one_question_the_strongest_source_decides(file: Path) -> None:
    file.write_text('layer = "redis://file"\naccess-log = "requests.log"\n')
    first = given("--config", str(file), "--layer-config-fd", "0").options
    assert (first.layer, first.layer_config_fd) == (None, 0)
    second = given("--config", str(file), "module:layer").options
    assert (second.layer, second.channel_layer) == (None, "module:layer")
    third = given("--config", str(file), environment={"HEADRACE_INTERFACE_NO_ACCESS_LOG": "1"}).options
    assert (third.access_log, third.no_access_log) == (None, True)
    fourth = given("--config", str(file), environment={"HEADRACE_INTERFACE_NO_ACCESS_LOG": "0"}).options
    assert (fourth.access_log, fourth.no_access_log) == ("requests.log", False)
    file.write_text("no-http2 = true\n")
    fifth = given("--config", str(file), "--http2").options
    assert (fifth.http2, fifth.no_http2) == (True, False)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("http-timeuot = 5", "http-timeuot is no option that a file may have; did you mean http-timeout?"),
        ("config = 'x'", "config is no option that a file may have"),
        ("check = true", "check is no option that a file may have"),
        ("channel_layer = 'a:b'", "channel_layer is no option that a file may have"),
        ("http-timeout = 'soon'", "http-timeout must be a number without quotes"),
        ("http-timeout = true", "http-timeout must be a number without quotes"),
        ("http-timeout = nan", "http-timeout: a number of seconds, or 0 or -1 for none, not 'nan'"),
        ("port = 70000", "port: a port is a number from 0 to 65535, not '70000'"),
        ("fd = 1.5", "fd must be a whole number, not '1.5'"),
        ("debug = 'yes'", "debug must be true or false"),
        ("verbosity = 7", "verbosity must be one of 0, 1, 2, 3, not '7'"),
        ("access-log-format = 'xml'", "access-log-format must be one of common, json, not 'xml'"),
        ("layer = ['redis://:secret@host']", "layer must be a text in quotes"),
        ("endpoint = [1]", "endpoint must be a list of texts, as in ['…', '…']"),
        ("endpoint = 1", "endpoint must be a list of texts, as in ['…', '…']"),
        ("max-body-size = -1", "max-body-size: a number from 0, not '-1'"),
        ("log-fmt = '%(nobody)s'", "log-fmt: a format as in '%(asctime)s %(levelname)s %(message)s'"),
        ("[limits]\nmax-body-size = 1", "limits is no option that a file may have"),
        ("debug = true\nmax_websockets = 1\nmax-websockets = 2", "stands there twice"),
    ],
)
def test_what_a_file_may_not_say_is_an_error_with_file_key_and_what_is_right(
    content: str, says: str, file: Path
) -> None:
    file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        given("--config", str(file))
    assert str(caught.value).startswith(f"{file}: ")
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--config nowhere\.toml cannot be read: No such file"):
        given("--config", "nowhere.toml")
    for content in (b"port =", b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="is no TOML"):
            given("--config", str(file))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("PORT", "http", "HEADRACE_INTERFACE_PORT: a port is a number"),
        ("DEBUG", "maybe", "HEADRACE_INTERFACE_DEBUG must be 1 or 0"),
        ("VERBOSITY", "loud", "HEADRACE_INTERFACE_VERBOSITY must be a whole number"),
    ],
)
def test_what_the_environment_may_not_say_is_an_error_with_its_variable(
    name: str, text: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        around(**{name: text})


def test_several_values_of_the_environment_have_blanks_between_them() -> None:
    this = around(WS_PROTOCOL="chat  news", ENDPOINT="tcp:1 tcp:2", TRUSTED_PROXIES="10.0.0.0/8,::1").options
    assert (this.ws_protocol, this.endpoint) == (["chat", "news"], ["tcp:1", "tcp:2"])
    assert this.trusted_proxies == ["10.0.0.0/8,::1"]


def test_a_misspelt_variable_is_a_warning_and_those_of_kubernetes_are_not() -> None:
    [line] = around(HTTP_TIMEUOT="5").warnings
    assert line.startswith("HEADRACE_INTERFACE_HTTP_TIMEUOT in the environment is no option and ignored; ")
    assert line.endswith("did you mean http-timeout?")
    kubernetes = {
        "PORT": "tcp://10.0.0.11:80",
        "SERVICE_HOST": "10.0.0.11",
        "SERVICE_PORT": "80",
        "SERVICE_PORT_HTTP": "80",
        "PORT_80_TCP": "tcp://10.0.0.11:80",
        "PORT_80_TCP_ADDR": "10.0.0.11",
    }
    this = around(**kubernetes)
    assert (this.options.port, this.warnings) == (None, [])


@pytest.mark.parametrize(
    ("mode", "layer", "warned"),
    [
        (0o644, "redis://:secret@host", True),
        (0o644, "redis+sentinel://user:secret@a,b/mymaster", True),
        (0o644, "unix:///path?password=secret", True),
        (0o640, "redis://:secret@host", False),
        (0o644, "redis://host:6379/0", False),
        (0o644, "redis://user@host", False),
    ],
)
def test_a_password_that_everybody_can_read_is_a_warning(
    mode: int, layer: str, warned: bool, file: Path
) -> None:
    file.write_text(f"layer = '{layer}'\n")
    file.chmod(mode)
    this = given("--config", str(file))
    assert this.options.layer == layer
    assert [f"chmod o-r {file}" in line for line in this.warnings] == ([True] if warned else [])
    assert "secret" not in "".join(this.warnings)


@pytest.mark.parametrize("option", WITHOUT_MEANING)
def test_an_option_of_daphne_without_a_meaning_is_a_warning_with_the_reason(option: str) -> None:
    values: list[Any] = [] if option == "--force-sync" else ["10"]
    for spelling in (option, option[:2] + option[2:].replace("-", "_")):
        this = given(spelling, *values)
        [line] = this.warnings
        assert line == f"{option} (the command line) changes nothing and can go: {WITHOUT_MEANING[option]}."
        assert settings_from(this.options) == settings_from(given().options)
