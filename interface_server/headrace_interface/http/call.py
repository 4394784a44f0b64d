"""One request on its way: sends it, carries out what its exchange decides, writes the response.

The call is the `connections.ReplyTarget` behind the request's reply channel. It knows the port, the write
buffer and the connection that owns it, but no reactor: its deadline is `due`, which the connection watches.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Protocol

from headrace_asgi import control, messages
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.limits import DEFAULT_EXPIRY_SECONDS

from ..access_log import escape
from ..context import ServerContext
from ..deadlines import takeable_seconds
from ..write_buffer import WriteBuffer
from .actions import Action
from .credit import ResponseCredit
from .exchange import Event, HttpExchange, RequestState
from .head import Refused
from .parser import Incoming
from .upload import Upload
from .writer import RETRY_AFTER, BadResponse, ResponseWriter, simple_response

__all__ = ["Call", "CallOwner"]

logger = logging.getLogger("headrace.interface")

#: What the access log says of a request whose client left before the answer.
_CLIENT_LEFT = 499

_TEXTS = {
    500: "The application could not answer this request.",
    502: "The application was interrupted while it answered.",
    503: "The server is busy. Please try again in a moment.",
    504: "The application did not answer in time.",
}


class CallOwner(Protocol):
    """The connection, as a call sees it."""

    write_buffer: WriteBuffer

    def call_moved(self) -> None:
        """The call's deadline or its need to pause the client changed."""

    def call_done(self, call: Call, keep_alive: bool) -> None:
        """The response was written, as far as the buffer goes; the connection may be used again or not."""

    def abort(self) -> None:
        """Drop the connection."""


