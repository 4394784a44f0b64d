"""Which consumer gets a message: routes as projects write them, compiled once into one table per channel.

    routing = [
        route("websocket.receive", "chat.consumers.said", path=r"^/rooms/(?P<room>[a-z]+)/$"),
        include("shop.routing.routes", path=r"^/shop"),
    ]

The first route whose filters all match wins; named groups become keyword arguments of the consumer.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, Self

from django.core.exceptions import ImproperlyConfigured

from .filters import EMPTY, Filters
from .log import LimitedLog
from .synchronous import require_synchronous
from .types import Consumer, Content, Kwargs

__all__ = [
    "Include",
    "Route",
    "RouteClass",
    "Router",
    "accept_consumer",
    "consumer_name",
    "import_named",
    "include",
    "null_consumer",
    "route",
    "route_class",
]

Match = tuple[Consumer, Kwargs]

#: Runs the views, unless a project says otherwise: a class of a module that is not imported before.
_VIEWS = "headrace.handler.ViewConsumer"

#: What comes of a socket once it is open.
_LATER = ("websocket.receive", "websocket.disconnect")

#: What `ordering_for` keeps of the paths it has seen, which clients choose: how many, and up to which length.
_MOST_PATHS = 2000
_LONGEST_PATH = 500


class Routed(Protocol):
    """What routes see of a `Message`."""

    content: Content
    channel_name: str

    @property
    def reply_channel(self) -> Answered | None:
        """Where answers to its client go."""

    def with_content(self, content: Content) -> Self:
        """The same message with other content."""


class Answered(Protocol):
    """What the default consumers use of a reply channel."""

    def send(self, content: Content) -> None:
        """Send a message."""


class Route:
    """One consumer for one or several channels, for messages that pass the filters."""

    def __init__(self, channels: str | Iterable[str], consumer: Consumer | str, **filters: object) -> None:
        """Take channel names, a callable or its dotted path, and a regular expression per message key.

        Each expression must match at the start of the value (`re.match`). Raises ImproperlyConfigured for a
        consumer that is not there, ValueError for an expression that is wrong or has unnamed groups.
        """
        names = [channels] if isinstance(channels, str | bytes) else list(channels)
        self.channels = {name.decode("ascii") if isinstance(name, bytes) else name for name in names}
        self.consumer = _resolved_consumer(consumer)
        self.filters = Filters.of(filters)

    def channel_names(self) -> set[str]:
        """The channels this route takes messages from."""
        return self.channels

    def match(self, message: Routed) -> Match | None:
        """The consumer and its keyword arguments, None if the message is not for this route."""
        if message.channel_name not in self.channels:
            return None
        kwargs = self.filters.match(message.content)
        return None if kwargs is None else (self.consumer, kwargs)

    def entries(self, prefix: Filters) -> list[tuple[str, CompiledRoute]]:
        """This route behind an include's prefix, once per channel."""
        filters = prefix.then(self.filters)
        return [(name, CompiledRoute(filters, self.consumer, self)) for name in sorted(self.channel_names())]

    def __str__(self) -> str:
        channels = "/".join(sorted(self.channel_names()))
        return f"{channels} {self.filters} -> {consumer_name(self.consumer)}"


class RouteClass(Route):
    """A route whose channels are those that a class-based consumer names itself."""

    def __init__(self, consumer: object, **filters: object) -> None:
        """Take a class consumer or its dotted path; ValueError if it has no callable `channel_names`."""
        resolved = _resolved_consumer(consumer)
        if not callable(getattr(resolved, "channel_names", None)):
            raise ValueError(
                f"route_class() needs a consumer with a method channel_names(), not {resolved!r}"
            )
        super().__init__(resolved.channel_names(), resolved, **filters)  # type: ignore[attr-defined]


class Include:
    """Other routes, behind filters whose matched prefix the inner routes no longer see."""

    def __init__(self, routing: object, **filters: object) -> None:
        """Take a list or dict of routes or its dotted path; raises as `Route` does."""
        self.routing = resolve_routing(routing)
        self.filters = Filters.of(filters)

    def channel_names(self) -> set[str]:
        """The channels of all inner routes."""
        return {name for inner in self.routing for name in inner.channel_names()}

    def match(self, message: Routed) -> Match | None:
        """The consumer and its keyword arguments, None if no inner route matches."""
        return _first([entry for name, entry in self.entries(EMPTY) if name == message.channel_name], message)

    def entries(self, prefix: Filters) -> list[tuple[str, CompiledRoute]]:
        """All inner routes behind this include's prefix."""
        filters = prefix.then(self.filters)
        return [entry for inner in self.routing for entry in _entries(inner, filters)]

    def __str__(self) -> str:
        return f"include {self.filters}: {len(self.routing)} routes"


