"""How a decorator finds the message of the consumer it stands around: a function's first argument, a method's
second."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps

from .message import Message
from .synchronous import require_synchronous
from .types import Consumer

__all__ = ["Around", "Run", "decorated", "message_of"]

#: Calls the consumer with what it was called with.
Run = Callable[[], object]
Around = Callable[[Message, Run], object]


def message_of(args: tuple[object, ...]) -> Message:
    """The message among the first two positional arguments of a consumer; ValueError if there is none."""
    for argument in args[:2]:
        if isinstance(argument, Message):
            return argument
    raise ValueError(
        "A decorated consumer must be called with a Message as its first argument, a method as its second"
    )


def decorated(consumer: Consumer, around: Around) -> Consumer:
    """A consumer that calls `around(message, run)`, which calls `run()` for the one given.

    What is marked on the consumer, such as its ordering, is marked on the result. Raises AsyncConsumer for
    an async function, which could not be seen behind the decorator.
    """
    require_synchronous(consumer)

    @wraps(consumer)
    def inner(*args: object, **kwargs: object) -> object:
        return around(message_of(args), partial(consumer, *args, **kwargs))

    return inner
