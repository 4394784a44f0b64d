"""Where options come from: the command line, before the environment, before a TOML file.

What there is to say, and of which type, the parser alone knows.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace_asgi.errors import ConfigurationError

from .options import ENVIRONMENT_PREFIX, ONE_OF, WITHOUT_MEANING, OptionParser, normalised

__all__ = ["Given", "gather"]

#: What is no setting of a server, so that neither a file nor the environment says it.
_COMMAND_LINE_ONLY = {"check", "upgrade"}
_SWITCH_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_SWITCH_WORDS |= {"0": False, "false": False, "no": False, "off": False}
#: A login with a password in a URL, or one among its options.
_PASSWORD = re.compile(r"://[^/@\s]*:[^@\s]+@|[?&]password=")
#: What Kubernetes puts into the environment of every pod beside a service called headrace-interface.
_KUBERNETES = re.compile(r"SERVICE_(HOST|PORT\w*)|PORT_\d+_\w+")


@dataclass(frozen=True, slots=True)
class Given:
    """What all sources said together."""

    options: argparse.Namespace
    #: The attributes of `options` that some source said, each with the strongest source that did.
    said_by: Mapping[str, str]
    #: Lines for the log, which is not there yet.
    warnings: Sequence[str]


def gather(parser: OptionParser, arguments: Sequence[str], environment: Mapping[str, str]) -> Given:
    """The options of a command line, an environment and the file that either names; reads the file.

    Raises ConfigurationError that names the source, the option and what is right; SystemExit for --help.
    """
    defaults = {each.dest: each.default for each in parser.options}
    for each in parser.options:
        each.default = argparse.SUPPRESS
    spoken = vars(parser.parse_args(normalised(arguments)))
    warnings: list[str] = []
    around = _from_environment(parser, environment, warnings)
    path = spoken.get("config", around.get("config"))
    written = {} if path is None else _from_file(parser, path, warnings)
    sources = ((str(path), written), ("the environment", around), ("the command line", spoken))
    values, said_by = _merged(sources)
    for option, reason in WITHOUT_MEANING.items():
        source = said_by.get(option[2:].replace("-", "_"))
        if source is not None:
            warnings.append(f"{option} ({source}) changes nothing and can go: {reason}.")
    return Given(argparse.Namespace(**{**defaults, **values}), said_by, warnings)


def _merged(sources: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[dict[str, Any], dict[str, str]]:
    """What the sources say, the weakest first, and who said it."""
    values: dict[str, Any] = {}
    said_by: dict[str, str] = {}
    for source, said in sources:
        for names in ONE_OF:
            if any(_is_said(said.get(name)) for name in names):
                for name in names:
                    values.pop(name, None)
                    said_by.pop(name, None)
        values.update(said)
        said_by.update(dict.fromkeys(said, source))
    return values, said_by


def _is_said(value: Any) -> bool:
    """Whether an option was used: 0 may be a descriptor."""
    return value is not None and value is not False


def _by_long_name(parser: OptionParser) -> dict[str, argparse.Action]:
    """The options that a file or the environment may say, by name without the hyphens in front."""
    named = {}
    for each in parser.options:
        for option in each.option_strings:
            if option.startswith("--") and option[2:] not in _COMMAND_LINE_ONLY:
                named[option[2:]] = each
    return named


def _from_environment(
    parser: OptionParser, environment: Mapping[str, str], warnings: list[str]
) -> dict[str, Any]:
    """What the environment says; an empty value says nothing."""
    named = _by_long_name(parser)
    said = {}
    for variable, text in sorted(environment.items()):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == variable or not text:
            continue
        if _KUBERNETES.fullmatch(name) or (name == "PORT" and "://" in text):
            continue
        option = name.lower().replace("_", "-")
        if option not in named:
            warnings.append(f"{variable} in the environment is no option and ignored{_near(option, named)}")
            continue
        said[named[option].dest] = _from_text(parser, variable, named[option], text)
    return said


def _from_text(parser: OptionParser, variable: str, option: argparse.Action, text: str) -> Any:
    if option.nargs == 0:
        switch = _SWITCH_WORDS.get(text.lower())
        if switch is None:
            raise ConfigurationError(f"{variable} must be 1 or 0 (true or false), not {text!r}")
        return switch
    if parser.takes_several(option):
        return [_converted(variable, option, each) for each in text.split()]
    return _converted(variable, option, text)


def _from_file(parser: OptionParser, path: str, warnings: list[str]) -> dict[str, Any]:
    content, mode = _read(path)
    named = _by_long_name(parser)
    del named["config"]
    said: dict[str, Any] = {}
    for key, value in content.items():
        option = key.replace("_", "-")
        if option not in named:
            raise ConfigurationError(f"{path}: {key} is no option that a file may have{_near(option, named)}")
        if named[option].dest in said:
            raise ConfigurationError(f"{path}: {key} stands there twice, with a hyphen and an underscore")
        said[named[option].dest] = _from_toml(parser, f"{path}: {key}", named[option], value)
    if mode & stat.S_IROTH and _PASSWORD.search(said.get("layer") or ""):
        warnings.append(
            f"{path} has a password in it and can be read by everybody on this machine: chmod o-r {path}"
        )
    return said


def _read(path: str) -> tuple[dict[str, Any], int]:
    """What stands in a TOML file, and its mode."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file), os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise ConfigurationError(f"--config {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--config {path} is no TOML: {error}") from None


def _from_toml(parser: OptionParser, where: str, option: argparse.Action, value: Any) -> Any:
    """Values are not shown where they have the wrong type: one may be a password."""
    if option.nargs == 0:
        if not isinstance(value, bool):
            raise ConfigurationError(f"{where} must be true or false")
        return value
    if parser.takes_several(option):
        several = [value] if isinstance(value, str) else value
        if not isinstance(several, list) or not all(isinstance(each, str) for each in several):
            raise ConfigurationError(f"{where} must be a list of texts, as in ['…', '…']")
        return [_converted(where, option, each) for each in several]
    if _is_number(option):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigurationError(f"{where} must be a number without quotes")
        # What is a whole number for TOML shall be one for the option's own type.
        return _converted(where, option, str(value))
    if not isinstance(value, str):
        raise ConfigurationError(f"{where} must be a text in quotes")
    return _converted(where, option, value)


def _is_number(option: argparse.Action) -> bool:
    """Whether an option's own type makes a number: it says so in its annotation."""
    convert = option.type
    made = convert if isinstance(convert, type) else getattr(convert, "__annotations__", {}).get("return")
    return made in (int, float, "int", "float")


def _converted(where: str, option: argparse.Action, text: str) -> Any:
    """A text as the parser would have understood it."""
    convert: Any = option.type or str
    try:
        value = convert(text)
    except argparse.ArgumentTypeError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    except ValueError:
        raise ConfigurationError(f"{where} must be a whole number, not {text!r}") from None
    if option.choices is not None and value not in option.choices:
        raise ConfigurationError(
            f"{where} must be one of {', '.join(map(str, option.choices))}, not {text!r}"
        )
    return value


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
