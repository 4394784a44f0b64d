"""Places: one hash tag on one server. Every key carries its place; a script touches one place.

There is one place per Redis, and one per bucket of a Redis Cluster. Code asks here where something lies and
never assumes that there is only one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from headrace_asgi.errors import ConfigurationError

__all__ = ["KEY_START", "ONLY_PLACE", "Places", "key_start"]

#: How every key begins: the version of the layout, and the hash tag of its place.
KEY_START = "hr1:{"
#: The name of a place that has no others beside it.
ONLY_PLACE = "0"
#: In the place of a place, where processes that name different places must meet.
_WHATEVER_PLACE = "hosts"
#: No braces, which would end the hash tag, and nothing that means something in a glob.
_PREFIX = re.compile(r"[a-zA-Z0-9\-_.:]*", re.ASCII)


def key_start(prefix: str, place: str) -> str:
    """What stands before every key of a place, hash tag included."""
    return f"{KEY_START}{prefix}{'.' if prefix else ''}{place}}}:"


class Places:
    """The places of one layer, and where each name lies."""

    def __init__(
        self, urls: Sequence[str], prefix: str = "", name: str = ONLY_PLACE, is_bucket: bool = False
    ) -> None:
        """Take the URL of the Redis, a prefix that sets this layer apart there, and the place's name.

        `is_bucket` says that the keys of this place are all that may be asked for there.
        Raises ConfigurationError for a prefix that could break out of the hash tag, or no URL.
        """
        if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
            raise ConfigurationError(
                f"prefix must consist of letters, digits, '-', '_', '.' and ':', not {prefix!r}"
            )
        if len(urls) != 1:
            raise ConfigurationError(
                f"hosts must name a Redis, and one layer of several names exactly one, not {len(urls)}"
            )
        self.prefix = prefix
        self.urls = {name: urls[0]}
        self.names = tuple(self.urls)
        self.home = self.names[0]
        #: Where processes meet that may name other hosts, or another number of buckets.
        self.for_hosts = name if is_bucket else _WHATEVER_PLACE

    def label(self, server: str) -> str:
        """What people are told of these places: `server`, and the prefix."""
        return f"{server}, prefix {self.prefix!r}"

    @property
    def written(self) -> str:
        """What names of single-reader channels say of this place; nothing where there is no other."""
        return "" if self.home == ONLY_PLACE else self.home

    def tag(self, place: str) -> str:
        """What stands before every key of a place, hash tag included."""
        return key_start(self.prefix, place)

    def of(self, name: str) -> str:
        """Where the socket, group or single-reader channel `name` lies."""
        return self.home

    def any(self) -> str:
        """A place for a message that belongs to no socket."""
        return self.home
