"""The base of class consumers: a class whose instances each handle one message."""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import ClassVar

from ..auth import channel_session_user
from ..message import Message
from ..routing import RouteClass
from ..sessions import channel_session
from ..types import Consumer

__all__ = ["BaseConsumer"]


class BaseConsumer:
    """Calls one of its methods for each channel it names; a new instance for every message.

    Subclasses set `method_mapping`, and may ask for `channel_session` or `channel_session_user`. What the
    class flags wrap around a method is put together when the class is made, not for each message.
    """

    #: Channel name -> name of the method that handles its messages.
    method_mapping: ClassVar[Mapping[str, str]] = {}
    channel_session: ClassVar[bool] = False
    channel_session_user: ClassVar[bool] = False
    #: True, "slight" or False: how the layer orders the messages of one socket.
    headrace_ordering: ClassVar[bool | str] = False

    _handlers: ClassVar[dict[str, Consumer]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls._handlers = {
            channel: cls._decorated(channel, _calling(name)) for channel, name in cls.method_mapping.items()
        }

    def __init__(self, message: Message, **kwargs: object) -> None:
        """Handle a message: making an instance runs it, so that the class itself is the consumer."""
        self.message = message
        self.kwargs = kwargs
        self.dispatch(message, **kwargs)

    @classmethod
    def channel_names(cls) -> set[str]:
        """The channels this class has methods for."""
        return set(cls.method_mapping)

    @classmethod
    def as_route(cls, attrs: dict[str, object] | None = None, **filters: object) -> RouteClass:
        """A route to this class, or with `attrs` to a subclass that has these attributes."""
        consumer = type(cls.__name__, (cls,), {"__module__": cls.__module__, **attrs}) if attrs else cls
        return RouteClass(consumer, **filters)

    def get_handler(self, message: Message, **kwargs: object) -> Consumer:
        """The method for a message, with what the class flags wrap around it. KeyError without one."""
        return MethodType(self._handlers[message.channel_name], self)

    def dispatch(self, message: Message, **kwargs: object) -> object:
        """Call the method for the message."""
        return self.get_handler(message, **kwargs)(message, **kwargs)

    @classmethod
    def _decorated(cls, channel: str, method: Consumer) -> Consumer:
        """What is called for a message of `channel`, given what calls its method."""
        if cls.channel_session_user:
            return channel_session_user(method)
        return channel_session(method) if cls.channel_session else method


def _calling(name: str) -> Consumer:
    # Looked up on the instance, so that an attribute set on it, or patched by a test, counts.
    def call(self: BaseConsumer, message: Message, **kwargs: object) -> object:
        return getattr(self, name)(message, **kwargs)

    call.__name__ = name
    return call
