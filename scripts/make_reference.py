"""Writes docs/reference from the code's own tables, docstrings and help texts.

    python scripts/make_reference.py            # write the pages
    python scripts/make_reference.py --check    # exit 1 and name the pages that are stale

Nothing is explained here that the code does not say: a poor line in a page is a poor help text in the code.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import django
from django.conf import settings as django_settings

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("asgi_spec", "interface_server", "worker")]
if not django_settings.configured:
    django_settings.configure(INSTALLED_APPS=["headrace", "django.contrib.staticfiles"], SECRET_KEY="none")
    django.setup()

from headrace import conf  # noqa: E402
from headrace.management.commands import runserver, runworker  # noqa: E402
from headrace_asgi import (  # noqa: E402
    InMemoryChannelLayer,
    IPCChannelLayer,
    RabbitMQChannelLayer,
    RedisChannelLayer,
    RedisClusterChannelLayer,
    RedisSentinelChannelLayer,
    limits,
    messages,
)
from headrace_asgi.layers import former, from_config, options  # noqa: E402
from headrace_interface import deadlines  # noqa: E402
from headrace_interface import options as interface_options  # noqa: E402
from headrace_interface.http import connection as http_connection  # noqa: E402
from headrace_interface.http import exchange as http_exchange  # noqa: E402
from headrace_interface.http2 import connection as http2_connection  # noqa: E402
from headrace_interface.http2 import stream as http2_stream  # noqa: E402
from headrace_interface.udp import options as udp_options  # noqa: E402
from headrace_interface.websocket import exchange as websocket_exchange  # noqa: E402
from headrace_interface.websocket import states  # noqa: E402

LAYERS = (
    RedisChannelLayer,
    RedisSentinelChannelLayer,
    RedisClusterChannelLayer,
    IPCChannelLayer,
    RabbitMQChannelLayer,
    InMemoryChannelLayer,
)
#: Parameters of a layer that are for tests, not for `CONFIG`.
NO_OPTIONS = {"clock"}
#: What the code cites, for its readers.
CITATION = re.compile(r"\s+\(docs/protocol\.md,\s+section \d+\)")
NOTICE = "<!-- Made by scripts/make_reference.py from the code. Change the code, then run it again. -->"


# Reading the code


def comments(source: str) -> dict[str, str]:
    """The text of the `#:` comment above each name that `source` assigns."""
    found, lines = {}, list[str]()
    for line in source.splitlines():
        stripped = line.strip()
        if stripped.startswith("#:"):
            lines.append(stripped[2:].strip())
            continue
        name = re.match(r"(\w+)\s*[:=]", stripped)
        if name and lines:
            found[name[1]] = " ".join(lines)
        lines = []
    return found


def comments_in(thing: type | ModuleType) -> dict[str, str]:
    """`comments` of a class or module."""
    return comments(inspect.getsource(thing))


def prose(docstring: str | None) -> str:
    """A docstring as paragraphs of Markdown."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(CITATION.sub("", " ".join(paragraph.split())) for paragraph in paragraphs)


def value_text(value: Any, name: str = "") -> str:
    """A default as a reader would write it, with round sizes in KiB or MiB beside it."""
    if name.lower().endswith("bytes") and isinstance(value, int) and value >= 1024:
        for unit, size in (("MiB", 1024**2), ("KiB", 1024)):
            if value % size == 0:
                return f"`{value}` ({value // size} {unit})"
    return f"`{value!r}`"


# Writing Markdown


def cell(text: str) -> str:
    """Text that may stand in a table."""
    return " ".join(CITATION.sub("", text).split()).replace("|", "\\|").replace("<", "&lt;")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return "\n".join(lines)


def page(title: str, *parts: str) -> str:
    """A page."""
    return "\n\n".join([f"# {title}", NOTICE, *(part for part in parts if part)]) + "\n"


# settings.md


def settings_page() -> str:
    """CHANNEL_LAYERS, HEADRACE and the options of each layer."""
    return page(
        "Settings",
        "Everything that Headrace reads from your Django settings and that Django does not know. Without "
        "`CHANNEL_LAYERS` nothing changes: the project is plain Django. `manage.py check` names a key that "
        "is not here; an unknown option in a `CONFIG` is an error of the first command that uses the layer.",
        "## CHANNEL_LAYERS",
        'A dict of layers by name; `"default"` is the one that `Channel`, `Group` and the commands use '
        'unless they are told another. The least is `{"default": {"ROUTING": "project.routing.routing"}}`.',
        table(("key", "what it is"), layer_keys()),
        layer_sections(),
        url_section(),
        "## HEADRACE",
        "A dict; every key has a default, so it may be left out.",
        table(("key", "default", "what it does"), headrace_rows()),
        "## CHANNEL_SESSION_ENGINE",
        prose(conf.channel_session_engine.__doc__),
    )


