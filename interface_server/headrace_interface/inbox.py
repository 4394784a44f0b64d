"""What the layer brings: replies, group messages and notes, each to the client it is for.

Implements `InterfaceReceiver`. Nothing raises: what fails for one client ends that client, with a log line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from headrace_asgi.close_codes import SERVICE_RESTART, TRY_AGAIN_LATER
from headrace_asgi.contract import OpenSocket
from headrace_asgi.control import CREDIT_ASKED
from headrace_asgi.envelope import Message
from headrace_asgi.messages import WEBSOCKET_RECEIVE

from .connections import ReplyTarget, SocketShell
from .context import ServerContext
from .deadlines import OFF, spoken
from .http.credit import tell_closed

__all__ = ["Inbox"]

logger = logging.getLogger("headrace.interface")


class Inbox:
    """Routes what the port hears to the clients of `context.connections`."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._grace: Any = None
        self._told = False

    def reply(self, local: str, message: Message) -> None:
        """A message for one client; one for a client that is gone is counted."""
        client = self._context.connections.get(local)
        if client is None:
            self._context.counters["discarded"] += 1
            tell_closed(self._context, message.get("credit_channel"))
            return
        try:
            client.reply(message)
        except Exception:
            self._broken(client, "a reply")

    def group_message(self, group: str, members: Sequence[str], message: Message) -> None:
        """One message for many clients, with one cache for what they build of it."""
        get = self._context.connections.get
        frame_cache: dict[Any, Any] = {}
        for local in members:
            client = get(local)
            if client is None:
                self._context.counters["discarded"] += 1
                continue
            try:
                client.group_message(message, frame_cache)
            except Exception:
                self._broken(client, f"a message of group {group}")

    def control(self, kind: str, local: str, body: Message) -> None:
        """A note about one client."""
        client = self._context.connections.get(local)
        if client is None:
            self._context.counters["discarded"] += 1
            if kind == CREDIT_ASKED:
                tell_closed(self._context, body.get("channel"))
            return
        try:
            client.control(kind, body)
        except Exception:
            self._broken(client, f"a note ({kind})")

    def layer_lost(self, reason: str) -> None:
        """Keep what is open; new requests wait, and after the grace sockets are closed 1013."""
        context = self._context
        first = not self._told
        self._told = True
        if not context.layer_up and not first:
            return
        context.layer_up = False
        context.counters["layer_lost"] += 1
        grace = context.settings.deadlines.layer_grace
        logger.warning(
            "The channel layer cannot be reached (%s). %s %s, open WebSockets %s; it is tried again until it "
            "answers.",
            reason,
            "New requests wait" if len(context.places) == 1 else "New requests go elsewhere, or wait",
            spoken(context.settings.deadlines.layer),
            spoken(grace),
        )
        if grace != OFF and self._grace is None:
            self._grace = context.clock.callLater(grace, self._grace_over)

    def layer_back(self) -> None:
        """Send what waited."""
        context = self._context
        if self._told:
            logger.warning("The channel layer%s is back.", context.named)
        self._told = True
        context.layer_up = context.was_up = True
        context.accepting = True
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        context.told_held_full = False
        held, context.held = context.held, {}
        for shell in held:
            self._each(shell, shell.layer_back)
        context.waiting_room.layer_back()

    def fenced(self) -> None:
        """Others told our disconnects: the sockets must not live on."""
        logger.error(
            "This process stood still for so long that others declared it dead: all its WebSockets are "
            "closed with 1012 and it goes on under a new name."
        )
        self._close(self._context.connections.sockets(), SERVICE_RESTART, "server restarted")

    def is_open(self, local: str) -> bool:
        """Whether this client is still there."""
        return self._context.connections.get(local) is not None

    def open_sockets(self) -> Iterable[OpenSocket]:
        """The sockets whose disconnect is still owed."""
        return [
            OpenSocket(shell.local, shell.path, *shell.progress)
            for shell in self._context.connections.sockets()
            if shell.registered
        ]

    def level(self, channel: str, sent: int, waiting: int, capacity: int) -> None:
        """How full a channel is; that of frames decides who may go on."""
        if channel == WEBSOCKET_RECEIVE.channel:
            self._context.waiting_room.level(sent, waiting, capacity)

    def data_lost(self) -> None:
        """Requests that no worker had taken will not be answered: say so as soon as that is sure."""
        requests = self._context.connections.requests()
        logger.error(
            "The channel layer%s lost its data. Of %d open requests, those that no worker has taken are "
            "answered 503; WebSockets stay open.",
            self._context.named,
            len(requests),
        )
        for request in requests:
            self._each(request, request.data_lost)

    def entries_lost(self, count: int) -> None:
        """Any client may have missed one: who relies on their order must not go on."""
        ordered = [shell for shell in self._context.connections.sockets() if shell.progress[1]]
        self._context.counters["entries_lost"] += count
        logger.error(
            "%d messages for clients of this process were lost with a connection to the channel layer%s. %d "
            "ordered WebSockets may have missed one and are closed with 1013; a request whose answer was "
            "among them gets 504 in its time.",
            count,
            self._context.named,
            len(ordered),
        )
        self._close(ordered, TRY_AGAIN_LATER, "messages were lost")

    def stop(self) -> None:
        """Cancel what is scheduled."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _grace_over(self) -> None:
        self._grace = None
        self._context.accepting = False
        count = self._context.connections.socket_count
        logger.error(
            "The channel layer%s is still away: %d WebSockets are closed with 1013.",
            self._context.named,
            count,
        )
        self._close(self._context.connections.sockets(), TRY_AGAIN_LATER, "service unavailable")

    def _close(self, sockets: Iterable[SocketShell], code: int, reason: str) -> None:
        for shell in sockets:
            self._each(shell, lambda shell=shell: shell.close(code, reason))  # type: ignore[misc]

    def _each(self, client: ReplyTarget, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception:
            self._broken(client, "a change of the layer")

    def _broken(self, client: ReplyTarget, what: str) -> None:
        self._context.counters["client_errors"] += 1
        logger.exception("Handling %s failed; this client's connection is dropped.", what)
        try:
            client.abort()
        except Exception:
            logger.exception("Dropping that connection failed as well.")
