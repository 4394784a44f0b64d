"""The message specification as data: one table per kind of message.

A message is a dict. Our own senders make it with `build`; what a foreign sender put on a channel passes
`check` before anybody looks inside. Both raise BadMessage, whose text names the kind, the key, what was found
and what is expected. Keys are those of ASGI 0.x; those below a comment "Ours" are additions that other
servers may ignore.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from .close_codes import may_be_sent
from .envelope import Message
from .errors import BadMessage
from .names import require_channel_name

__all__ = [
    "HTTP_BODY_CHUNK",
    "HTTP_DISCONNECT",
    "HTTP_REQUEST",
    "HTTP_RESPONSE",
    "HTTP_RESPONSE_CHUNK",
    "HTTP_RESPONSE_CREDIT",
    "KINDS",
    "REQUIRED",
    "UDP_RECEIVE",
    "UDP_SEND",
    "WEBSOCKET_CONNECT",
    "WEBSOCKET_DISCONNECT",
    "WEBSOCKET_RECEIVE",
    "WEBSOCKET_SEND",
    "Field",
    "Kind",
    "Shape",
]

#: The default of a field that has none.
REQUIRED: Final = object()

#: Characters of a wrong value that an error text shows.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value may be: one of `types`, and if `test` is given, something that passes it too."""

    expected: str
    types: tuple[type, ...]
    test: Callable[[Any], bool] | None = None
    or_none: bool = False

    def __str__(self) -> str:
        return f"{self.expected} or None" if self.or_none else self.expected

    def optional(self) -> Shape:
        """The same, or None."""
        return Shape(self.expected, self.types, self.test, or_none=True)

    def quick(self) -> frozenset[type]:
        """The exact classes whose every value is right, so that no test needs to run."""
        classes = set() if self.test else set(self.types)
        if self.or_none:
            classes.add(type(None))
        return frozenset(classes)

    def accepts(self, value: Any) -> bool:
        """Whether `value` has this shape. A bool is an int to Python, but not here."""
        if value is None:
            return self.or_none
        if isinstance(value, bool) and bool not in self.types:
            return False
        return isinstance(value, self.types) and (self.test is None or self.test(value))


@dataclass(frozen=True, slots=True)
class Field:
    """One row of a table."""

    key: str
    shape: Shape
    default: Any = REQUIRED


class Kind:
    """One kind of message.

    `name` is what error texts call it. `channel` is where it is sent: a channel name, a pattern for
    `new_channel` that ends with `?`, or empty for what goes to a client's reply channel.
    """

    __slots__ = ("_defaults", "_lists", "_quick", "_required", "_rule", "channel", "fields", "name")

    def __init__(
        self,
        name: str,
        channel: str,
        fields: tuple[Field, ...],
        rule: Callable[[Message], str | None] | None = None,
    ) -> None:
        """Take the table, and a `rule` that says what is wrong with a message as a whole, or None."""
        self.name = name
        self.channel = channel
        self.fields = {field.key: field for field in fields}
        self._quick = {field.key: field.shape.quick() for field in fields}
        self._required = frozenset(field.key for field in fields if field.default is REQUIRED)
        self._defaults = {field.key: field.default for field in fields if field.default is not REQUIRED}
        # Two messages must not share a default that can be changed.
        self._lists = tuple(key for key, default in self._defaults.items() if isinstance(default, list))
        self._rule = rule

    def __repr__(self) -> str:
        return f"<Kind {self.name}>"

    def build(self, **values: Any) -> Message:
        """A message with exactly these keys; optional ones that are left out stay out. Does not block.

        Raises BadMessage: the caller is ours, so that is a bug.
        """
        self._examine(values)
        return values

    def check(self, message: Message) -> Message:
        """A copy of a foreign sender's message with every default filled in. Does not block.

        The lists inside are not copied. Raises BadMessage.
        """
        if not isinstance(message, dict):
            raise BadMessage(f"{self.name}: a message must be a dict, not {_shown(message)}")
        self._examine(message)
        filled = {**self._defaults, **message}
        for key in self._lists:
            if key not in message:
                filled[key] = []
        return filled

    def _examine(self, message: Message) -> None:
        quick = self._quick
        for key, value in message.items():
            if key not in quick or value.__class__ not in quick[key]:
                self._look_closer(key, value)
        if not self._required <= message.keys():
            missing = ", ".join(
                f"{key!r} ({field.shape})"
                for key, field in self.fields.items()
                if key in self._required and key not in message
            )
            raise BadMessage(f"{self.name}: missing {missing}; found only the keys {_shown(list(message))}")
        if self._rule is not None:
            wrong = self._rule(message)
            if wrong:
                raise BadMessage(f"{self.name}: {wrong}")

    def _look_closer(self, key: Any, value: Any) -> None:
        field = self.fields.get(key)
        if field is None:
            known = ", ".join(self.fields)
            found = f"unknown key {_shown(key)} = {_shown(value)}"
            raise BadMessage(f"{self.name}: {found}; expected some of {known}")
        if not field.shape.accepts(value):
            raise BadMessage(f"{self.name}: {key!r} must be {field.shape}, not {_shown(value)}")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # a foreign object may fail to describe itself; the complaint must still be made
        text = "something"
    if len(text) > _SHOWN:
        text = text[:_SHOWN] + "…"
    return f"{text} ({type(value).__name__})"