def layer_keys() -> list[tuple[str, str]]:
    """The keys of one layer. Raises SystemExit if the code knows others than this text."""
    known: dict[str, str] = {
        "BACKEND": f"Dotted path of the layer's class. Left out: `{conf.EMBEDDED_BACKEND}`.",
        "CONFIG": "Options of that class, below.",
        "ROUTING": "A list of routes, a dict from channel to consumer, or the dotted path of either. Needed.",
        "TEST_CONFIG": "Options in place of CONFIG, for tests that make a layer of their own.",
    }
    source = ast.parse(inspect.getsource(conf.channel_layer_config))
    sets = [node for node in ast.walk(source) if isinstance(node, ast.Set)]
    in_code = {str(ast.literal_eval(item)) for node in sets for item in node.elts}
    if in_code != known.keys():
        raise SystemExit(f"conf.py knows the keys {sorted(in_code)}, layer_keys() explains {sorted(known)}")
    return [(f"`{key}`", text) for key, text in known.items()]


def layer_sections() -> str:
    """One section per layer: what it is, its options, what they are."""
    parts = []
    for layer in LAYERS:
        made: Any = layer.__init__
        parts += [
            f"### headrace_asgi.{layer.__name__}",
            prose(layer.__doc__),
            table(("option", "default", "about the default"), option_rows(layer)),
            prose(made.__doc__),
        ]
        if layer is RedisChannelLayer:
            parts += [hosts_section(), former_section()]
    return "\n\n".join(parts)


def hosts_section() -> str:
    """How one Redis may be written."""
    rows = [(f"`{form}`", meaning) for form, meaning in options.HOST_FORMS.items()]
    return (
        "#### One entry of hosts\n\n"
        "`hosts` is a list of such entries. Options of redis-py for one entry win over "
        "`connection_kwargs`, and those win over what a URL says.\n\n"
        + table(("how it is written", "what it means"), rows)
    )


def former_section() -> str:
    """Options of Channels that may stay."""
    rows = [(f"`{name}`", why) for name, why in former.RETIRED_OPTIONS.items()]
    return (
        "#### Options of Channels without a meaning\n\n"
        "They may stay in `CONFIG`. Each is named once in the log of a process, as a warning.\n\n"
        + table(("option", "why it can go"), rows)
    )


def option_rows(layer: type) -> list[tuple[str, str, str]]:
    """Options of a layer; what a default means stands at the constant that it is."""
    reasons = comments_in(limits)
    constants = default_names(layer)
    rows = []
    for name, parameter in inspect.signature(layer).parameters.items():
        if name not in NO_OPTIONS:
            reason = reasons.get(constants.get(name, ""), "")
            rows.append((f"`{name}`", value_text(parameter.default, name), reason))
    return rows


def default_names(layer: type) -> dict[str, str]:
    """Parameter of `__init__` -> name of the constant that is its default."""
    (tree,) = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(layer)))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    ]
    arguments = tree.args.args[len(tree.args.args) - len(tree.args.defaults) :]
    pairs = zip(arguments, tree.args.defaults, strict=True)
    return {argument.arg: value.id for argument, value in pairs if isinstance(value, ast.Name)}


def url_section() -> str:
    """The URLs that `--layer` takes."""
    names = ", ".join(f"`{name}`" for name in from_config._URL_OPTIONS)
    return (
        "### A layer as a URL\n\n"
        "`headrace-interface --layer` takes what `CHANNEL_LAYERS` says in one of these forms: "
        f"{cell(from_config._FORMS)}. Options that may stand in a URL: {names}."
    )


def headrace_rows() -> list[tuple[str, str, str]]:
    """The dict HEADRACE."""
    texts = comments_in(conf.WorkerSettings)
    defaults = conf.WorkerSettings()
    return [
        (f"`{name.upper()}`", value_text(getattr(defaults, name), name), texts.get(name, ""))
        for name in conf.WorkerSettings.__dataclass_fields__
    ]


# options.md


def options_page() -> str:
    """The command lines."""
    parser = interface_options.make_parser()
    return page(
        "Options",
        "## headrace-interface",
        f"{parser.description} `python -m headrace_interface` is the same. {parser.epilog}",
        *(group_section(group) for group in parser._action_groups),
        *udp_section(),
        "## manage.py runworker",
        prose(runworker.Command.help) + " Besides Django's options for every command:",
        table(("option", "what it does"), command_rows(runworker.Command())),
        "## manage.py runserver",
        prose(runserver.Command.help) + " Besides the options of Django's own `runserver`:",
        table(("option", "what it does"), command_rows(runserver.Command())),
    )


