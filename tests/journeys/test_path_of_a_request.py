"""The page about the architecture names the files that a request takes: here one is followed through them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.services import RedisServer
from tests.support.source import PACKAGES, section_of
from tests.support.stack import ROOT, SOURCES, Process, Stack, eventually
from tests.support.tracing.sitecustomize import HANDOVERS

PAGE = ROOT / "docs" / "architecture.md"
TRACING = ROOT / "tests" / "support" / "tracing"

#: Files on the path of a request from accept to view and back, without the insides of the layer.
MOST_FILES_ON_THE_PATH = 20
#: All files of which anything runs for it.
MOST_FILES_THAT_RUN = 60
#: What runs in some requests only, by the clock: seen over as many.
REQUESTS = 5

#: They run before the request comes, and have nothing of it.
LOOPS = {
    "headrace_interface/__main__.py",
    "headrace_interface/cli.py",
    "headrace_interface/server.py",
    "headrace/management/commands/runworker.py",
    "headrace/worker/loop.py",
}

#: Django calls our handler through it, as it calls its own code.
DOOR = "headrace/django_private.py"


class Walk(NamedTuple):
    """What was seen of several requests."""

    #: Files that ran for each of them, and for any.
    always: set[str]
    ever: set[str]
    #: Where it was handed on → the files on the call stack there.
    handovers: dict[str, set[str]]


def listed(title: str) -> set[str]:
    """The files that a section of the page links to."""
    roots = "|".join(PACKAGES.values())
    links = re.findall(rf"\]\(\.\./(?:{roots})/([^)#]+\.py)\)", section_of(PAGE, title))
    assert len(links) == len(set(links)), "a file is listed twice"
    return set(links)


def trace(processes: list[Process], port: int, folder: Path) -> list[dict[str, dict[str, list[str]]]]:
    """Send one request, and answer what each process recorded of it."""
    for process in processes:
        process.popen.send_signal(signal.SIGURG)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/hello")
    assert connection.getresponse().read() == b"Hello, world!"
    connection.close()
    files = [folder / f"{process.pid}.json" for process in processes]
    for process in processes:
        process.popen.send_signal(signal.SIGWINCH)
    eventually(lambda: all(file.exists() for file in files))
    records = [json.loads(file.read_text()) for file in files]
    for file in files:
        file.unlink()
    return records


@pytest.fixture(scope="module")
def walk(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    folder = tmp_path_factory.mktemp("traces")
    with Stack.over(f"{redis_server.url}?prefix=walk") as stack:
        stack.env |= {"TRACE_FOLDER": str(folder), "PYTHONPATH": f"{TRACING}{os.pathsep}{SOURCES}"}
        processes = [stack.interface(), stack.worker()]
        trace(processes, stack.port, folder)  # the first one imports
        seen = [trace(processes, stack.port, folder) for _ in range(REQUESTS)]
    ran = [{file for record in records for file in record["ran"]} for records in seen]
    handovers: dict[str, set[str]] = {}
    for record in (record for records in seen for record in records):
        for name, files in record["handovers"].items():
            handovers.setdefault(name, set()).update(files)
    return Walk(set.intersection(*ran), set.union(*ran), handovers)


PATH = listed("The path of an HTTP request")
LAYER = listed("Inside the Redis layer")
ASKED = listed("Asked on the way")


def test_a_request_goes_through_each_file_of_its_path(walk: Walk) -> None:
    sys.stdout.write(f"  {len(PATH)} of {MOST_FILES_ON_THE_PATH} files on the path of an HTTP request\n")
    assert len(PATH) <= MOST_FILES_ON_THE_PATH
    assert (PATH | LAYER) - walk.ever == set()


def test_every_file_that_runs_for_a_request_is_on_the_page(walk: Walk) -> None:
    sys.stdout.write(f"  {len(walk.always)} of {MOST_FILES_THAT_RUN} files that run for it\n")
    assert walk.always - PATH - LAYER - ASKED - LOOPS == set()
    assert ASKED - walk.ever == set()
    assert len(walk.always) <= MOST_FILES_THAT_RUN


def test_what_hands_a_request_on_is_on_its_path(walk: Walk) -> None:
    assert walk.handovers.keys() == HANDOVERS
    for name, files in walk.handovers.items():
        assert files - PATH - LAYER - LOOPS - {DOOR} == set(), name