def _are_headers(value: Any) -> bool:
    for pair in value:
        if pair.__class__ not in _SEQUENCES or len(pair) != 2:
            return False
        name, content = pair
        if name.__class__ is not bytes or content.__class__ is not bytes:
            return False
    return True


def _is_address(value: Any) -> bool:
    if len(value) != 2:
        return False
    host, port = value
    return isinstance(host, str) and isinstance(port, int) and not isinstance(port, bool)


def _are_strings(value: Any) -> bool:
    return all(isinstance(one, str) for one in value)


def _is_close(value: int) -> bool:
    return isinstance(value, bool) or may_be_sent(value)


def _is_credit_channel(value: str) -> bool:
    try:
        return require_channel_name(value).startswith(_RESPONSE_CREDIT)
    except TypeError:
        return False


_RESPONSE_CREDIT = "http.response.credit?"
_SEQUENCES = frozenset((list, tuple))

_STR = Shape("str", (str,))
_BYTES = Shape("bytes", (bytes,))
_BOOL = Shape("bool", (bool,))
_HEADERS = Shape("a list of [bytes, bytes]", (list, tuple), _are_headers)
_STRINGS = Shape("a list of str", (list, tuple), _are_strings)
_ADDRESS = Shape("[str host, int port]", (list, tuple), _is_address).optional()
_COUNT = Shape("an int from 0", (int,), lambda value: value >= 0)
_STATUS = Shape("an int from 200 to 999", (int,), lambda value: 200 <= value <= 999)
_ERROR_STATUS = Shape("an int from 300 to 999", (int,), lambda value: 300 <= value <= 999)
_CLOSE = Shape("a bool or a close code that may be sent (1000…, 3000-4999)", (bool, int), _is_close)
_CODE = Shape("an int", (int,))
_CREDIT_CHANNEL = Shape(f"a channel {_RESPONSE_CREDIT}…", (str,), _is_credit_channel)
_METHOD = Shape("an upper-case str", (str,), lambda value: value == value.upper() != "")

_REPLY_CHANNEL = Field("reply_channel", _STR)
_PATH = Field("path", _STR)
_CLIENT = Field("client", _ADDRESS, None)
_SERVER = Field("server", _ADDRESS, None)
_MORE_CONTENT = Field("more_content", _BOOL, False)

HTTP_REQUEST = Kind(
    "http.request",
    "http.request",
    (
        _REPLY_CHANNEL,
        Field("http_version", _STR),
        Field("method", _METHOD),
        Field("scheme", _STR, "http"),
        _PATH,
        Field("query_string", _BYTES),
        Field("root_path", _STR, ""),
        Field("headers", _HEADERS),
        Field("body", _BYTES, b""),
        Field("body_channel", _STR.optional(), None),
        _CLIENT,
        _SERVER,
    ),
)


def _has_content_or_end(message: Message) -> str | None:
    if "content" in message or message.get("closed"):
        return None
    return f"missing 'content' ({_BYTES}), which only a chunk with closed=True may leave out"


HTTP_BODY_CHUNK = Kind(
    "http.request.body",
    "http.request.body?",
    (
        Field("content", _BYTES, b""),
        Field("closed", _BOOL, False),
        _MORE_CONTENT,
    ),
    _has_content_or_end,
)

