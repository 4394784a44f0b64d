"""Says, once of each channel, that code sends to one that no worker has ever taken: it may be misspelt.

What workers announce is asked of the layer when a process first sends to a channel, and not on the way of
later messages. What consumers send to is looked at by the thread that watches them: they wait for nothing.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable

from headrace_asgi.contract import ChannelLayer
from headrace_asgi.errors import HeadraceError

from .log import worker_log

__all__ = ["LOOK_SECONDS", "look", "look_at_noted", "note", "settled"]

#: Seconds between two questions of one process: what is new in between is looked at with a later send.
LOOK_SECONDS = 10.0
#: Channels that are remembered; who makes up more names than this is not told of them.
_MOST = 10_000

#: Channels that nothing is left to say of: they have takers, or it was said that they have none.
settled: set[str] = set()
_look_at = 0.0
#: Channels that consumers sent to, and their layers, until they are looked at.
_noted: dict[str, ChannelLayer] = {}


def note(layer: ChannelLayer, channel: str) -> None:
    """A consumer sends to a shared channel that is not `settled`: `look_at_noted` sees to it."""
    if "?" not in channel and "!" not in channel and len(_noted) < _MOST:
        _noted[channel] = layer


def look_at_noted() -> None:
    """`look` at what consumers sent to."""
    for channel, layer in list(_noted.items()):
        look(layer, channel)
        if channel in settled:
            _noted.pop(channel, None)


def look(layer: ChannelLayer, channel: str) -> None:
    """See whether anybody takes a shared channel that is not `settled`, and warn if nobody ever did.

    One round trip every `LOOK_SECONDS` at most; a layer that is away is asked later. Never raises.
    """
    global _look_at
    if "?" in channel or "!" in channel:  # one process reads it, and nobody announces that
        return
    if layer.local_only or len(settled) >= _MOST:
        settled.add(channel)
        return
    now = time.monotonic()
    if now < _look_at:
        return
    _look_at = now + LOOK_SECONDS
    try:
        taken = layer.takers().keys()
    except HeadraceError:
        return
    settled.update(taken)
    if channel not in settled:
        settled.add(channel)
        worker_log.warning("%s", _warning(layer, channel, taken))


def _warning(layer: ChannelLayer, channel: str, taken: Iterable[str]) -> str:
    near = difflib.get_close_matches(channel, taken, n=1)
    meant = f"did you mean {near[0]!r}?" if near else "is it in the routing of a worker, or misspelt?"
    return f"A message was sent to {channel!r} at {layer.label}, which no worker has ever taken: {meant}"
