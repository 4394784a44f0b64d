"""Lets a test see which of our files run in a process of ours: Python imports this at its start.

The process is asked by signals: SIGURG begins a record, SIGWINCH writes it to `$TRACE_FOLDER/PID.json`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

#: Functions in which a request is handed on: to the layer, to Redis, to a view, to the client.
HANDOVERS = {
    "HttpFactory.buildProtocol",
    "Outgoing.add",
    "RespProtocol.flush",
    "RespConnection.read",
    "RespConnection.write",
    "hello",
    "_DirectSend.write",
}

_ran: set[str] = set()
#: Name of the function → the files on the stack below it.
_handovers: dict[str, set[str]] = {}


def _ours(frame: FrameType) -> str | None:
    """`package/…/file.py` of a frame that runs code of ours."""
    name = frame.f_code.co_filename
    for package in ("/headrace_asgi/", "/headrace_interface/", "/headrace/"):
        if package in name and "site-packages" not in name:
            return package[1:] + name.rpartition(package)[2]
    return None


def _profile(frame: FrameType, event: str, _: Any) -> None:
    if event != "call":
        return
    file, name = _ours(frame), frame.f_code.co_qualname
    if file is not None:
        _ran.add(file)
    if name in HANDOVERS:
        stack: set[str] = _handovers.setdefault(name, set())
        at = frame.f_back
        while at is not None:
            on_it = _ours(at)
            if on_it is not None:
                stack.add(on_it)
            at = at.f_back


def _begin(*_: Any) -> None:
    _ran.clear()
    _handovers.clear()
    sys.setprofile(_profile)


def _write(*_: Any) -> None:
    sys.setprofile(None)
    record = {"ran": sorted(_ran), "handovers": {name: sorted(files) for name, files in _handovers.items()}}
    folder = Path(os.environ["TRACE_FOLDER"])
    unfinished = folder / f"{os.getpid()}.unfinished"
    unfinished.write_text(json.dumps(record))
    unfinished.rename(folder / f"{os.getpid()}.json")


if "TRACE_FOLDER" in os.environ:
    signal.signal(signal.SIGURG, _begin)
    signal.signal(signal.SIGWINCH, _write)
