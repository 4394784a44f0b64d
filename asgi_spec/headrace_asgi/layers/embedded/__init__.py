"""A Redis layer that brings its own server."""

from __future__ import annotations

from .layer import IPCChannelLayer

__all__ = ["IPCChannelLayer"]
