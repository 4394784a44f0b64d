"""One request on its way: sends it, carries out what its exchange decides, writes the response.

The call is the `connections.ReplyTarget` behind the request's reply channel. It knows the port and the stream
that the request came on, but no reactor: its deadline is `due`, which the stream watches.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from headrace_asgi import control, messages
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.errors import BadMessage
from headrace_asgi.limits import DEFAULT_EXPIRY_SECONDS

from ..access_log import escape
from ..context import ServerContext
from ..deadlines import takeable_seconds
from ..files.answer import Wanted
from ..files.file_call import FileCall
from ..files.mounts import mount_of, name_below, undecoded_path
from ..files.redirect import redirected
from .actions import (
    AnswerError,
    Await,
    CutOff,
    GiveCredit,
    Hold,
    Hurry,
    Last,
    LetGo,
    NoteFull,
    NoteLate,
    Part,
    PassOn,
    SendRequest,
    Shed,
    Start,
    TellLeft,
    TimeOut,
    Whole,
)
from .credit import ResponseCredit, tell_closed
from .exchange import Actions, Event, HttpExchange, RequestState
from .head import Framing, Refused, RequestHead
from .parser import Incoming
from .stream import Stream, StreamCall
from .upload import Upload
from .writer import RETRY_AFTER, simple_response

__all__ = ["Call", "call_for"]

logger = logging.getLogger("headrace.interface")

#: Looked up once: Python 3.11 takes as long for a member of an enumeration as for a call.
_STREAMING = RequestState.STREAMING

#: What the access log says of a request whose client left before the answer.
_CLIENT_LEFT = 499

_TEXTS = {
    500: "The application could not answer this request.",
    502: "The application was interrupted while it answered.",
    503: "The server is busy. Please try again in a moment.",
    504: "The application did not answer in time.",
}


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
        "_sent_bytes",
        "_status",
        "_stream",
        "_upload",
        "due",
        "incoming",
    )

    def __init__(self, context: ServerContext, stream: Stream, incoming: Incoming) -> None:
        self._context = context
        self._stream = stream
        self.incoming = incoming
        self.due = math.inf
        self._exchange = HttpExchange(incoming.head.method, incoming.head.http_version)
        #: When the present state began.
        self._moved_at = math.inf
        self._local = context.connections.add(self)
        #: The request's message, until the layer has it.
        self._message: Message | None = None
        self._upload: Upload | None = None
        #: How the worker of a response in parts hears how far the client is; None if it did not ask for it.
        self._credit: ResponseCredit | None = None
        self._status = 0
        self._sent_bytes = 0

    def begin(self) -> None:
        """Send the request, or hold it while there is no layer. The stream looks at `due` afterwards."""
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
                self.turn_away()
                return
            if body.streamed:
                self._upload = Upload(context, body, self._stream.call_moved, self._upload_lost)
                message["body_channel"] = self._upload.channel
        self._message = messages.HTTP_REQUEST.build(**message)
        event = Event.BEGIN if context.layer_up else Event.BEGIN_WITHOUT_LAYER
        self._act(self._exchange.happened(event), tell=False)

    @property
    def awaits_layer(self) -> bool:
        """Whether the layer has yet to say whether it took the request, or is away."""
        return self._message is not None

    def as_plain(self) -> Message | None:
        """What `resumed` needs; None for a request that cannot be handed over as it is now."""
        exchange, credit = self._exchange.as_plain(), self._credit and self._credit.as_plain()
        half_sent = self._message is not None or self._upload is not None or not self.incoming.complete
        if exchange is None or half_sent or (self._credit is not None and credit is None):
            return None
        return {
            "local": self._local,
            "head": self.incoming.head.as_plain(),
            "exchange": exchange,
            "credit": credit,
            "moved_at": self._moved_at,
            "due": self.due,
            "status": self._status,
            "sent_bytes": self._sent_bytes,
        }

    @classmethod
    def resumed(cls, context: ServerContext, stream: Stream, plain: Message) -> Call:
        """The call that another image of the process had. The stream looks at `due` afterwards."""
        call = cls(context, stream, Incoming(RequestHead.from_plain(plain["head"]), Framing(), None))
        context.connections.remove(call._local)
        call._local = plain["local"]
        context.connections.resume(call._local, call)
        call._exchange.resume(plain["exchange"])
        if plain["credit"] is not None:
            call._credit = ResponseCredit.resumed(context, plain["credit"])
        call._moved_at, call.due = plain["moved_at"], plain["due"]
        call._status, call._sent_bytes = plain["status"], plain["sent_bytes"]
        return call

    def turn_away(self) -> None:
        """Answer 503 without asking anybody."""
        self._happened(Event.TURNED_AWAY)

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
        exchange, context = self._exchange, self._context
        if exchange.state is _STREAMING:
            room_bytes = self._backlog_limit() - self._stream.write_buffer.queued_bytes
            self._act(exchange.part(message, room_bytes))
        elif (wanted := self._redirected(message)) is not None:
            self._act(exchange.redirected(wanted, message.get("credit_channel")))
        else:
            # A request that was not read to its end leaves bytes behind that are no next request.
            keep_alive = self.incoming.head.keep_alive and not context.draining and self.incoming.complete
            self._act(exchange.response(message, keep_alive, context.date(), context.settings.server_name))

    def _redirected(self, message: Message) -> Wanted | None:
        """The file that a response names; none if the response breaks the specification."""
        settings = self._context.settings
        if not settings.internal and settings.sendfile_root is None:
            return None
        try:
            checked = messages.HTTP_RESPONSE.check(message)
        except BadMessage:
            return None
        return redirected(settings, checked["status"], checked["headers"])

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
        self._stream.abort()

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
        """The client took some of what waited for it. The stream looks at `due` afterwards."""
        self._act(self._exchange.happened(Event.CLIENT_READ), tell=False)

    def deadline_passed(self) -> None:
        """`due` has come."""
        self.due = math.inf
        self._act(self._exchange.deadline(self._stream.write_buffer.backlogged))

    def client_left(self) -> None:
        """The connection was lost."""
        self._happened(Event.CLIENT_LEFT)

    def failed(self, status: int, reason: str) -> None:
        """Nobody will answer (5xx), or the rest of the request will not come (4xx).

        The client reads `reason` only if it is at fault itself.
        """
        self._act(self._exchange.failed(status, reason))

    # Carrying out what the exchange decided.

    def _happened(self, event: Event) -> None:
        self._act(self._exchange.happened(event))

    def _act(self, actions: Actions, tell: bool = True) -> None:
        for action in actions:
            _DOES[action.__class__](self, action)
        if tell and actions and self._exchange.open:
            self._stream.call_moved()

    def _wait(self, action: Await) -> None:
        self._moved_at = now = self._context.timers.now()
        self.due = now + getattr(self._context.settings.deadlines, action.deadline)

    def _hurry(self, action: Hurry) -> None:
        self._moved_at = now = self._context.timers.now()
        self.due = min(self.due, now + action.seconds)

    def _send(self, action: SendRequest) -> None:
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
        self._act(self._exchange.outcome(outcome))
        if self._upload is not None and self._exchange.open:
            self._stream.call_moved()

    def _hold(self, action: Hold) -> None:
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
        self.turn_away()

    def _note_full(self, action: NoteFull) -> None:
        self._context.full("http.request")

    def _note_late(self, action: NoteLate) -> None:
        self._context.late(self._context.request_watch)

    def _tell_left(self, action: TellLeft) -> None:
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

    def _whole(self, action: Whole) -> None:
        self._stream.write_buffer.write(action.data)
        self._status, self._sent_bytes = action.status, action.content_bytes
        self._done(action.keep_alive)

    def _start(self, action: Start) -> None:
        if action.credit_channel is not None:
            self._credit = ResponseCredit(self._context, action.credit_channel)
        self._status, self._sent_bytes = action.status, action.content_bytes
        self._stream.write_buffer.write(action.data)

    def _part(self, action: Part) -> None:
        self._sent_bytes += action.content_bytes
        self._stream.write_buffer.write(action.data)

    def _last(self, action: Last) -> None:
        self._sent_bytes += action.content_bytes
        self._stream.write_buffer.write(action.data)
        if self._credit is not None:
            self._credit.end()
            self._credit = None
        self._done(action.keep_alive)

    def _pass_on(self, action: PassOn) -> None:
        tell_closed(self._context, action.credit_channel)
        self._let_go()
        self._stream.call_replaced(FileCall(self._context, self._stream, self.incoming, action.wanted))

    def _shed(self, action: Shed) -> None:
        context = self._context
        why = context.request_watch.text if context.settings.debug else ""
        # The connection is closed, as the specification says.
        self._answer(503, why or _TEXTS[503], (RETRY_AFTER,))

    def _time_out(self, action: TimeOut) -> None:
        self._answer(504, _TEXTS[504])

    def _fail(self, action: AnswerError) -> None:
        status, reason = action.status, action.reason
        tell_closed(self._context, action.credit_channel)
        if status < 500:
            self._answer(status, reason)
            return
        self._complain("is answered %d: %s", status, reason)
        self._answer(status, _TEXTS.get(status, _TEXTS[500]), (RETRY_AFTER,) if status == 503 else ())

    def _answer(self, status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """End with a response of our own; the connection is not used again."""
        head, context = self.incoming.head, self._context
        self._stream.write_buffer.write(
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

    def _abort(self, action: CutOff) -> None:
        if action.slow_reader:
            self._context.counters["slow_readers"] += 1
        self._complain("is cut off in the middle of its response: %s", action.reason)
        self._let_go()
        self._log(self._status)
        self._stream.abort()

    def _leave(self, action: LetGo) -> None:
        self._let_go()
        self._log(_CLIENT_LEFT)

    def _done(self, keep_alive: bool) -> None:
        self._let_go()
        self._log(self._status)
        self._stream.call_done(self, keep_alive)

    def _let_go(self) -> None:
        """Nothing is for this request any more, and the reader of its body hears it."""
        context = self._context
        context.connections.remove(self._local)
        context.port.leave_groups(self._local)
        context.held.pop(self, None)
        self._message = None
        self.due = math.inf
        if self._credit is not None:
            context.counters["responses_stopped"] += 1
            self._credit.close()
            self._credit = None
        if self._upload is not None:
            self._upload.stop(tell=True)
        if self.incoming.body is not None:
            self.incoming.body.close()

    def _give_credit(self, action: GiveCredit) -> None:
        if self._credit is not None:
            self._credit.taken(self._taken_bytes())

    def _taken_bytes(self) -> int:
        """Bytes of the response's content that left this process; framing counts as content meanwhile."""
        return max(0, self._sent_bytes - self._stream.write_buffer.waiting_bytes)

    def _backlog_limit(self) -> int:
        settings = self._context.settings
        if self._credit is None and self._context.backlog.bytes > settings.max_backlog_bytes:
            return settings.max_pending_bytes
        return settings.max_response_backlog_bytes

    def _complain(self, what: str, *args: object) -> None:
        head = self.incoming.head
        logger.warning("%s %s from %s " + what, head.method, escape(head.path), head.client, *args)

    def _log(self, status: int) -> None:
        if self._context.access_log is not None:
            self._context.access_log.request(self.incoming.head, status, self._sent_bytes)


#: How each action is done.
_DOES: dict[type, Callable[[Call, Any], None]] = {
    SendRequest: Call._send,
    Hold: Call._hold,
    Await: Call._wait,
    Hurry: Call._hurry,
    Whole: Call._whole,
    Start: Call._start,
    Part: Call._part,
    Last: Call._last,
    PassOn: Call._pass_on,
    GiveCredit: Call._give_credit,
    NoteFull: Call._note_full,
    NoteLate: Call._note_late,
    Shed: Call._shed,
    TimeOut: Call._time_out,
    AnswerError: Call._fail,
    CutOff: Call._abort,
    TellLeft: Call._tell_left,
    LetGo: Call._leave,
}


def call_for(context: ServerContext, stream: Stream, incoming: Incoming) -> StreamCall:
    """The call for a request: a worker's, or that of a static file."""
    mounts = context.settings.static
    if mounts:
        head = incoming.head
        mount = mount_of(mounts, head.path)
        if mount is not None:
            name = name_below(mount, head.path, undecoded_path(head.target))
            return FileCall(context, stream, incoming, Wanted(mount.folder, name))
    return Call(context, stream, incoming)


def _ignore(outcome: Outcome) -> None:
    """Nobody waits for this."""
