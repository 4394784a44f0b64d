"""The contract of a channel layer as tests, for the author of any layer: docs/layers.md says how.

`ChannelLayerConformance`, `WorkerPortConformance` and `InterfacePortConformance` are everything; they skip
the cases of extensions that a layer does not declare. The others are parts of them. Who mixes in one of an
extension claims that, and it fails for a layer that does not declare it.
"""

from __future__ import annotations

from .batch import BatchConformance
from .case import ConformanceCase
from .coroutines import CoroutineConformance
from .groups import GroupsConformance
from .interface_port import InterfacePortConformance
from .layer import ChannelLayerConformance, ContractConformance, ThreadConformance
from .ordering import OrderConformance
from .processes import ProcessConformance
from .specification import SpecificationConformance
from .upkeep import FlushConformance, StatisticsConformance, UpkeepConformance
from .worker_port import TakeConformance, WakeConformance, WorkerPortConformance

__all__ = [
    "BatchConformance",
    "ChannelLayerConformance",
    "ConformanceCase",
    "ContractConformance",
    "CoroutineConformance",
    "FlushConformance",
    "GroupsConformance",
    "InterfacePortConformance",
    "OrderConformance",
    "ProcessConformance",
    "SpecificationConformance",
    "StatisticsConformance",
    "TakeConformance",
    "ThreadConformance",
    "UpkeepConformance",
    "WakeConformance",
    "WorkerPortConformance",
]
