"""What one worker thread runs right now, for those that watch it."""

from __future__ import annotations

from headrace_asgi.contract import Delivery

__all__ = ["Activity", "named"]


class Activity:
    """What one worker thread runs: a delivery and when it was started, or None. Only that thread writes."""

    __slots__ = ("running", "thread_id")

    def __init__(self) -> None:
        self.running: tuple[Delivery, float] | None = None
        #: Of the thread that runs consumers, to find out where it is; 0 if nobody said.
        self.thread_id = 0


def named(delivery: Delivery) -> str:
    """A delivery for people: its channel, path and client."""
    path, reply_channel = delivery.message.get("path"), delivery.message.get("reply_channel")
    details = [f"path {path!r}"] if path is not None else []
    details += [f"reply channel {reply_channel!r}"] if reply_channel is not None else []
    return f"A message on {delivery.channel}" + (f" ({', '.join(details)})" if details else "")