class Call:
    """One request that was taken from the pipeline.

    `due` is when the present state has lasted too long.
    """

    __slots__ = (
        "_context",
        "_credit",
        "_exchange",
        "_local",
        "_message",
        "_moved_at",
        "_owner",
        "_sent_bytes",
        "_status",
        "_upload",
        "_writer",
        "due",
        "incoming",
    )

    def __init__(self, context: ServerContext, owner: CallOwner, incoming: Incoming) -> None:
        self._context = context
        self._owner = owner
        self.incoming = incoming
        self.due = math.inf
        self._exchange = HttpExchange()
        #: When the present state began.
        self._moved_at = math.inf
        self._local = context.connections.add(self)
        #: The request's message, until the layer has it.
        self._message: Message | None = None
        self._upload: Upload | None = None
        self._writer: ResponseWriter | None = None
        #: How the worker of a response in parts hears how far the client is; None if it did not ask for it.
        self._credit: ResponseCredit | None = None
        self._status = 0
        self._sent_bytes = 0

    def begin(self) -> None:
        """Send the request, or hold it while there is no layer. The owner looks at `due` afterwards."""
        head, body, context = self.incoming.head, self.incoming.body, self._context
        message = {
            "reply_channel": context.port.process + self._local,
            "http_version": head.http_version,
            "method": head.method,
            "scheme": head.scheme,
            "path": head.path,
            "query_string": head.query_string,
            "root_path": head.root_path,
            "headers": head.headers,
            "client": head.client,
            "server": head.server,
        }
        if body is not None:
            try:
                message["body"] = body.first()
            except Refused:
                self.shed()
                return
            if body.streamed:
                self._upload = Upload(context, body, self._owner.call_moved, self._upload_lost)
                message["body_channel"] = self._upload.channel
        self._message = messages.HTTP_REQUEST.build(**message)
        self._act(
            self._exchange.happened(Event.BEGIN if context.layer_up else Event.BEGIN_WITHOUT_LAYER),
            tell=False,
        )

    # Called by the inbox.

    @property
    def asked(self) -> tuple[str, float] | None:
        """`http.request`, since it was sent or for ever."""
        state = self._exchange.state
        if state is RequestState.QUEUED or state is RequestState.UNSURE:
            return "http.request", self._moved_at
        return ("http.request", math.inf) if state in (RequestState.RUNNING, RequestState.STREAMING) else None

    def reply(self, message: Message) -> None:
        """A message on the reply channel."""
        self._context.request_watch.heard = True
        self._act(self._exchange.reply(message))

    def group_message(self, message: Message, frame_cache: dict[Any, Any]) -> None:
        """A reply channel that was added to a group: the same as a reply."""
        self.reply(message)

    def control(self, kind: str, body: Message) -> None:
        """A note about the request."""
        self._context.request_watch.heard = True
        if kind == control.RUNNING:
            self._happened(Event.RUNNING)
        elif kind == control.CREDIT:
            count = body.get("bytes")
            if self._upload is not None and isinstance(count, int):
                self._upload.credit(count)
                # Who reads the body has the request; who goes on reading it is not stuck.
                self._happened(Event.READ if count > 0 else Event.RUNNING)
        elif kind == control.CREDIT_ASKED:
            if self._credit is not None:
                self._credit.asked(self._taken_bytes())
        elif kind == control.FAILED:
            status = body.get("status")
            known = isinstance(status, int) and 500 <= status <= 599
            self.failed(status if known else 500, str(body.get("reason", "")))  # type: ignore[arg-type]
        elif kind == control.CLOSE:
            self.failed(500, "a reply was refused, so the response has a gap")

    def abort(self) -> None:
        """Our own code failed for this client."""
        self._owner.abort()

    # Called by the connection.

    @property
    def full(self) -> bool:
        """Whether the client should be kept from sending more of the body."""
        return self._upload is not None and self._upload.full

    def body_arrived(self) -> None:
        """More of a streamed body is there."""
        if self._upload is not None:
            self._upload.go_on()

    def layer_back(self) -> None:
        """A held request can be sent."""
        self._happened(Event.LAYER_BACK)

    def data_lost(self) -> None:
        """The layer came back empty; what it was not given yet is still here."""
        if self._message is None:
            self._happened(Event.DATA_LOST)

    def client_read(self) -> None:
        """The client took some of what waited for it."""
        if self._exchange.state is RequestState.STREAMING:
            self._give_credit()
            self._renew()

    def deadline_passed(self) -> None:
        """`due` has come."""
        if self._exchange.state is RequestState.STREAMING and self._owner.write_buffer.backlogged:
            # The next part is not missed: the client has yet to read this one.
            self._renew()
            return
        self.due = math.inf
        if self._exchange.state is RequestState.QUEUED:
            self._context.late(self._context.request_watch)
        self._exchange.failure = (504, "the application did not send the next part in time")
        self._happened(Event.DEADLINE)

    def client_left(self) -> None:
        """The connection was lost."""
        if not self._exchange.open:
            return
        self._happened(Event.CLIENT_LEFT)
        self.close(tell=True)
        self._log(_CLIENT_LEFT)

    def failed(self, status: int, reason: str) -> None:
        """Nobody will answer (5xx), or the rest of the request will not come (4xx).

        The client reads `reason` only if it is at fault itself.
        """
        self._act(self._exchange.failed(status, reason))

    def answer(self, status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """End the call with a response of our own; the connection is not used again."""
        head, context = self.incoming.head, self._context
        self._owner.write_buffer.write(
            simple_response(
                status,
                text,
                date=context.date(),
                http_version=head.http_version,
                method=head.method,
                headers=headers,
                server=context.settings.server_name,
            )
        )
        self._status, self._sent_bytes = status, len(text) + 1
        context.counters[f"answered_{status}"] += 1
        self._done(keep_alive=False)

    def shed(self) -> None:
        """Answer 503 and close the connection, as the specification says."""
        context = self._context
        why = context.request_watch.text if context.settings.debug else ""
        self.answer(503, why or _TEXTS[503], (RETRY_AFTER,))

    def close(self, tell: bool) -> None:
        """Nothing is for this request any more; with `tell`, the reader of its body hears it."""
        self._exchange.end()
        self._context.connections.remove(self._local)
        self._context.port.leave_groups(self._local)
        self._context.held.pop(self, None)
        self._message = None
        self.due = math.inf
        if self._credit is not None:
            self._context.counters["responses_stopped"] += 1
            self._credit.close()
            self._credit = None
        if self._upload is not None:
            self._upload.stop(tell)
        if self.incoming.body is not None:
            self.incoming.body.close()

    # What the exchange decided.

    def _happened(self, event: Event) -> None:
        self._act(self._exchange.happened(event))

    def _act(self, action: Action | None, tell: bool = True) -> None:
        exchange = self._exchange
        moved = exchange.moved
        if action is not None:
            _DOES[action](self)
        if moved and exchange.open:
            self._moved_at = self._context.timers.now()
            self._renew()
            if tell:
                self._owner.call_moved()

    def _renew(self) -> None:
        """The deadline of the present state begins anew."""
        exchange = self._exchange
        due = self._context.timers.now() + exchange.deadline_seconds(self._context.settings.deadlines)
        # One that is lost waits no longer than it would have waited otherwise.
        self.due = min(due, self.due) if exchange.state is RequestState.LOST else due

    def _send(self) -> None:
        message, context = self._message, self._context
        if message is not None:
            # The process may have taken a new name while this was held.
            message["reply_channel"] = context.port.process + self._local
            seconds = takeable_seconds(context.settings.deadlines.queue)
            context.port.send("http.request", message, seconds, self._outcome)
            context.request_watch.asked()

    def _outcome(self, outcome: Outcome) -> None:
        if outcome.accepted or outcome is Outcome.UNKNOWN:
            self._message = None
            if self.incoming.body is not None:
                self.incoming.body.sent()
            if self._upload is not None:
                self._upload.start()
        if self._exchange.open:
            if outcome is Outcome.FULL:
                self._context.full("http.request")
            self._act(self._exchange.outcome(outcome))
            if self._upload is not None:
                self._owner.call_moved()

    def _hold(self) -> None:
        context = self._context
        if len(context.held) < context.settings.max_held and not context.bodies.crowded:
            context.held[self] = None
            return
        if not context.told_held_full:
            context.told_held_full = True
            logger.warning(
                "As many requests wait for the channel layer as may (%d of them; all bodies have %d bytes): "
                "further ones are answered 503 until it is back.",
                len(context.held),
                context.bodies.memory_bytes,
            )
        self._happened(Event.DEADLINE)

    def _tell_left(self) -> None:
        # Only here: a disconnect for each request that ended well is a message that tells nothing.
        port = self._context.port
        if "http.disconnect" not in port.taken_channels:
            return
        message = messages.HTTP_DISCONNECT.build(
            reply_channel=port.process + self._local, path=self.incoming.head.path
        )
        port.send("http.disconnect", message, DEFAULT_EXPIRY_SECONDS, _ignore)

    def _upload_lost(self) -> None:
        self.failed(502, "a part of the request's body was lost with the layer")

    def _time_out(self) -> None:
        self.answer(504, _TEXTS[504])

    def _fail(self) -> None:
        status, reason = self._exchange.failure
        if status < 500:
            self.answer(status, reason)
            return
        self._complain("is answered %d: %s", status, reason)
        self.answer(status, _TEXTS.get(status, _TEXTS[500]), (RETRY_AFTER,) if status == 503 else ())

    def _abort(self) -> None:
        self._complain("is cut off in the middle of its response: %s", self._exchange.failure[1])
        self._status = self._status or 500
        self._log(self._status)
        self.close(tell=True)
        self._owner.abort()

    def _whole(self) -> None:
        message, context = self._exchange.message, self._context
        writer = self._new_writer()
        status, content = message["status"], message["content"]
        try:
            data = writer.whole(
                status, message["headers"], content, context.date(), context.settings.server_name
            )
        except BadResponse as error:
            self._unwritable(error)
            return
        self._owner.write_buffer.write(data)
        self._status, self._sent_bytes = status, len(content)
        self._done(writer.keep_alive)

    def _start(self) -> None:
        message, context = self._exchange.message, self._context
        if message["credit_channel"] is not None:
            self._credit = ResponseCredit(context, message["credit_channel"])
        self._writer = writer = self._new_writer()
        try:
            data = writer.start(
                message["status"], message["headers"], context.date(), context.settings.server_name
            ) + writer.part(message["content"], last=False)
        except BadResponse as error:
            self._unwritable(error)
            return
        self._status, self._sent_bytes = message["status"], len(message["content"])
        self._owner.write_buffer.write(data)
        self._give_credit()

    def _part(self) -> None:
        self._write_part(last=False)

    def _last(self) -> None:
        writer = self._writer
        if self._write_part(last=True) and writer is not None:
            if self._credit is not None:
                self._credit.end()
                self._credit = None
            self._done(writer.keep_alive)

    def _write_part(self, last: bool) -> bool:
        content, writer, write_buffer = (
            self._exchange.message["content"],
            self._writer,
            self._owner.write_buffer,
        )
        if writer is None:
            return False
        try:
            data = writer.part(content, last)
        except BadResponse as error:
            self._exchange.failure = (500, str(error))
            self._abort()
            return False
        if write_buffer.queued_bytes + len(data) > self._backlog_limit():
            self._context.counters["slow_readers"] += 1
            self._exchange.failure = (500, "its client reads too slowly and too much is waiting")
            self._tell_left()
            self._abort()
            return False
        self._sent_bytes += len(content)
        write_buffer.write(data)
        if not last:
            self._give_credit()
        return True

    def _give_credit(self) -> None:
        if self._credit is not None:
            self._credit.taken(self._taken_bytes())

    def _taken_bytes(self) -> int:
        """Bytes of the response's content that left this process; framing counts as content meanwhile."""
        return max(0, self._sent_bytes - self._owner.write_buffer.waiting_bytes)

    def _backlog_limit(self) -> int:
        settings = self._context.settings
        if self._credit is None and self._context.backlog.bytes > settings.max_backlog_bytes:
            return settings.max_pending_bytes
        return settings.max_response_backlog_bytes

    def _unwritable(self, error: BadResponse) -> None:
        """A response that would split or lie is not written; nothing was so far."""
        self._complain("is answered 500: %s", error)
        self.answer(500, _TEXTS[500])

    def _new_writer(self) -> ResponseWriter:
        head = self.incoming.head
        # A request that was not read to its end leaves bytes behind that are no next request.
        keep_alive = head.keep_alive and not self._context.draining and self.incoming.complete
        return ResponseWriter(head.method, head.http_version, keep_alive)

    def _done(self, keep_alive: bool) -> None:
        self.close(tell=True)
        self._log(self._status)
        self._owner.call_done(self, keep_alive)

    def _complain(self, what: str, *args: object) -> None:
        head = self.incoming.head
        logger.warning("%s %s from %s " + what, head.method, escape(head.path), head.client, *args)

    def _log(self, status: int) -> None:
        if self._context.access_log is not None:
            self._context.access_log.request(self.incoming.head, status, self._sent_bytes)


_DOES: dict[Action, Callable[[Call], None]] = {
    Action.SEND: Call._send,
    Action.HOLD: Call._hold,
    Action.WHOLE: Call._whole,
    Action.START: Call._start,
    Action.PART: Call._part,
    Action.LAST: Call._last,
    Action.SHED: Call.shed,
    Action.TIMEOUT: Call._time_out,
    Action.FAIL: Call._fail,
    Action.ABORT: Call._abort,
    Action.TELL_LEFT: Call._tell_left,
}


def _ignore(outcome: Outcome) -> None:
    """Nobody waits for this."""
