"""Every error of the channel layer, in two families.

`HeadraceError`
    `ChannelFull`            the channel holds as many messages as it may; try later or shed
    `MessageTooLarge`        ours: chunk the message
    `ConfigurationError`     ours: a setting, URL or version that cannot work; says what to do
    `LayerUnavailable`       Redis is not there; nothing was executed
        `OutcomeUnknown`     the connection broke before the answer came: executed or not, nobody knows
        `LayerRefused`       Redis is there and does not serve us any more, for a wrong password or its age
        `KeySpoilt`          something else wrote where the layer keeps what this call needs
    `PeerError`              something another program sent
        `BadMessage`         a message that breaks the message specification
        `UnreadableEntry`    bytes in Redis that are no envelope we can read

A `PeerError` never ends a process: it is counted, logged once and answered with its status or close code.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BadMessage",
    "ChannelFull",
    "ConfigurationError",
    "HeadraceError",
    "KeySpoilt",
    "LayerRefused",
    "LayerUnavailable",
    "MessageTooLarge",
    "OutcomeUnknown",
    "PeerError",
    "UnreadableEntry",
]


class HeadraceError(Exception):
    """Base of all errors that Headrace raises on purpose."""


class ChannelFull(HeadraceError):
    """The channel is at capacity; nothing was sent. Retry later, or tell your client that you are busy."""


class MessageTooLarge(HeadraceError):
    """The encoded message is over the layer's limit; nothing was sent. Send it in chunks."""


class ConfigurationError(HeadraceError):
    """A setting, option or URL cannot work. The text names it and says what to do; raised at start-up."""


class LayerUnavailable(HeadraceError):
    """The layer cannot be reached; nothing was executed. It reconnects by itself."""


class OutcomeUnknown(LayerUnavailable):
    """The connection broke after the command was written: it may or may not have been executed.

    Only idempotent calls are repeated by the layer; the caller decides about the others.
    """


class LayerRefused(LayerUnavailable):
    """The layer served us and now refuses to: somebody has to put that right. It tries again by itself."""


class KeySpoilt(LayerUnavailable):
    """Something else wrote where the layer keeps what this call needs; the text names the keys.

    The rest of the layer works; this does again when somebody has deleted them.
    """


class PeerError(HeadraceError):
    """Something another program sent is wrong.

    `status` is the HTTP status and `close_code` the WebSocket close code that a client may be answered with.
    """

    status = 500
    close_code = 1011


class BadMessage(PeerError):
    """A message breaks the message specification: unknown key, wrong type, missing key."""


class UnreadableEntry(PeerError):
    """Bytes that are no envelope of a version this process can read, or whose message it cannot open.

    `entry` is the `envelope.Entry`, if the envelope could be read.
    """

    def __init__(self, text: str, entry: Any = None) -> None:
        super().__init__(text)
        self.entry = entry


class UnknownVersion(UnreadableEntry):
    """An entry of a version that this process cannot read: a newer Headrace wrote it, or something else."""