def udp_section() -> tuple[str, str, str]:
    """The options of the UDP server."""
    parser = udp_options.make_udp_parser()
    return (
        f"## {parser.prog}",
        f"{parser.description} {parser.epilog} [The page on it](../interface-servers.md#udp).",
        table(("option", "what it does"), map(option_row, parser.options)),
    )


def group_section(group: Any) -> str:
    """One group of options, under its title."""
    rows = [option_row(action) for action in group._group_actions if action.dest not in ("help", "version")]
    title = group.title[:1].upper() + group.title[1:]
    return f"### {title}\n\n{table(('option', 'what it does'), rows)}" if rows else ""


def option_row(action: argparse.Action) -> tuple[str, str]:
    """How an option is written, and its help text."""
    written = [f"`{name}`" for name in action.option_strings] or [f"`{action.metavar or action.dest}`"]
    if action.option_strings and action.nargs != 0:
        choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else None
        argument = choices or str(action.metavar or action.dest.upper())
        argument += " …" if action.nargs == "*" else ""
        written[-1] = f"{written[-1][:-1]} {argument}`"
    if action.help is None:
        raise SystemExit(f"{', '.join(written)} has no help text")
    return ", ".join(written), action.help % {"default": action.default}


def command_rows(command: Any) -> list[tuple[str, str]]:
    """The options that a management command adds to those of the class it extends."""
    inherited = type(command).__mro__[1]().create_parser("manage.py", "x")
    known = {action.dest for action in inherited._actions}
    parser = command.create_parser("manage.py", "x")
    return [option_row(action) for action in parser._actions if action.dest not in known]


# messages.md


def messages_page() -> str:
    """The message specification."""
    parts = []
    for name, kind in kinds().items():
        parts += [f"## {kind.name}", where_text(kind), fields_table(name, kind), rule_text(kind)]
    return page(
        "Messages",
        "Every message between the two tiers is a dict with the keys of one of these tables. They are those "
        "of ASGI 0.x; a key marked *ours* is an addition. The interface server checks a message when it "
        "builds one, and a reply before it uses it: an error names the unknown key or the wrong type.",
        *parts,
    )


def kinds() -> dict[str, messages.Kind]:
    """Name in the module -> kind, in the order of the specification."""
    names = {id(value): name for name, value in vars(messages).items() if isinstance(value, messages.Kind)}
    return {names[id(kind)]: kind for kind in messages.KINDS}


def where_text(kind: messages.Kind) -> str:
    """Where a kind of message is sent."""
    if not kind.channel:
        return "Sent on the client's reply channel."
    if kind.channel.endswith("?"):
        return f"Sent on a channel of its own for each request, `{kind.channel}…`."
    return f"Sent on the channel `{kind.channel}`."


def fields_table(name: str, kind: messages.Kind) -> str:
    """The table of one kind."""
    ours = additions(name)
    rows = []
    for key, field in kind.fields.items():
        default = "required" if field.default is messages.REQUIRED else value_text(field.default)
        rows.append((f"`{key}`", str(field.shape), default, "ours" if key in ours else ""))
    return table(("key", "type", "default", ""), rows)


def additions(name: str) -> set[str]:
    """Keys of a kind that stand below a comment "Ours"."""
    source = inspect.getsource(messages)
    block = source[source.index(f"\n{name} = Kind(") :]
    block = block[: block.index("\n)\n")]
    _, _, ours = block.partition("# Ours")
    return set(re.findall(r'Field\(\s*"(\w+)"', ours))


def rule_text(kind: messages.Kind) -> str:
    """What must hold for a message as a whole, in the words of its error."""
    rule: Callable[[dict[str, Any]], str | None] | None = kind._rule
    if rule is None:
        return ""
    wrong = rule({}) or rule({"text": "x", "bytes": b"x"})
    if not wrong:
        raise SystemExit(f"the rule of {kind.name} complains about neither of the samples")
    return f"Refused otherwise: {wrong}."


# deadlines.md


