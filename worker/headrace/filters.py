"""The filters of a route: one regular expression per message key, compiled once.

An include consumes the prefix it matched: behind `include(…, path="^/shop")` an inner `path="^/cart/$"` sees
`/cart/`. So a key has a chain of expressions, each matched against what the one before left over. Nothing is
copied but that rest of a string.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .types import Content, Kwargs

__all__ = ["EMPTY", "Filters"]

Chain = tuple[re.Pattern[str], ...]

#: An expression that matches exactly one text: anchored at both ends, no special character between.
_LITERAL = re.compile(r"\^((?:[^\\.^$*+?{}\[\]|()]|\\[^\w\s])*)\$")


class Filters:
    """Compiled filters; `match` is bound to the cheapest way of asking them."""

    __slots__ = ("_items", "_literal", "_path", "match")

    def __init__(self, items: tuple[tuple[str, Chain], ...]) -> None:
        self._items = items
        self._path: Chain = dict(items).get("path", ())
        self._literal: str | None = None
        self.match = self._match_all
        if not items:
            self.match = _match_anything
        elif len(items) == 1 and len(self._path) == 1:
            self._literal = _literal_of(self._path[0])
            self.match = self._match_path if self._literal is None else self._match_literal_path

    @classmethod
    def of(cls, expressions: Mapping[str, object]) -> Filters:
        """Compile the filters of one route. Raises ValueError for a wrong expression or unnamed groups."""
        return cls(tuple((key, (_compiled(key, value),)) for key, value in expressions.items()))

    def then(self, inner: Filters) -> Filters:
        """These filters as an include's, with those of an inner route behind them."""
        if not inner._items:
            return self
        chains = dict(self._items)
        for key, chain in inner._items:
            chains[key] = chains.get(key, ()) + chain
        return Filters(tuple(chains.items()))

    def consumed(self, content: Content) -> tuple[Content, Kwargs] | None:
        """The content without what these filters matched, and their named groups; None for no match."""
        if not self._items:
            return content, {}
        rest = dict(content)
        kwargs: Kwargs = {}
        for key, chain in self._items:
            left = _follow(chain, content.get(key), kwargs)
            if left is None:
                return None
            rest[key] = left
        return rest, kwargs

    def reachable(self, content: Content) -> bool | None:
        """Whether a message with these keys, and unknown others, is matched: True surely, False perhaps,
        None surely not."""
        sure = True
        for key, chain in self._items:
            if key not in content:
                sure = False
            elif _follow(chain, content[key], {}) is None:
                return None
        return sure

    def __str__(self) -> str:
        return " ".join(f"{key}={' + '.join(p.pattern for p in chain)}" for key, chain in self._items)

    def _match_all(self, content: Content) -> Kwargs | None:
        kwargs: Kwargs = {}
        for key, chain in self._items:
            if _follow(chain, content.get(key), kwargs) is None:
                return None
        return kwargs

    def _match_path(self, content: Content) -> Kwargs | None:
        path = content.get("path")
        if type(path) is not str:
            return self._match_all(content)
        found = self._path[0].match(path)
        return None if found is None else found.groupdict()

    def _match_literal_path(self, content: Content) -> Kwargs | None:
        path = content.get("path")
        if type(path) is not str:
            return self._match_all(content)
        return {} if path == self._literal else None


def _match_anything(content: Content) -> Kwargs | None:
    return {}


def _follow(chain: Chain, value: object, kwargs: Kwargs) -> str | None:
    """Match a chain against a value; inner groups win. What is left of the value, None for no match."""
    text = _text(value)
    for pattern in chain:
        if text is None or (found := pattern.match(text)) is None:
            return None
        kwargs.update(found.groupdict())
        text = text[found.end() :]
    return text


def _text(value: object) -> str | None:
    """The text an expression is matched against; None for what never matches."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def _compiled(key: str, value: Any) -> re.Pattern[str]:
    try:
        pattern = re.compile(value.decode("ascii") if isinstance(value, bytes) else value)
    except (re.error, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"The filter {key}={value!r} is no regular expression: {error}") from error
    if not isinstance(pattern.pattern, str):
        raise ValueError(f"The filter {key}={value!r} must be a str, not bytes")
    if pattern.groups != len(pattern.groupindex):
        raise ValueError(
            f"The filter {key}={value!r} has a group without a name; "
            "write (?P<name>…), or (?:…) to group only"
        )
    return pattern


def _literal_of(pattern: re.Pattern[str]) -> str | None:
    if pattern.flags & ~re.UNICODE:
        return None
    found = _LITERAL.fullmatch(pattern.pattern)
    return None if found is None else re.sub(r"\\(.)", r"\1", found[1])


EMPTY = Filters(())
