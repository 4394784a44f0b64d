"""The contract of a channel layer as tests, for the author of any layer."""

from __future__ import annotations

from .layer import ChannelLayerConformance
from .worker_port import WorkerPortConformance

__all__ = ["ChannelLayerConformance", "WorkerPortConformance"]
