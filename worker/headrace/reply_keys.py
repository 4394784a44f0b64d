"""Tells the author of a consumer of a key that no client understands.

The interface server refuses such a reply, and its log is not where the author looks.
"""

from __future__ import annotations

import difflib
import logging

from headrace_asgi import messages
from headrace_asgi.names import PROCESS_PREFIX

from . import outbox
from .log import Seldom
from .types import Content

__all__ = ["look_at"]

_REPLIES = (messages.HTTP_RESPONSE, messages.HTTP_RESPONSE_CHUNK, messages.WEBSOCKET_SEND)
_KNOWN = frozenset(key for kind in _REPLIES for key in kind.fields)
_seldom = Seldom()


def look_at(name: str, content: Content) -> None:
    """Log what is wrong with a message to the channel `name`, if it is a client's. Never raises."""
    if name.startswith(PROCESS_PREFIX) and "!" in name and not content.keys() <= _KNOWN:
        _tell(name, content)


def _tell(name: str, content: Content) -> None:
    collecting = outbox.current()
    speaker = "Code outside of consumers" if collecting is None else collecting.origin
    for key in content.keys() - _KNOWN:
        near = difflib.get_close_matches(str(key), _KNOWN, n=1)
        _seldom.log(
            f"{speaker} {key!r:.100}",
            logging.WARNING,
            "%s sent the unknown key %.100r to %s%s. "
            "The interface server drops the message on a WebSocket, and answers a request with 500",
            speaker,
            key,
            name,
            f": did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(_KNOWN))}",
        )
