"""Places: one hash tag on one server. Every key carries its place; a script touches one place.

There is one place per Redis. Code asks here where something lies and never assumes that there is only one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from headrace_asgi.errors import ConfigurationError

__all__ = ["KEY_START", "Places"]

#: How every key begins: the version of the layout, and the hash tag of its place.
KEY_START = "hr1:{"
#: No braces, which would end the hash tag, and nothing that means something in a glob.
_PREFIX = re.compile(r"[a-zA-Z0-9\-_.:]*", re.ASCII)


class Places:
    """The places of one layer, and where each name lies."""

    def __init__(self, urls: Sequence[str], prefix: str = "") -> None:
        """Take one URL per place, and a prefix that sets this layer apart on a shared Redis.

        Raises ConfigurationError for a prefix that could break out of the hash tag, or no URL.
        """
        if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
            raise ConfigurationError(
                f"prefix must consist of letters, digits, '-', '_', '.' and ':', not {prefix!r}"
            )
        if len(urls) != 1:
            raise ConfigurationError(
                f"hosts must name exactly one Redis, not {len(urls)}: several are not in this version"
            )
        self.prefix = prefix
        self.urls = {str(number): url for number, url in enumerate(urls)}
        self.names = tuple(self.urls)
        self.home = self.names[0]

    def label(self, server: str) -> str:
        """What people are told of these places: `server`, and the prefix."""
        return f"{server}, prefix {self.prefix!r}"

    def tag(self, place: str) -> str:
        """What stands before every key of a place, hash tag included."""
        return f"{KEY_START}{self.prefix}{'.' if self.prefix else ''}{place}}}:"

    def of(self, name: str) -> str:
        """Where the socket, group or single-reader channel `name` lies."""
        return self.home

    def any(self) -> str:
        """A place for a message that belongs to no socket."""
        return self.home