HTTP_RESPONSE = Kind(
    "http.response",
    "",
    (
        Field("status", _STATUS),
        # Sent by some 1.x applications; HTTP/1.1 clients ignore it, and so do we.
        Field("status_text", _BYTES, b""),
        Field("headers", _HEADERS, []),
        Field("content", _BYTES, b""),
        _MORE_CONTENT,
        # Ours: where the sender of a response in parts hears how far its reader is.
        Field("credit_channel", _CREDIT_CHANNEL.optional(), None),
    ),
)

HTTP_RESPONSE_CHUNK = Kind(
    "http.response chunk",
    "",
    (
        Field("content", _BYTES, b""),
        _MORE_CONTENT,
    ),
)

HTTP_RESPONSE_CREDIT = Kind(
    "http.response.credit",
    _RESPONSE_CREDIT,
    (
        # Ours: bytes of content that the client has taken since the response began, so that a lost message
        # is made good by the next one; and whether nobody takes any more.
        Field("bytes", _COUNT, 0),
        Field("closed", _BOOL, False),
    ),
)

HTTP_DISCONNECT = Kind("http.disconnect", "http.disconnect", (_REPLY_CHANNEL, _PATH))

WEBSOCKET_CONNECT = Kind(
    "websocket.connect",
    "websocket.connect",
    (
        _REPLY_CHANNEL,
        Field("scheme", _STR, "ws"),
        _PATH,
        Field("query_string", _BYTES, b""),
        Field("root_path", _STR, ""),
        Field("headers", _HEADERS),
        _CLIENT,
        _SERVER,
        Field("order", _COUNT),
        # Ours: what the client offers.
        Field("subprotocols", _STRINGS, []),
    ),
)


def _has_one_payload(message: Message) -> str | None:
    if (message.get("text") is None) is (message.get("bytes") is None):
        return (
            "exactly one of 'text' (str) and 'bytes' (bytes) must be given, the other must be None or absent"
        )
    return None


WEBSOCKET_RECEIVE = Kind(
    "websocket.receive",
    "websocket.receive",
    (
        _REPLY_CHANNEL,
        _PATH,
        Field("bytes", _BYTES.optional(), None),
        Field("text", _STR.optional(), None),
        Field("order", _COUNT),
    ),
    _has_one_payload,
)

WEBSOCKET_DISCONNECT = Kind(
    "websocket.disconnect",
    "websocket.disconnect",
    (
        _REPLY_CHANNEL,
        Field("code", _CODE),
        _PATH,
        Field("order", _COUNT),
    ),
)


def _has_no_two_payloads(message: Message) -> str | None:
    if message.get("text") and message.get("bytes"):
        return "'text' and 'bytes' are both given, expected at most one: send two messages"
    return None


WEBSOCKET_SEND = Kind(
    "websocket.send",
    "",
    (
        Field("accept", _BOOL.optional(), None),
        Field("text", _STR.optional(), None),
        Field("bytes", _BYTES.optional(), None),
        Field("close", _CLOSE, False),
        # Ours: the reason of a close, and what is said with the 101 or the denial.
        Field("reason", _STR, ""),
        Field("subprotocol", _STR.optional(), None),
        Field("headers", _HEADERS, []),
        Field("status", _ERROR_STATUS, 403),
        Field("content", _BYTES, b""),
    ),
    _has_no_two_payloads,
)

UDP_RECEIVE = Kind(
    "udp.receive",
    "udp.receive",
    (
        _REPLY_CHANNEL,
        Field("data", _BYTES),
        Field("client", Shape("[str host, int port]", (list, tuple), _is_address)),
        _SERVER,
        # Ours: what the listener was given, for routes.
        Field("path", _STR, "/"),
    ),
)

UDP_SEND = Kind(
    "udp.send",
    "",
    (
        Field("data", _BYTES),
        # Ours: where it goes, if not to whom the message came from.
        Field("address", _ADDRESS, None),
    ),
)

#: Every kind, in the order of the specification.
KINDS = (
    HTTP_REQUEST,
    HTTP_BODY_CHUNK,
    HTTP_RESPONSE,
    HTTP_RESPONSE_CHUNK,
    HTTP_RESPONSE_CREDIT,
    HTTP_DISCONNECT,
    WEBSOCKET_CONNECT,
    WEBSOCKET_RECEIVE,
    WEBSOCKET_DISCONNECT,
    WEBSOCKET_SEND,
    UDP_RECEIVE,
    UDP_SEND,
)