def deadlines_page() -> str:
    """Every deadline of the interface server."""
    rows = [
        (
            f"`{row.option}`",
            f"{seconds:g}",
            row.help,
            str(row.status or ""),
        )
        for _, seconds, row in deadlines.rows()
    ]
    return page(
        "Deadlines",
        prose(deadlines.__doc__),
        "All of them belong to the interface server; the times of the worker are in "
        "[the settings](settings.md#headrace).",
        table(("option", "seconds", "what it is", "HTTP answer"), rows),
        "A WebSocket whose handshake is not answered gets the HTTP answer. An open one is closed with 1000 "
        "when it reaches its age, with 1013 when the layer stays away beyond the grace, with 1012 when the "
        "server ends. A client that sends no pong is dropped without a close frame.",
    )


# states.md


def states_page() -> str:
    """The transition tables of the connection and of both exchanges, as pictures and as tables."""
    connection = rows(
        {
            state: {event: (after, (step,) if step else ()) for event, (after, step) in row.items()}
            for state, row in http_connection.TABLE.items()
        }
    )
    http, socket = rows(http_exchange.TABLE), rows(states.TABLE)
    http2, stream = rows(http2_connection.TABLE), rows(http2_stream.TABLE)
    return page(
        "States",
        "The life of a connection, of a request and of a WebSocket in the interface server, drawn from the "
        "transition tables that the code runs on. What happens stands before the stroke, what is done about "
        "it behind it.",
        "## An HTTP/1 connection",
        prose(http_connection.__doc__).rpartition("\n\n")[2],
        picture(connection),
        transitions(connection, ("state", "what happens", "next state", "what is done")),
        meanings(
            http_connection.ConnectionState,
            http_connection.ConnectionEvent,
            http_connection.ConnectionStep,
        ),
        "## An HTTP/2 connection",
        prose(http2_connection.__doc__).rpartition("\n\n")[2],
        picture(http2),
        transitions(http2, ("state", "what happens", "next state", "what is done")),
        meanings(http2_connection.Http2State, http2_connection.Http2Event, http2_connection.Http2Step),
        "## A request of an HTTP/2 connection",
        prose(http2_stream.__doc__).rpartition("\n\n")[2],
        picture(stream),
        transitions(stream, ("state", "what happens", "next state", "what is done")),
        meanings(http2_stream.StreamState, http2_stream.StreamEvent, http2_stream.StreamStep),
        "## An HTTP request",
        prose(http_exchange.__doc__).rpartition("\n\n")[2],
        picture(http),
        transitions(http, ("state", "what happens", "next state", "what is done")),
        meanings(http_exchange.RequestState, http_exchange.Event, http_exchange.RequestStep),
        "## A WebSocket",
        prose(states.__doc__).partition("\n\n")[2],
        prose(websocket_exchange.__doc__).rpartition("\n\n")[2],
        picture(socket),
        transitions(socket, ("state", "what happens", "next state", "what is done")),
        meanings(states.SocketState, states.Fact, states.SocketStep),
    )


Rows = Mapping[Any, Mapping[Any, tuple[Any, Any]]]


def rows(table: Mapping[Any, Mapping[Any, tuple[Any, Sequence[str]]]]) -> Rows:
    """A transition table with its steps in words."""
    return {
        state: {event: (after, ", ".join(steps)) for event, (after, steps) in row.items()}
        for state, row in table.items()
    }


def picture(rows: Rows) -> str:
    """A Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(rows))}"]
    for state, row in rows.items():
        arrows: dict[str, list[str]] = {}
        for event, (after, done) in row.items():
            arrows.setdefault(after, []).append(f"{event} / {done}" if done else str(event))
        lines += [f"    {state} --> {after}: {'<br/>'.join(texts)}" for after, texts in arrows.items()]
        if not row:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```"])


def transitions(rows: Rows, head: Sequence[str]) -> str:
    """The same as a table."""
    return table(
        head,
        (
            (str(state), str(event), str(after), str(done or ""))
            for state, row in rows.items()
            for event, (after, done) in row.items()
        ),
    )


def meanings(*enums: type[StrEnum]) -> str:
    """What the words mean, where the code says it."""
    rows = []
    for enum in enums:
        texts = comments_in(enum)
        rows += [(str(member), texts[member.name]) for member in enum if member.name in texts]
    return table(("word", "meaning"), rows)


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "options.md": options_page,
    "messages.md": messages_page,
    "deadlines.md": deadlines_page,
    "states.md": states_page,
}


def main(argv: list[str] | None = None) -> int:
    """Write the pages or compare them; the exit status."""
    parser = argparse.ArgumentParser(description="Writes docs/reference from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "docs" / "reference", help="where the pages are"
    )
    options = parser.parse_args(argv)
    stale = []
    for name, make in PAGES.items():
        path, text = options.folder / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{name} {'is stale: run python scripts/make_reference.py' if options.check else 'written'}")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
