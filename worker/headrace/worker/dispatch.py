"""One message, one consumer: run it between the hooks, and decide what leaves because of it.

Whatever a consumer does, `Dispatcher.run` returns: nothing it raises ends a worker, not even
SystemExit. What it returns is written in this order: the verdict on a connect, the consumer's messages, the
finish of an ordered message, or the acknowledgement.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from headrace_asgi import accounting, messages
from headrace_asgi.contract import Acknowledge, ChannelLayer, Control, Delivery, Finish, Out, Send
from headrace_asgi.control import FAILED, RUNNING, VERDICT, note
from headrace_asgi.envelope import pack_message
from headrace_asgi.errors import BadMessage
from headrace_asgi.names import is_process_queue, local_part, require_channel_name

from ..conf import WorkerSettings
from ..exceptions import ChannelSocketException, ConsumeLater
from ..log import LimitedLog, worker_log
from ..message import ANSWERED, Message
from ..outbox import Outbox, enter, leave
from ..routing import Router, consumer_name
from ..security.websockets import is_refused
from ..types import Consumer, Content, Kwargs
from .activity import Activity
from .hooks import Hook

__all__ = ["Dispatcher"]

_KINDS = {kind.channel: kind for kind in messages.KINDS}


class Dispatcher:
    """Runs consumers for one worker thread."""

    def __init__(
        self,
        layer: ChannelLayer,
        router: Router,
        settings: WorkerSettings,
        hooks: Sequence[Hook],
        counters: Counter[str],
        activity: Activity | None = None,
        flush_earlier: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[list[Out]], object] | None = None,
        over: Callable[[Delivery, str], object] | None = None,
    ) -> None:
        """Take what a thread needs.

        `flush_earlier` writes what earlier messages of this thread answered; `say` takes what is to be
        written before `run` returns the rest; `over` hears how each message ended (`accounting`).
        """
        self._over = _nobody_counts if over is None else over
        #: How the message ends that runs now.
        self._end = accounting.FAILED
        self._layer = layer
        self._router = router
        self._settings = settings
        self._hooks = tuple(hooks)
        self._counters = counters
        self._activity = Activity() if activity is None else activity
        self._flush_earlier = flush_earlier
        self._clock = clock
        self._say = say
        self._limited_log = LimitedLog(clock=clock)

    def run(self, delivery: Delivery) -> list[Out] | None:
        """Run the consumer of a delivery; what is to be written, or None to put the delivery back.

        Never raises.
        """
        self._activity.running = (delivery, self._clock())
        self._end = accounting.FAILED
        try:
            out = self._run(delivery)
        except BaseException as error:
            # A hook's, a route's or our own bug: the message fails, the worker lives.
            self._end = accounting.FAILED
            out = self._broken(delivery, error)
        finally:
            self._activity.running = None
        if out is not None:
            self._over(delivery, self._end)
        return out

    def _run(self, delivery: Delivery) -> list[Out] | None:
        message = Message(delivery.message, delivery.channel, self._layer, delivery)
        match = self._router.match(message)
        if match is None:
            return self._unroutable(message, delivery)
        consumer, kwargs = match
        outbox = Outbox(self._layer, consumer_name(consumer), self._flush_earlier, self._say)
        _, error = self.call(message, consumer, kwargs, outbox)
        if delivery.claim is not None:
            return self._acknowledged(delivery, outbox, error)
        if isinstance(error, ConsumeLater) and delivery.retries < self._settings.message_retries:
            self._counters["requeued"] += 1
            return None
        if error is not None:
            self._log_failed(message, error, outbox.origin)
        if outbox.elsewhere:
            outbox.send_elsewhere(self._settings.send_retry_seconds, self._counters)
        out = outbox.items
        if error is None:
            self._counters["done"] += 1
            self._end = accounting.DONE
            if delivery.channel == "http.request":
                out += _answered_later(delivery, outbox)
        else:
            self._end = accounting.DEAD if isinstance(error, ConsumeLater) else accounting.FAILED
            self._counters[self._end] += 1
            out = _no_answer(delivery, 500, "the consumer failed") + out
        if delivery.order is None and getattr(consumer, "headrace_ordering", False) is True:
            return self._untold(delivery, outbox.origin) + out
        return self._ordered(message, delivery, out)

    def _acknowledged(self, delivery: Delivery, outbox: Outbox, error: BaseException | None) -> list[Out]:
        """What is to be written for a message of an acknowledged channel: what it said, then that it is done,
        or else that it has to be tried again."""
        if error is None:
            if outbox.elsewhere:
                outbox.send_elsewhere(self._settings.send_retry_seconds, self._counters)
            self._counters["done"] += 1
            return outbox.items + _ended(delivery)
        if isinstance(error, ConsumeLater):
            self._counters["requeued"] += 1
            return _ended(delivery, "ConsumeLater")
        self._counters["failed"] += 1
        worker_log.error(
            "%s failed on %s at try %d; the message is tried again, or laid aside after its last try",
            outbox.origin,
            delivery.channel,
            delivery.claim.attempt if delivery.claim else 0,
            exc_info=error,
        )
        return _ended(delivery, f"{type(error).__name__}: {error}")

    def call(
        self, message: Message, consumer: Consumer, kwargs: Kwargs, outbox: Outbox
    ) -> tuple[object, BaseException | None]:
        """Run a consumer between the hooks, and collect in `outbox` what it sends. Never raises.

        What it returned, and what it raised, unless that was a word that is obeyed here.
        """
        result: object = None
        error: BaseException | None = None
        entered = 0
        before = enter(outbox)
        try:
            try:
                for hook in self._hooks:
                    hook.before(message)
                    entered += 1
                if self._denied(message, consumer):
                    outbox.send(self._layer, message.content["reply_channel"], {"close": True})
                else:
                    result = consumer(message, **kwargs)
            except BaseException as caught:
                outbox.drop()
                error = caught
            raised = error
            if isinstance(error, ChannelSocketException):
                error = _obeyed(error, message, outbox)
            for hook in reversed(self._hooks[:entered]):
                try:
                    hook.after(message, raised)
                except BaseException as caught:
                    worker_log.error(
                        "%s failed after %s; the message counts as handled",
                        type(hook).__name__,
                        outbox.origin,
                        exc_info=caught,
                    )
        finally:
            leave(before)
        return result, error

    def _log_failed(self, message: Message, error: BaseException, origin: str) -> None:
        """Say that a message was not handled: none is dropped in silence."""
        if isinstance(error, ConsumeLater):
            worker_log.warning(
                "%s raised ConsumeLater for a message on %s %d times; the message is dropped",
                origin,
                message.channel_name,
                self._settings.message_retries + 1,
            )
            return
        breach = _breach(message)
        if breach:
            self._counters["bad_messages"] += 1
        worker_log.error(
            "%s failed on %s%s for %s; its messages are dropped, %s%s",
            origin,
            message.channel_name,
            _path_of(message.content),
            message.get("reply_channel") or "nobody",
            "its client gets an error" if message.channel_name in ANSWERED else "nothing else happens",
            breach and f". Whoever sent that message broke the specification: {breach}",
            exc_info=error,
        )

    def _denied(self, message: Message, consumer: Consumer) -> bool:
        """Whether the page that opens this socket is of another site (Origin, RFC 6455 section 10.2)."""
        if not is_refused(message, consumer, self._settings.origin_check):
            return False
        self._counters["origin_denied"] += 1
        self._limited_log.log(
            "origin",
            logging.WARNING,
            "Refused a WebSocket for %r with 403: its Origin is not in ALLOWED_HOSTS or CSRF_TRUSTED_ORIGINS",
            message.get("path"),
        )
        return True

    def _unroutable(self, message: Message, delivery: Delivery) -> list[Out]:
        """A message no route wants: its client is told at once instead of waiting."""
        self._counters["unroutable"] += 1
        self._limited_log.log(
            delivery.channel,
            logging.ERROR,
            "No route for a message on %s with path %r; dropped, its client gets an error",
            delivery.channel,
            delivery.message.get("path"),
        )
        out = _no_answer(delivery, 500, "no route") + _ended(delivery, "no route took it")
        return self._ordered(message, delivery, out)

    def _broken(self, delivery: Delivery, error: BaseException) -> list[Out]:
        self._counters["failed"] += 1
        worker_log.error(
            "Routing a message on %s%s failed; it is dropped, its client gets an error",
            delivery.channel,
            _path_of(delivery.message),
            exc_info=error,
        )
        out = _no_answer(delivery, 500, "the consumer failed") + _finish(delivery, drain=False)
        return out + _ended(delivery, f"{type(error).__name__}: {error}")

    def _ordered(self, message: Message, delivery: Delivery, out: list[Out]) -> list[Out]:
        """Put the finish behind the answers, and on a connect the verdict before them.

        See docs/protocol.md, section 7.
        """
        if delivery.order is None:
            return out
        if delivery.channel != "websocket.connect":
            return out + _finish(delivery, drain=False)
        ordered = self._router.ordering_for(message)
        return _verdict(delivery, ordered) + out + _finish(delivery, drain=ordered is not True)

    def _untold(self, delivery: Delivery, consumer: str) -> list[Out]:
        """A consumer asks for order, the interface does not know: tell it now."""
        if not delivery.channel.startswith("websocket."):
            return []
        self._limited_log.log(
            f"untold {consumer}",
            logging.ERROR,
            "%s asks for ordering, but a message of %s came without it; told its interface server, "
            "later ones will be ordered",
            consumer,
            delivery.message.get("reply_channel"),
        )
        return _verdict(delivery, True)


def _nobody_counts(delivery: Delivery, end: str) -> None:
    """Who runs a message without a worker counts it where it is received."""


def _obeyed(error: ChannelSocketException, message: Message, outbox: Outbox) -> BaseException | None:
    """Do what an exception says; what went wrong with that."""
    try:
        error.run(message)
    except BaseException as failed:
        outbox.drop()
        return failed
    return None


def _path_of(content: Content) -> str:
    """The path of a message for a log line, escaped, behind a space; "" if it has none."""
    return f" {content['path']!r:.500}" if "path" in content else ""


def _breach(message: Message) -> str:
    """How a message that its consumer could not handle breaks the specification; "" if it does not."""
    kind = _KINDS.get(message.channel_name)
    if kind is not None:
        try:
            kind.check(message.content)
        except BadMessage as error:
            return str(error)
    return ""


def _verdict(delivery: Delivery, ordered: bool | str) -> list[Out]:
    reply_channel = delivery.message.get("reply_channel")
    if not isinstance(reply_channel, str) or not is_process_queue(reply_channel):
        return []
    return [Control(reply_channel, note(VERDICT, local=local_part(reply_channel), ordered=ordered))]


def _finish(delivery: Delivery, drain: bool) -> list[Out]:
    reply_channel = delivery.message.get("reply_channel")
    if delivery.order is None or not isinstance(reply_channel, str):
        return []
    return [Finish(reply_channel, delivery.order, delivery.place, drain)]


def _ended(delivery: Delivery, failure: str | None = None) -> list[Out]:
    """The end of a try of an acknowledged message; nothing for any other."""
    if delivery.claim is None:
        return []
    return [Acknowledge(delivery.channel, delivery.claim, delivery.place, failure)]


def _answered_later(delivery: Delivery, outbox: Outbox) -> list[Out]:
    """Tell the interface of a request that was taken but not answered: its response deadline counts."""
    reply_channel = delivery.message.get("reply_channel")
    if not isinstance(reply_channel, str) or not is_process_queue(reply_channel):
        return []
    if outbox.has_said_to(reply_channel):
        return []
    return [Control(reply_channel, note(RUNNING, local=local_part(reply_channel)))]


def _no_answer(delivery: Delivery, status: int, reason: str) -> list[Out]:
    """Tell the client of a message that nobody will answer, if it waits for an answer."""
    reply_channel = delivery.message.get("reply_channel")
    if delivery.channel not in ANSWERED or not isinstance(reply_channel, str):
        return []
    if is_process_queue(reply_channel):
        body = note(FAILED, local=local_part(reply_channel), status=status, reason=reason)
        return [Control(reply_channel, body)]
    try:
        require_channel_name(reply_channel)
    except TypeError:
        return []
    # An interface server of another make knows only ordinary messages.
    if delivery.channel == "websocket.connect":
        return [Send(reply_channel, pack_message({"close": True}), "headrace")]
    text = f"{status}: {reason}".encode()
    headers = [[b"content-type", b"text/plain; charset=utf-8"]]
    response = {"status": status, "headers": headers, "content": text}
    packed = pack_message(response)
    return [Send(reply_channel, packed, "headrace", is_response=True, is_repeatable=True)]
