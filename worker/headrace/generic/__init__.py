"""Consumers as classes."""

from __future__ import annotations

from .base import BaseConsumer

__all__ = ["BaseConsumer"]