route = Route
route_class = RouteClass
include = Include


class CompiledRoute:
    """One line of a channel's compiled table."""

    __slots__ = ("consumer", "filters", "foreign", "match")

    def __init__(self, filters: Filters, consumer: Consumer | None, origin: Any) -> None:
        self.filters = filters
        self.consumer = consumer
        #: A route that is no class of ours is asked itself, with a message whose prefix is consumed.
        self.foreign: Any = None if consumer is not None else origin
        self.match = self._match_foreign if consumer is None else self._match_plain

    def _match_plain(self, message: Routed) -> Match | None:
        kwargs = self.filters.match(message.content)
        return None if kwargs is None else (self.consumer, kwargs)  # type: ignore[return-value]

    def _match_foreign(self, message: Routed) -> Match | None:
        seen = self.filters.consumed(message.content)
        if seen is None:
            return None
        content, kwargs = seen
        inner = message if content is message.content else message.with_content(content)
        match: Match | None = self.foreign.match(inner)
        return None if match is None else (match[0], {**kwargs, **match[1]})


class Router:
    """The compiled routing of one layer."""

    def __init__(self, routing: object, setting: str = "ROUTING") -> None:
        """Compile a list, dict or dotted path; `setting` is what errors call it.

        Raises ImproperlyConfigured for what cannot be imported or is no route.
        """
        self._setting = setting
        self.channels: set[str] = set()
        self._tables: dict[str, list[CompiledRoute]] = {}
        self._ordering: dict[str, bool | str] = {}
        for item in resolve_routing(routing, setting):
            self.add_route(item)

    def add_route(self, item: Any) -> None:
        """Add a route behind the others."""
        for name, entry in _entries(item, EMPTY):
            self._tables.setdefault(name, []).append(entry)
            self.channels.add(name)
        self._ordering.clear()

    def check_default(self, http_consumer: Consumer | None = None) -> None:
        """Add what every project needs behind its own routes: views, and an answer to every handshake.

        A WebSocket that no connect consumer takes is accepted where frames or the disconnect have a route for
        its path, and refused with 404 elsewhere. `http_consumer` runs the views, Django's handler by default.
        """
        if http_consumer is None:
            http_consumer = import_named(_VIEWS, "the consumer of views")()
        takers = [entry for name in _LATER for entry in self._tables.get(name, ())]
        self.add_route(Route("http.request", http_consumer))
        self.add_route(Route("websocket.connect", _UnroutedConnect(takers)))
        self.add_route(Route(list(_LATER), null_consumer))

    def match(self, message: Routed) -> Match | None:
        """The consumer for a message and its keyword arguments; None if no route wants it.

        Whatever the message holds, this only raises what a project's own route class raises.
        """
        for entry in self._tables.get(message.channel_name, ()):
            match = entry.match(message)
            if match is not None:
                return match
        return None

    def ordering_for(self, message: Routed) -> bool | str:
        """Whether the socket of a `websocket.connect` is ordered: True, "slight" or False.

        True if the connect's consumer, or any that the socket's later messages can reach with this path,
        asks for it. Filters on anything but the path cannot be known yet and count as passed.
        """
        path = message.content.get("path")
        if not isinstance(path, str):
            path = ""
        if len(path) > _LONGEST_PATH:
            return self._ordering_of(path)
        known = self._ordering.get(path)
        if known is None:
            if len(self._ordering) >= _MOST_PATHS:
                self._ordering.clear()
            known = self._ordering[path] = self._ordering_of(path)
        return known

    def unserved(self, extensions: Iterable[str], layer: str) -> str:
        """What the consumers need and a layer with these extensions lacks, in a sentence; "" for nothing."""
        if "ordering" in extensions:
            return ""
        found = {
            consumer_name(consumer)
            for table in self._tables.values()
            for consumer in (entry.consumer or entry.foreign for entry in table)
            if getattr(consumer, "headrace_ordering", False)
        }
        if not found:
            return ""
        return (
            f"{layer} cannot keep the messages of a socket in order, as {', '.join(sorted(found))} in "
            f"{self._setting} wants it (enforce_ordering, strict_ordering or slight_ordering)"
        )

    def _ordering_of(self, path: str) -> bool | str:
        found: bool | str = False
        for channel in ("websocket.connect", *_LATER):
            for entry in self._tables.get(channel, ()):
                reachable = entry.filters.reachable({"path": path})
                if reachable is None:
                    continue
                wanted = getattr(entry.consumer or entry.foreign, "headrace_ordering", False)
                if wanted is True:
                    return True
                found = wanted or found
                if reachable and entry.consumer is not None:
                    break
        return found


