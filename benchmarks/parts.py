"""CPU time of the parts of a message's path, each alone in a tight loop in this process.

The samples are what travels in practice: a browser's GET with nine headers, a text frame of 60 bytes, a small
response. CPU time of this process, so that other processes cost accuracy only through the caches they share.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat

from . import parts_interface, parts_worker
from .parts_samples import ENTRY, FRAME, REQUEST, RESPONSE, SAID
from .processes import APP
from .table import Row

__all__ = ["measure"]

#: One sample of a part: its name, CPU seconds, operations.
Sample = tuple[str, float, int]
