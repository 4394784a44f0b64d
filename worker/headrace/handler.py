"""Runs Django's middleware and views for `http.request` messages.

`AsgiHandler` turns one message into the messages of its response. `ViewConsumer` is the consumer that sends
them; it is the default consumer of `http.request`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial, wraps
from itertools import chain

from asgiref.sync import async_to_sync
from django.core import signals
from django.core.exceptions import BadRequest, ImproperlyConfigured
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from headrace_asgi.backoff import Backoff
from headrace_asgi.contract import Control, Outcome
from headrace_asgi.control import FAILED, note
from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.limits import FORGOTTEN_SECONDS
from headrace_asgi.names import is_process_queue, local_part

from . import conf, outbox
from .django_private import OpenHandler, ends_requests_of
from .exceptions import RequestAborted, RequestTimeout, ResponseLater
from .http.request import AsgiRequest
from .http.response import chunks_of, encode_response
from .http.window import Window
from .log import LimitedLog
from .message import Message
from .types import Consumer, Content

__all__ = ["AnsweredLater", "AsgiHandler", "ViewConsumer"]

#: Pauses between two tries of a part that the reply channel had no room for: the first, and the longest.
FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.2

_request_log = logging.getLogger("django.request")


class AnsweredLater(HttpResponse):
    """Stands for the response that comes later, on its way through the middleware; never sent.

    So sessions are saved and transactions end as for any response. 202 is a status that no cache keeps.
    """

    status_code = 202


class AsgiHandler(OpenHandler):
    """Django's handler for request messages. Thread-safe; made once, which loads the middleware."""

    request_class = AsgiRequest
    #: Most bytes of content in one message; None for `HEADRACE["RESPONSE_CHUNK_BYTES"]`.
    chunk_size: int | None = None

    def __init__(self) -> None:
        """Load the middleware. Raises ImproperlyConfigured in one line for one that cannot be."""
        super().__init__()
        try:
            self.load_middleware()
        except Exception as error:  # a middleware's own code may fail with anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ImproperlyConfigured(f"MIDDLEWARE cannot be loaded: {reason}") from error

    def __call__(self, message: Message) -> Iterator[Content]:
        """The messages that answer `message`; none if the view leaves that to somebody else.

        Blocks as the view does. Close the iterator to stop a streaming response. Whatever a view raises is
        answered as Django answers it; only what a streaming body raises after its first part is raised here.
        """
        answered = self._answer(message)
        if answered is None:
            return
        request, response = answered
        try:
            yield from self._encoded(request, response)
        finally:
            _finish(request, response.close)

    @classmethod
    def encode_response(cls, response: HttpResponseBase) -> Iterator[Content]:
        """The messages of a response, for whoever answers a reply channel later. Close the response then."""
        return encode_response(response, cls._chunk_bytes())

    @classmethod
    def chunk_bytes(cls, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Pieces of `data` that fit into one message, each with whether it is the last."""
        return chunks_of(data, cls._chunk_bytes())

    @classmethod
    def _chunk_bytes(cls) -> int:
        return cls.chunk_size or conf.settings().response_chunk_bytes

    def _answer(self, message: Message) -> tuple[AsgiRequest, HttpResponseBase] | None:
        try:
            request = self.request_class(message)
        except (ValueError, BadRequest):  # what Django raises depends on its version
            return self._refused(message)
        set_script_prefix(request.script_name)
        signals.request_started.send(sender=self.__class__, environ=request.META)
        try:
            if message.content.get("body_channel") is not None:
                request.receive_body()
            response = self.get_response(request)
        except RequestTimeout:
            response = _plain(408, "408 Request Timeout (upload too slow)")
        except LayerUnavailable:
            _request_log.warning(
                "A request's body was lost with the channel layer: answered 503", exc_info=True
            )
            response = _plain(503, "503 Service Unavailable (the upload was interrupted)")
        except (RequestAborted, ResponseLater):
            request.close()
            _finish(request, partial(signals.request_finished.send, sender=self.__class__))
            return None
        ends_requests_of(response, self.__class__)
        if response.__class__ is AnsweredLater:
            _finish(request, response.close)
            return None
        if response.streaming and isinstance(response, StreamingHttpResponse) and response.is_async:
            response = self._synchronous(request, response)
        return request, response

    def _refused(self, message: Message) -> tuple[AsgiRequest, HttpResponseBase]:
        _request_log.warning(
            "Bad Request (its headers cannot be read): %r",
            message.content.get("path"),
            exc_info=True,
            extra={"status_code": 400},
        )
        bare = dict(message.content, headers=[], body=b"", body_channel=None)
        request = self.request_class(Message(bare, message.channel_name, message.channel_layer))
        return request, HttpResponseBadRequest()

    def run_view(self, request: HttpRequest) -> HttpResponseBase:
        """As Django's; a view that leaves the answer to others has a response to show to the middleware."""
        try:
            return super().run_view(request)
        except ResponseLater:
            return AnsweredLater()

    def make_view_atomic(self, view: Consumer) -> Consumer:
        """As Django's; but a view that leaves the answer to others did not fail: its transaction commits."""

        @wraps(view)
        def inside(*args: object, **kwargs: object) -> HttpResponseBase:
            try:
                response: HttpResponseBase = view(*args, **kwargs)
            except ResponseLater:
                return AnsweredLater()
            return response

        atomic: Consumer = super().make_view_atomic(view)
        return atomic if atomic is view else super().make_view_atomic(inside)

    def process_exception_by_middleware(self, exception: Exception, request: HttpRequest) -> HttpResponse:
        """Ask the middleware what to answer to what a view raised; ResponseLater is no failure."""
        if isinstance(exception, ResponseLater):
            raise exception
        return super().process_exception_by_middleware(exception, request)

    def _encoded(self, request: AsgiRequest, response: HttpResponseBase) -> Iterator[Content]:
        body_wanted = request.method != "HEAD"
        try:
            messages = encode_response(response, self._chunk_bytes(), body_wanted)
            first = next(messages)
        except Exception as error:  # nothing was sent yet, so the client can be told
            messages = encode_response(response_for_exception(request, error), self._chunk_bytes())
            first = next(messages)
        yield first
        if first.get("more_content"):
            yield from messages

    def _synchronous(self, request: AsgiRequest, response: StreamingHttpResponse) -> HttpResponseBase:
        """Run an async iterator to its end, if its Content-Length says that it has one."""
        stated = response.headers.get("Content-Length", "")
        try:
            if not stated.isdecimal():
                raise ImproperlyConfigured(
                    "A worker is synchronous: an async iterator in a StreamingHttpResponse would be read to "
                    "its end, perhaps never, before the first byte is sent. Use a synchronous iterator, or "
                    "set Content-Length on the response if it is small."
                )
            parts = async_to_sync(_read_async)(response, int(stated))
        except Exception as error:
            response.close()
            return response_for_exception(request, error)
        response.streaming_content = parts
        return response


class ViewConsumer:
    """The consumer that answers requests with Django's views.

    A response of one message leaves with the worker's next take, or earlier if closing it takes long. Parts
    of longer ones are sent at once, as far ahead of the client's reading as a `Window` goes. When the client
    left, its interface process is gone, or the reply channel stays full for `SEND_RETRY_SECONDS`, the
    response is stopped and its iterator closed.
    """

    handler_class: type[AsgiHandler] = AsgiHandler

    def __init__(self) -> None:
        """Load Django's middleware; raises what it raises."""
        self.handler = self.handler_class()
        self._limited_log = LimitedLog()

    def __call__(self, message: Message) -> None:
        """Answer one request."""
        name = message.content.get("reply_channel")
        if name is None:
            raise TypeError(f"A message on {message.channel_name} without reply_channel cannot be answered")
        replies = self.handler(message)
        try:
            for reply in replies:
                if reply.get("more_content"):
                    self._send_parts(message, reply, replies)
                    return
                outbox.send(message.channel_layer, name, reply)
                outbox.commit(name)
        finally:
            # Whatever ended this: an exception's traceback would keep the view's iterator open.
            replies.close()  # type: ignore[attr-defined]

    def _send_parts(self, message: Message, first: Content, rest: Iterator[Content]) -> None:
        with closing(Window(message)) as window:
            if window.channel is not None:
                first["credit_channel"] = window.channel
            for reply in chain((first,), rest):
                if not (window.has_room() and self._send_part(message, reply)):
                    return
                window.sent(len(reply["content"]))

    def _send_part(self, message: Message, reply: Content) -> bool:
        """Send one part at once; False if nobody will read on."""
        name, layer = message.content["reply_channel"], message.channel_layer
        collecting = outbox.current()
        if collecting is not None:
            collecting.before_immediate_send(name)
        backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        started = time.monotonic()
        while True:
            (outcome,) = layer.send_many([(name, reply)])
            if outcome.accepted:
                return True
            if time.monotonic() - started >= _retry_seconds(outcome):
                self._give_up(message, name, outcome, collecting)
                return False
            time.sleep(backoff.next_seconds())

    def _give_up(
        self, message: Message, name: str, outcome: Outcome, collecting: outbox.Outbox | None
    ) -> None:
        if outcome is Outcome.GONE:
            return  # the interface process ended, and its clients with it
        path = message.content.get("path")
        self._limited_log.log(
            outcome.name,
            logging.WARNING,
            "The response to %r (%s) was stopped: its reply channel answered %s; the client is cut off",
            path,
            name,
            outcome.name,
        )
        if collecting is not None and is_process_queue(name):
            body = note(FAILED, local=local_part(name), status=503, reason="a part of the response was lost")
            collecting.items.append(Control(name, body))


def _finish(request: HttpRequest, close: Callable[[], object]) -> None:
    """Close what is done and tell the receivers of request_finished; what they raise is logged.

    The answer stands, as under a WSGI server, where the client has it by then.
    """
    try:
        close()
    except BaseException:  # whatever a receiver does, its worker lives
        _request_log.exception("Closing the response to %r failed; its answer stands", request.path)


def _retry_seconds(outcome: Outcome) -> float:
    """How long a part that was answered so is tried again, from the first try on."""
    if outcome is Outcome.FORGOTTEN:
        return FORGOTTEN_SECONDS
    return conf.settings().send_retry_seconds if outcome in (Outcome.FULL, Outcome.UNAVAILABLE) else 0.0


def _plain(status: int, text: str) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain")


async def _read_async(response: StreamingHttpResponse, most_bytes: int) -> list[bytes]:
    parts, left_bytes = [], most_bytes
    async for part in response:
        parts.append(part)
        left_bytes -= len(part)
        if left_bytes <= 0:
            break
    return parts
