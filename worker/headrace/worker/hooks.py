"""What happens around every consumer, as before/after pairs. One feature, one hook.

Befores run in order, afters in reverse. An after runs whatever the consumer raised, if its before ran.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import connections

from ..message import Message
from ..signals import consumer_finished, consumer_started
from ..types import Content

__all__ = ["CallbackHook", "DatabaseHook", "Hook", "SignalHook", "default_hooks"]

#: A database connection that was checked this recently is not checked again, in seconds: messages of one take
#: follow each other within milliseconds, CONN_MAX_AGE counts whole seconds.
RECENTLY_SECONDS = 0.1


class Hook:
    """Does nothing. Both methods run in the consumer's thread."""

    def before(self, message: Message) -> None:
        """Called before the consumer. What it raises fails the message as if the consumer had raised it."""

    def after(self, message: Message, error: BaseException | None) -> None:
        """Called after the consumer, with what it raised. What this raises is logged."""


class SignalHook(Hook):
    """`consumer_started` and `consumer_finished`, as in Channels 1.x."""

    def before(self, message: Message) -> None:
        """Tell receivers, if there are any."""
        if consumer_started.receivers:
            consumer_started.send(sender=type(self), environ={})

    def after(self, message: Message, error: BaseException | None) -> None:
        """Tell receivers, if there are any."""
        if consumer_finished.receivers:
            consumer_finished.send(sender=type(self))


class DatabaseHook(Hook):
    """Django's `close_old_connections`, before and after: no consumer meets a connection the server closed.

    Django's request signals do the same inside the HTTP handler; a consumer of requests may be another.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._checked = 0.0

    def before(self, message: Message) -> None:
        """Close what is too old or broken, unless that was looked at just now."""
        if self._clock() - self._checked > RECENTLY_SECONDS:
            _close_old()

    def after(self, message: Message, error: BaseException | None) -> None:
        """Close what is too old or broken."""
        _close_old()
        self._checked = self._clock()


class CallbackHook(Hook):
    """Calls `callback(channel, content)` before each consumer, for `-v 2` and embedders."""

    def __init__(self, callback: Callable[[str, Content], None]) -> None:
        self._callback = callback

    def before(self, message: Message) -> None:
        """Call back."""
        self._callback(message.channel_name, message.content)


def default_hooks(callback: Callable[[str, Content], None] | None = None) -> list[Hook]:
    """The hooks of one worker thread."""
    hooks: list[Hook] = [SignalHook(), DatabaseHook()]
    return hooks if callback is None else [CallbackHook(callback), *hooks]


def _close_old() -> None:
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()
