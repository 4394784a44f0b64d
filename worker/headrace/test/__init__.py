"""Test tools: consumers run in the test's own thread, on a channel layer in memory."""

from __future__ import annotations

from .base import ChannelTestCase, TransactionChannelTestCase, apply_routes, live_layers
from .client import Client
from .websocket import HttpClient, WSClient

__all__ = [
    "ChannelTestCase",
    "Client",
    "HttpClient",
    "TransactionChannelTestCase",
    "WSClient",
    "apply_routes",
    "live_layers",
]
