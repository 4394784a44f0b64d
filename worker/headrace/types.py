"""The words in which consumers are typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace_asgi.envelope import Message as Content

__all__ = ["Consumer", "Content", "Kwargs", "Options"]

#: What answers a message: a function, an instance, or a class whose call makes one and runs it.
Consumer = Callable[..., Any]
#: What a route found for its consumer: the texts of named groups, and whatever a foreign route adds.
Kwargs = dict[str, object]
#: What a management command was given, by option.
Options = dict[str, Any]
