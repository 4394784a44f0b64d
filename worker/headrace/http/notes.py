"""Notes of a worker to the interface process of a request: said at once, while its consumer still runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace_asgi.contract import Control, Out, Outcome, WorkerPort
from headrace_asgi.control import note
from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.names import is_process_queue, local_part

from ..exceptions import RequestAborted

if TYPE_CHECKING:
    from ..message import Message

__all__ = ["NoteSender"]


class NoteSender:
    """Says notes to the interface process that holds a request; for one thread.

    Its port is opened when it first has something to say: a control entry must not wait for the consumer to
    return, as what the consumer sends does. Other servers than ours understand no notes and get none.
    """

    def __init__(self, message: Message) -> None:
        """Take the request."""
        name = message.content["reply_channel"]
        self._reply_channel = name if is_process_queue(name) else None
        self._layer = message.channel_layer
        self._port: WorkerPort | None = None
        self._outcome = Outcome.SENT

    def say(self, kind: str, **values: object) -> bool:
        """Say a note of `kind`; whether it arrived. Blocks for one round trip.

        Raises RequestAborted if the interface process is gone.
        """
        if self._reply_channel is None:
            return False
        self._outcome = Outcome.SENT
        body = note(kind, local=local_part(self._reply_channel), **values)
        try:
            if self._port is None:
                self._port = self._layer.open_worker_port(self._refused)
            self._port.turn([Control(self._reply_channel, body)], (), 0, 0)
        except LayerUnavailable:
            return False
        if self._outcome is Outcome.GONE:
            raise RequestAborted("the interface server that received the request is gone")
        return self._outcome.accepted

    def _refused(self, item: Out, outcome: Outcome) -> None:
        self._outcome = outcome

    def close(self) -> None:
        """Give the port back."""
        if self._port is not None:
            self._port.close()
