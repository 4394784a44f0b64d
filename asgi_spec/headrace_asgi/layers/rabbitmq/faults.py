"""What pika's errors mean to the users of the layer: which of ours, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pika.exceptions import (
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from headrace_asgi.errors import LayerRefused, LayerUnavailable

from .address import BrokerAddress

__all__ = ["DIFFERENT", "MISSING", "PERMISSIONS", "ChannelRefused", "channel_error", "connect_error"]

#: What the user of a layer may configure, write and read, at least; by amq.default queues are written to.
PERMISSIONS = r"'^hr1:' '^(hr1:|amq\.default$)' '^hr1:'"
#: Reply codes of AMQP.
_REFUSED, MISSING, DIFFERENT, _NOT_ALLOWED = 403, 404, 406, 530
#: How deep pika wraps the reason for which it could not connect.
_DEEPEST = 5


class ChannelRefused(LayerRefused):
    """The broker closed a channel for what was asked on it, with one of AMQP's codes."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def channel_error(reason: object, address: BrokerAddress) -> LayerUnavailable:
    """Why a channel ended."""
    if not isinstance(reason, ChannelClosedByBroker):
        return LayerUnavailable(f"the connection to {address.label} broke: {_in_short(reason)}")
    text = f"{address.label} refuses: {reason.reply_text}"
    if reason.reply_code == _REFUSED:
        text += (
            f"; the user {address.username!r} of url needs permissions on what begins with hr1: (rabbitmqctl "
            f"set_permissions -p {address.vhost} {address.username} {PERMISSIONS})"
        )
    return ChannelRefused(reason.reply_code, text)


def connect_error(error: object, address: BrokerAddress) -> LayerUnavailable:
    """Why there is no connection: LayerRefused for what only a change of settings can mend."""
    causes = list(_causes(error))
    codes = {cause.reply_code for cause in causes if isinstance(cause, ConnectionClosedByBroker)}
    if _is_any(causes, ProbableAuthenticationError, AuthenticationError) or _REFUSED in codes:
        return LayerRefused(
            f"{address.label} refused the login of the user {address.username!r}: correct user and password "
            "in url (guest is let in from the broker's own machine only)"
        )
    if _is_any(causes, ProbableAccessDeniedError) or _NOT_ALLOWED in codes:
        return LayerRefused(
            f"{address.label} has no virtual host {address.vhost!r}, or it is not for the user "
            f"{address.username!r}: correct the end of url, or run rabbitmqctl add_vhost and set_permissions"
        )
    return LayerUnavailable(f"{address.label} cannot be reached: {_in_short(causes[-1])}")


def _is_any(causes: list[object], *kinds: type) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _causes(error: object, depth: int = 0) -> Iterator[object]:
    """An error and those that it wraps, the innermost one last."""
    yield error
    if depth == _DEEPEST:
        return
    wrapped = [getattr(error, "exception", None), *getattr(error, "exceptions", ())]
    wrapped += [one for one in getattr(error, "args", ()) if isinstance(one, BaseException)]
    for one in wrapped:
        if one is not None:
            yield from _causes(one, depth + 1)


def _in_short(error: object) -> str:
    text = str(error) or repr(error)
    return " ".join(text.split())[:300]
