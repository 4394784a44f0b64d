"""`manage.py runserver` with the chat: code changes while a socket is open."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from websockets.sync.client import ClientConnection

from tests.support.chat import ROOT, Person, embedded_servers, processes_below, receive_kind
from tests.support.ports import free_port
from tests.support.stack import SOURCES, Process, eventually
from tests.support.wsclient import send_json


def test_new_code_answers_on_the_socket_that_was_open_and_ctrl_c_ends_all(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(
        ROOT / "examples" / "chat", project, ignore=shutil.ignore_patterns("*.sqlite3*", "__pycache__")
    )
    port = free_port()
    # Short, because the path of a unix socket is.
    runtime = tempfile.mkdtemp(prefix="hr-")
    environment = {**os.environ, "PYTHONPATH": SOURCES, "XDG_RUNTIME_DIR": runtime}
    for command in (["migrate", "--verbosity", "0"], ["demo_users"]):
        subprocess.run([sys.executable, "manage.py", *command], cwd=project, env=environment, check=True)
    server = Process(
        [sys.executable, "manage.py", "runserver", str(port)],
        {"XDG_RUNTIME_DIR": runtime},
        project,
        "runserver",
    )
    try:
        ada = eventually(lambda: Person.if_served(port, "ada"), 30, "the chat answers")
        with ada.open_room("kitchen") as room:
            receive_kind(room, "posts")
            assert complaint(room) == "There is nothing in it."
            consumers = project / "chat" / "consumers.py"
            edit(consumers, "There is nothing in it.", "Say something!")
            # Touched until it is seen: a file that changes before the reloader first looked is not a change.
            eventually(lambda: touch(consumers) and complaint(room) == "Say something!", 30, "new code")
            members = processes_below(server.pid)
            assert members
            assert server.end(signal.SIGINT) == 0
        eventually(lambda: not [pid for pid in members if Path(f"/proc/{pid}").exists()], what="all ended")
        eventually(lambda: not embedded_servers(runtime), what="the embedded server ended")
    finally:
        server.end()
        sys.stderr.write(server.output()[-4000:])
        server.log.close()
        shutil.rmtree(runtime, ignore_errors=True)


def complaint(room: ClientConnection) -> str:
    """What the room answers to an empty post."""
    send_json(room, {"type": "post", "body": ""})
    text: str = receive_kind(room, "error", seconds=30)["text"]
    return text


def edit(path: Path, old: str, new: str) -> None:
    """Change a source file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def touch(path: Path) -> bool:
    """Give a file a later time than it had; True."""
    later = path.stat().st_mtime + 1
    os.utime(path, (later, later))
    return True
