"""What a stranger does at the broker, with pika and nothing of ours."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import pika

__all__ = ["publish_all", "publish_raw"]


def publish_raw(config: dict[str, Any], channel: str, body: bytes) -> None:
    """Put bytes into the queue of a channel as they are."""
    publish_all(config, f"c:{channel}", [(body, {})])


def publish_all(
    config: dict[str, Any], queue: str, entries: Iterable[tuple[bytes, Mapping[str, Any]]]
) -> None:
    """Put bytes with their headers into a queue, called without the start that all of a layer have."""
    with warnings.catch_warnings():
        # The newest pika has another blocking connection, which the oldest that we take does not have.
        warnings.simplefilter("ignore", DeprecationWarning)
        connection = pika.BlockingConnection(pika.URLParameters(config["url"]))
    line = connection.channel()
    line.confirm_delivery()
    for body, headers in entries:
        properties = pika.BasicProperties(headers=dict(headers))
        line.basic_publish("", f"hr1:{config['prefix']}:{queue}", body, properties, mandatory=True)
    connection.close()
