"""How an interface process is, for probes and for people: nothing that is secret, and nothing of a client."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from headrace_asgi import __version__

from .context import ServerContext

__all__ = ["ProcessState"]


class ProcessState:
    """Reads what the contexts of all places know; changes nothing. No call blocks."""

    #: Where it listens; empty until all of its endpoints do.
    addresses: Sequence[str] = ()
    #: Asked for the certificates that TLS is spoken with, as plain values.
    certificates: Callable[[], Sequence[dict[str, Any]]] = tuple

    def __init__(self, context: ServerContext, wall_clock: Callable[[], float] = time.time) -> None:
        """Take any context of the process, and what tells the time of day in seconds."""
        self._context = context
        self._since = wall_clock()
        self._begun = context.clock.seconds()

    @property
    def has_started(self) -> bool:
        """Whether it listens, and some place of the layer has known it: once true, true until the end."""
        return bool(self.addresses) and any(place.was_up for place in self._context.places)

    @property
    def unready(self) -> str:
        """Why no new clients should come here; empty if they may."""
        if self._context.draining:
            return "it is draining"
        if not self.addresses:
            return "it does not listen yet"
        if not any(place.layer_up for place in self._context.places):
            return (
                "the channel layer is away" if self.has_started else "it is not registered at the layer yet"
            )
        return ""

    def as_dict(self) -> dict[str, Any]:
        """All of it, as plain values that JSON has. Seconds are whole ones."""
        context = self._context
        return {
            "version": __version__,
            "pid": os.getpid(),
            "since": datetime.fromtimestamp(self._since, UTC).isoformat(timespec="seconds"),
            "up_seconds": int(context.clock.seconds() - self._begun),
            "ready": not self.unready,
            "unready": self.unready,
            "draining": context.draining,
            "listening": list(self.addresses),
            "certificates": list(self.certificates()),
            "connections": len(context.http_shells),
            "websockets": context.socket_count,
            "requests": sum(_requests(place) for place in context.places),
            "bodies_memory_bytes": context.bodies.memory_bytes,
            "bodies_disk_bytes": context.bodies.disk_bytes,
            "counters": dict(sorted(context.counters.items())),
            # They take turns in the list that is asked for the next client.
            "places": sorted(map(_place, context.places), key=lambda each: str(each["process"])),
        }

    def as_line(self) -> str:
        """All of it as JSON on one line of ASCII."""
        return json.dumps(self.as_dict())


def _requests(place: ServerContext) -> int:
    return len(place.connections) - place.connections.socket_count


def _place(place: ServerContext) -> dict[str, Any]:
    return {
        "process": place.port.process,
        "layer": place.port.label,
        "up": place.layer_up,
        "websockets": place.connections.socket_count,
        "requests": _requests(place),
        "held_for_the_layer": len(place.held),
    }
