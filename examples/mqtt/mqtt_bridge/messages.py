"""What passes between the bridge and consumers, as tables."""

from __future__ import annotations

from typing import Any

from headrace_asgi.messages import Field, Kind, Shape

__all__ = ["CONNECT", "DISCONNECT", "RECEIVE", "SEND", "SUBSCRIBE"]


def _are_filters(value: Any) -> bool:
    return all(len(pair) == 2 and isinstance(pair[0], str) and pair[1] in (0, 1) for pair in value)


def _are_granted(value: Any) -> bool:
    return all(len(pair) == 2 and isinstance(pair[0], str) and pair[1] in (0, 1, 0x80) for pair in value)


_STR, _BYTES, _BOOL = Shape("str", (str,)), Shape("bytes", (bytes,)), Shape("bool", (bool,))
_QOS = Shape("0 or 1", (int,), lambda value: value in (0, 1))
_CODE = Shape("a return code of CONNACK, from 1 to 5", (int,), lambda value: 1 <= value <= 5)
_PACKET = Shape("a packet identifier", (int,))

#: Whose message it is; the name is the one that was accepted.
_WHO = (Field("reply_channel", _STR), Field("client_id", _STR), Field("username", _STR.optional(), None))

#: A client asks to be let in; a consumer answers with `accept` or `refuse`.
CONNECT = Kind("mqtt.connect", "mqtt.connect", (*_WHO, Field("password", _BYTES.optional(), None)))

#: A client published something, or its will is to be published as it is gone.
RECEIVE = Kind(
    "mqtt.receive",
    "mqtt.receive",
    (
        *_WHO,
        Field("topic", _STR),
        Field("payload", _BYTES),
        Field("qos", _QOS),
        Field("retain", _BOOL),
        Field("will", _BOOL, False),
    ),
)

#: A client asks for topics; a consumer answers with the same `packet`, and what is `granted`: the filters,
#: each with its QoS, or 128 for no.
SUBSCRIBE = Kind(
    "mqtt.subscribe",
    "mqtt.subscribe",
    (*_WHO, Field("packet", _PACKET), Field("filters", Shape("[str, QoS] each", (list,), _are_filters))),
)

#: A client that had been accepted is gone.
DISCONNECT = Kind("mqtt.disconnect", "mqtt.disconnect", _WHO)

#: What is said to a client, or to a group: one of accept, refuse, granted, topic and close.
SEND = Kind(
    "mqtt.send",
    "",
    (
        Field("accept", _BOOL, False),
        Field("refuse", _CODE.optional(), None),
        Field("packet", _PACKET, 0),
        Field("granted", Shape("[str, 0, 1 or 128] each", (list, tuple), _are_granted).optional(), None),
        Field("topic", _STR.optional(), None),
        Field("payload", _BYTES, b""),
        Field("qos", _QOS, 0),
        Field("retain", _BOOL, False),
        Field("close", _BOOL, False),
    ),
)
