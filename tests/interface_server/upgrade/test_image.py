"""The next image of a process: whether it would start, what it is given, and who asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_interface.upgrade import image
from headrace_interface.upgrade.state import FORMAT, packed, unpacked

STATE = {"listening": [3], "connections": [{"due": float("inf"), "unsent": b"\x00"}]}


def test_what_is_handed_over_is_read_as_it_was_said() -> None:
    assert unpacked(packed(STATE)) == STATE


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (packed(STATE)[:-1], "not whole"),
        (b"headrace upgrade 99\n" + packed(STATE).partition(b"\n")[2], "not of format"),
        (b"", "not of format"),
    ],
)
def test_what_is_not_whole_or_of_another_format_is_refused(spoilt: bytes, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        unpacked(spoilt)


def with_command(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", code])


def test_a_rehearsal_runs_the_same_command_and_says_why_it_would_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_command(monkeypatch, f"import os; assert os.environ['{image.REHEARSED}'] == '{FORMAT}'")
    assert image.rehearse() == ""
    with_command(monkeypatch, "import sys; sys.exit('headrace-interface: no such option')")
    assert image.rehearse() == "headrace-interface: no such option"
    with_command(monkeypatch, "import os; os._exit(3)")
    assert image.rehearse() == "it ended with status 3"
    monkeypatch.setattr(image, "_REHEARSAL_SECONDS", 0.2)
    with_command(monkeypatch, "import time; time.sleep(20)")
    assert image.rehearse() == "it did not start within 0.2 s"
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "No such file" in image.rehearse()


def test_a_rehearsal_knows_the_format_of_the_state_or_says_what_to_do() -> None:
    assert not image.is_rehearsal({})
    assert image.is_rehearsal({image.REHEARSED: str(FORMAT)})
    with pytest.raises(ConfigurationError, match="restart it instead"):
        image.is_rehearsal({image.REHEARSED: "0"})


def test_the_next_image_finds_the_state_where_its_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []

    def become(path: str, command: list[str], environment: dict[str, str]) -> None:
        copy = os.dup(int(environment.pop(image.STATE_FD)))
        found.append(image.taken_over({image.STATE_FD: str(copy)}))
        found.append(os.get_inheritable(kept))
        raise OSError("no such file")

    monkeypatch.setattr(os, "execve", become)
    kept, other = os.pipe()
    with pytest.raises(OSError, match="no such file"):
        image.become(packed(STATE), [kept])
    assert found == [STATE, True]
    assert not os.get_inheritable(kept)
    os.close(kept)
    os.close(other)


def test_without_an_image_before_there_is_nothing_to_take_over() -> None:
    assert image.taken_over({}) is None
    with pytest.raises(ConfigurationError, match=image.STATE_FD):
        image.taken_over({image.STATE_FD: "none"})


BECOMES = """
import os, signal, sys, time
def again(*_):
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(30)"])
signal.signal(signal.SIGUSR2, {handler})
print("ready", flush=True)
while True:
    time.sleep(0.1)
"""


def asked(handler: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", BECOMES.format(handler=handler)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"ready\n"
        image.ask_to_upgrade(child.pid)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.skipif(
    not Path("/proc/self/auxv").exists(), reason="the system does not show what processes are"
)
def test_who_asks_hears_whether_the_process_became_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    asked("again")
    monkeypatch.setattr(image, "_PATIENCE_SECONDS", 0.3)
    with pytest.raises(ConfigurationError, match="goes on as it was"):
        asked("lambda *_: None")


def test_who_cannot_be_asked_is_said() -> None:
    with pytest.raises(ConfigurationError, match="process id of an interface server"):
        image.ask_to_upgrade(1)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.raises(ConfigurationError, match="there is no process"):
        image.ask_to_upgrade(gone.pid)
