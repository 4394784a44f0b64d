"""Consumers are called, never awaited: an `async def` among them would do nothing, so it is refused."""

from __future__ import annotations

import inspect

from django.core.exceptions import ImproperlyConfigured

__all__ = ["AsyncConsumer", "require_synchronous"]


class AsyncConsumer(ImproperlyConfigured):
    """A consumer, or a method of a class consumer, is an `async` function."""


def require_synchronous(consumer: object, name: str = "") -> None:
    """Raise AsyncConsumer for an async function, or a class consumer with an async method that is called.

    `name` is what the text calls it. Helpers of a class that nobody here calls may be async.
    """
    if isinstance(consumer, type):
        found = [method for method in _called_methods(consumer) if _is_async(getattr(consumer, method, None))]
        if found:
            raise AsyncConsumer(
                f"{consumer.__module__}.{consumer.__qualname__} has async methods ({', '.join(found)}); "
                "consumers are synchronous: write them with def"
            )
    elif _is_async(consumer) or (callable(consumer) and _is_async(type(consumer).__call__)):
        raise AsyncConsumer(
            f"The consumer {name or repr(consumer)} is an async function; consumers are synchronous: "
            "wrap it in asgiref.sync.async_to_sync"
        )


def _called_methods(consumer: type) -> list[str]:
    """The methods that messages reach: those that are mapped to channels, and what our own classes call."""
    names = set(getattr(consumer, "method_mapping", {}).values())
    for base in consumer.__mro__:
        if base.__module__.startswith("headrace.generic."):
            names.update(name for name in vars(base) if not name.startswith("__"))
    return sorted(names)


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