def accept_consumer(message: Routed) -> None:
    """Accept every WebSocket."""
    if message.reply_channel is not None:
        message.reply_channel.send({"accept": True})


class _UnroutedConnect:
    """The default for handshakes that no route takes: accept those whose later messages have one."""

    def __init__(self, takers: list[CompiledRoute]) -> None:
        self._takers = takers
        self._limited_log = LimitedLog()

    def __call__(self, message: Routed) -> None:
        # As in `ordering_for`, filters on anything but the path cannot be known yet and count as passed.
        path = message.content.get("path")
        known = {"path": path if isinstance(path, str) else ""}
        if any(entry.filters.reachable(known) is not None for entry in self._takers):
            accept_consumer(message)
            return
        self._limited_log.log(
            known["path"][:_LONGEST_PATH],
            logging.WARNING,
            "Refused a WebSocket for %.500r with 404: "
            "no route of websocket.connect, websocket.receive or websocket.disconnect takes this path",
            path,
        )
        if message.reply_channel is not None:
            message.reply_channel.send({"close": True, "status": 404})


def null_consumer(message: Routed, **kwargs: object) -> None:
    """Do nothing: the default for frames and disconnects nobody waits for."""


def consumer_name(consumer: Consumer) -> str:
    """What a consumer is called in log lines."""
    named = consumer if hasattr(consumer, "__qualname__") else type(consumer)
    return f"{named.__module__}.{named.__qualname__}"


def resolve_routing(routing: object, setting: str = "routing") -> list[Any]:
    """The routes of a list, a dict from channel to consumer, or the dotted path of either."""
    if isinstance(routing, str):
        name = f"{setting} = {routing!r}"
        resolved = import_named(routing, name)
    else:
        name, resolved = setting, routing
    if isinstance(resolved, Mapping):
        return [Route(channel, consumer) for channel, consumer in resolved.items()]
    if not isinstance(resolved, Sequence) or isinstance(resolved, str | bytes):
        raise ImproperlyConfigured(
            f"{name} must be a list of routes or a dict, not {type(resolved).__name__}"
        )
    for item in resolved:
        if not callable(getattr(item, "match", None)) or not callable(getattr(item, "channel_names", None)):
            raise ImproperlyConfigured(f"{name} has {item!r} in it; use route(), route_class() or include()")
    return list(resolved)


def _entries(item: Any, prefix: Filters) -> list[tuple[str, CompiledRoute]]:
    if isinstance(item, Route | Include):
        return item.entries(prefix)
    return [(name, CompiledRoute(prefix, None, item)) for name in sorted(item.channel_names())]


def _first(entries: list[CompiledRoute], message: Routed) -> Match | None:
    return next((match for entry in entries if (match := entry.match(message)) is not None), None)


def _resolved_consumer(consumer: object) -> Consumer:
    resolved = import_named(consumer, f"consumer {consumer!r}") if isinstance(consumer, str) else consumer
    if not callable(resolved):
        raise ImproperlyConfigured(f"A consumer is a callable or its dotted path, not {consumer!r}")
    require_synchronous(resolved, repr(consumer))
    return resolved  # type: ignore[no-any-return]


def import_named(path: str, name: str) -> Any:
    """Import `package.module.attribute`; `name` is what errors call it.

    Raises ImproperlyConfigured in one line, which tells a missing name from a module that fails.
    """
    module_path, _, attribute = path.rpartition(".")
    if not module_path:
        raise ImproperlyConfigured(f"{name} is not a dotted path such as 'project.routing.routing'")
    try:
        module = importlib.import_module(module_path)
    except ImproperlyConfigured:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ImproperlyConfigured(f"{name} cannot be imported: {reason}{_where(error)}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ImproperlyConfigured(f"{name}: module {module_path!r} has no {attribute!r}") from None


def _where(error: BaseException) -> str:
    """File and line where an import failed, when that is not Python's own import machinery."""
    if isinstance(error, SyntaxError):
        return ""  # its text names them already
    traceback = error.__traceback__
    found = ""
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if not filename.startswith("<frozen") and filename not in {__file__, importlib.__file__}:
            found = f" ({filename}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return found
