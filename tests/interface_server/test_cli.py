"""The program: real processes, started, asked and ended."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from headrace_asgi.layers.from_config import layer_from_url
from headrace_interface.cli import main
from tests.support.services import RedisServer
from tests.support.tls import issue

COMMAND = [sys.executable, "-m", "headrace_interface"]
#: Nothing listens there.
NOWHERE = "redis://127.0.0.1:1"


class Program:
    """A started interface server."""

    def __init__(self, process: subprocess.Popen[bytes], addresses: list[str]) -> None:
        self.process = process
        self.addresses = addresses

    @property
    def port(self) -> int:
        """Its TCP port."""
        return int(self.addresses[-1].rstrip("/").rpartition(":")[2])

    def end(self, number: int = signal.SIGTERM, seconds: float = 10) -> int:
        """Send a signal and wait for the exit status."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


@contextlib.contextmanager
def program(*arguments: str, stderr: Any = subprocess.DEVNULL, **options: Any) -> Iterator[Program]:
    """Start the server and wait until it listens."""
    reading, writing = os.pipe()
    command = [*COMMAND, *arguments, "--ready-fd", str(writing)]
    keep = (writing, *options.pop("pass_fds", ()))
    process = subprocess.Popen(command, pass_fds=keep, stdout=subprocess.PIPE, stderr=stderr, **options)
    os.close(writing)
    with process:
        try:
            with os.fdopen(reading) as pipe:
                addresses = pipe.read().splitlines()
            assert addresses, "it did not start"
            yield Program(process, addresses)
        finally:
            if process.poll() is None:
                process.kill()


def failing(*arguments: str, **options: Any) -> str:
    """The one line that a server says which cannot start."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30, **options)  # noqa: PLW1510
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("headrace-interface: ")
    return line


def serve_one(url: str, content: bytes) -> threading.Thread:
    """A worker for one request."""

    def work() -> None:
        layer = layer_from_url(url)
        for _ in range(20):
            _, message = layer.receive(["http.request"], block=True)
            if message is not None:
                layer.send(message["reply_channel"], {"status": 200, "headers": [], "content": content})
                break
        layer.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def get(port: int) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/path")
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def test_a_request_goes_through_and_sigterm_ends_it(redis_url: str) -> None:
    worker = serve_one(redis_url, b"hello")
    with program("--layer", redis_url, "-p", "0") as server:
        assert get(server.port) == (200, b"hello")
        worker.join()
        assert server.end() == 0
        assert server.process.stdout is not None
        line = server.process.stdout.read()
    assert b'"GET /path HTTP/1.1" 200 5\n' in line


def test_the_access_log_can_be_off_or_a_file(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for options, written in ((["--no-access-log"], False), (["--access_log", str(path)], True)):
        worker = serve_one(redis_url, b"hello")
        with program("--layer", redis_url, "-p", "0", *options) as server:
            assert get(server.port)[0] == 200
            worker.join()
            assert server.end(signal.SIGINT) == 0
            assert server.process.stdout is not None
            assert server.process.stdout.read() == b""
        assert path.exists() is written
    assert '"GET /path HTTP/1.1" 200 5' in path.read_text()


def test_descriptor_0_and_nothing_else_d4(redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.getsockname()[1]
        with program("--layer", redis_url, "--fd", "0", stdin=listening.fileno()) as server:
            assert server.addresses == [f"http://127.0.0.1:{number}/"]
            worker = serve_one(redis_url, b"hello")
            assert get(number) == (200, b"hello")
            worker.join()
            assert server.end() == 0


def test_several_places_at_once(redis_url: str, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with program("--layer", redis_url, "-u", path, "-e", "tcp:0:interface=127.0.0.1", "-p", "0") as server:
        assert server.addresses[0] == f"unix:{path}"
        assert len(server.addresses) == 3
        assert server.end() == 0
    assert not os.path.exists(path)


def test_the_layer_from_a_pipe(redis_url: str) -> None:
    reading, writing = os.pipe()
    config = {"BACKEND": "headrace_asgi.RedisChannelLayer", "CONFIG": {"hosts": [redis_url]}}
    os.write(writing, json.dumps(config).encode())
    os.close(writing)
    arguments = ("--layer-config-fd", str(reading), "-p", "0")
    with program(*arguments, pass_fds=(reading,)) as server:
        os.close(reading)
        worker = serve_one(redis_url, b"hello")
        assert get(server.port) == (200, b"hello")
        worker.join()


def test_a_layer_by_import_path_where_the_command_runs(redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "my_asgi.py").write_text(
        "from headrace_asgi import RedisChannelLayer\n"
        f"channel_layer = RedisChannelLayer(hosts=[{redis_url!r}])\n"
    )
    with program("my_asgi:channel_layer", "-p", "0", cwd=tmp_path) as server:
        assert server.end() == 0


def test_the_end_of_the_parent_is_the_end(redis_url: str) -> None:
    with program("--layer", redis_url, "-p", "0", "--lifeline", stdin=subprocess.PIPE) as server:
        waiting = socket.create_connection(("127.0.0.1", server.port))
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        assert server.process.poll() is None
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert server.process.wait(5) == 0
        waiting.close()


def test_a_second_signal_ends_it_at_once(redis_url: str) -> None:
    with program("--layer", redis_url, "-p", "0") as server:
        waiting = socket.create_connection(("127.0.0.1", server.port))
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None, "a request is still waiting"
        assert server.end(seconds=2) == 1
        waiting.close()


def test_a_redis_that_is_not_there_is_waited_for_and_mentioned_once(tmp_path: Path) -> None:
    path = tmp_path / "stderr"
    with (
        path.open("wb") as stderr,
        program(*("--layer", NOWHERE, "-p", "0", "--layer-timeout", "1"), stderr=stderr) as server,
    ):
        status, _ = get(server.port)
        assert status == 503
        assert server.end() == 0
    lines = [line for line in path.read_text().splitlines() if "cannot be reached" in line]
    assert len(lines) == 1


def test_nobody_who_takes_is_said_within_seconds_and_so_is_the_first_who_does(
    private_redis_server: RedisServer, tmp_path: Path
) -> None:
    url = private_redis_server.tcp_url
    path = tmp_path / "stderr"
    with (
        path.open("wb") as stderr,
        program("--layer", url, "-p", "0", "--debug", "--queue-timeout", "7", stderr=stderr) as server,
    ):
        begun = time.monotonic()
        status, body = get(server.port)
        assert 7 <= time.monotonic() - begun < 8.5
        said = f"No worker has taken http.request at {url}"
        assert status == 503
        assert body.decode().startswith(said)
        serve_one(url, b"hello").join(0)
        assert get(server.port) == (200, b"hello")
        time.sleep(1.2)
        assert server.end() == 0
    lines = path.read_text().splitlines()
    assert f"the channel layer is {url}" in lines[0]
    said_lines = [line for line in lines if "taken" in line]
    assert len(said_lines) == 2, lines
    assert said in said_lines[0]
    assert said_lines[0].endswith(" for 5 s: is one running?")
    assert "http.request at" in said_lines[1]
    assert "is taken again after" in said_lines[1]


def warnings(path: Path) -> list[str]:
    """What was said of what goes wrong, without times."""
    lines = path.read_text().splitlines()
    return [line.partition("headrace.interface: ")[2] for line in lines if " WARNING " in line]


def eventually(check: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_full_channel_is_said_once(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "stderr"
    with (
        path.open("wb") as stderr,
        program("--layer", redis_url + "&capacity=1", "-p", "0", stderr=stderr) as server,
        socket.create_connection(("127.0.0.1", server.port)) as waiting,
    ):
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.3)
        for _ in range(5):
            assert get(server.port)[0] == 503
        [line] = warnings(path)
        assert line.startswith("http.request is full, so clients are answered 503")


def test_a_full_disk_under_the_access_log_is_said_and_the_log_goes_on(redis_url: str, tmp_path: Path) -> None:
    path, log = tmp_path / "stderr", tmp_path / "access.log"
    log.write_bytes(b"x" * 99_999 + b"\n")
    with (
        path.open("wb") as stderr,
        program("--layer", redis_url, "-p", "0", "--access-log", str(log), stderr=stderr) as server,
    ):
        pid = server.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

        def request() -> None:
            worker = serve_one(redis_url, b"hello")
            assert get(server.port) == (200, b"hello")
            worker.join()

        for _ in range(2):
            request()
            eventually(lambda: len(warnings(path)) == 1)
            time.sleep(0.6)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        request()
        eventually(lambda: len(warnings(path)) == 2)
        began, ended = warnings(path)
        assert began.startswith(f"The access log {log} cannot be written (File too large).")
        assert ended == f"The access log {log} is written again; up to 2 lines were lost."
        assert server.end() == 0
    assert log.read_text().count("GET /path") == 1


def test_a_limit_of_open_files_is_said_with_what_to_do(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "stderr"
    with (
        path.open("wb") as stderr,
        program("--layer", redis_url, "-p", "0", stderr=stderr) as server,
        contextlib.ExitStack() as clients,
    ):
        pid = server.process.pid
        worker = serve_one(redis_url, b"hello")
        assert get(server.port) == (200, b"hello")
        worker.join()
        used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        free = (number for number in count(0) if number not in used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (next(islice(free, 3, None)), 4096))
        for _ in range(20):
            clients.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        eventually(lambda: warnings(path))
        time.sleep(0.5)
        [line] = warnings(path)
        assert line.startswith("New connections are refused: this process may open no more files.")
        clients.close()
        worker = serve_one(redis_url, b"hello")
        eventually(lambda: get(server.port) == (200, b"hello"))
        worker.join()
        eventually(lambda: len(warnings(path)) == 2, 15)
        assert "Connections are accepted again; " in warnings(path)[1]


def ask(address: str, path: str, method: str = "GET") -> tuple[int, Any]:
    """What the listener for probes on a unix socket answers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(address)
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        received = b"".join(iter(lambda: client.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body else None


def test_probes_and_sigusr1_say_how_it_is_until_it_has_ended(redis_url: str, tmp_path: Path) -> None:
    path, admin = tmp_path / "stderr", str(tmp_path / "admin.sock")
    with (
        path.open("wb") as stderr,
        program("--layer", redis_url, "-p", "0", "-v", "0", "--admin", admin, stderr=stderr) as server,
        socket.create_connection(("127.0.0.1", server.port)) as waiting,
    ):
        eventually(lambda: ask(admin, "/ready") == (200, {"ready": True}))
        assert ask(admin, "/startup") == (200, {"started": True})
        assert ask(admin, "/state", "HEAD") == (200, None)
        waiting.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: ask(admin, "/state")[1]["requests"] == 1)
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: warnings(path))
        [line] = warnings(path)
        told = json.loads(line.removeprefix("SIGUSR1, the state is "))
        assert (told["pid"], told["requests"]) == (server.process.pid, 1)
        assert told["listening"] == server.addresses
        assert told["places"][0]["up"]
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: ask(admin, "/ready") == (503, {"ready": False, "unready": "it is draining"}))
        assert ask(admin, "/live") == (200, {"live": True})
        assert server.end() == 1, "the second signal"
    assert not os.path.exists(admin)


def test_it_is_not_ready_while_its_layer_is_away(private_redis_server: RedisServer, tmp_path: Path) -> None:
    path, admin = tmp_path / "stderr", str(tmp_path / "admin.sock")
    url = private_redis_server.tcp_url
    with (
        path.open("wb") as stderr,
        program("--layer", url, "-p", "0", "--admin", admin, stderr=stderr),
    ):
        eventually(lambda: ask(admin, "/ready")[0] == 200)
        private_redis_server.stop()
        eventually(lambda: ask(admin, "/ready")[0] == 503)
        assert ask(admin, "/ready")[1] == {"ready": False, "unready": "the channel layer is away"}
        assert (ask(admin, "/live")[0], ask(admin, "/startup")[0]) == (200, 200)
        private_redis_server.start()
        eventually(lambda: ask(admin, "/ready")[0] == 200)


def test_without_a_layer_it_lives_and_has_not_started(tmp_path: Path) -> None:
    admin = str(tmp_path / "admin.sock")
    with program("--layer", NOWHERE, "-p", "0", "--admin", admin):
        assert ask(admin, "/live")[0] == 200
        assert ask(admin, "/startup") == (503, {"started": False})
        assert ask(admin, "/ready")[1]["unready"] == "it is not registered at the layer yet"


def test_everything_from_a_file_and_the_environment(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "stderr"
    config = tmp_path / "headrace.toml"
    config.write_text(
        f"port = 0\naccess-log = '{tmp_path / 'access.log'}'\nserver-name = 'file'\nforce-sync = true\n"
        "log-fmt = '%(levelname)s|%(message)s'\n"
    )
    environment = {
        **os.environ,
        "HEADRACE_INTERFACE_CONFIG": str(config),
        "HEADRACE_INTERFACE_LAYER": redis_url,
        "HEADRACE_INTERFACE_SERVER_NAME": "environment",
    }
    with path.open("wb") as stderr, program(stderr=stderr, env=environment) as server:
        worker = serve_one(redis_url, b"hello")
        connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/path")
        response = connection.getresponse()
        assert (response.read(), response.headers["Server"]) == (b"hello", "environment")
        connection.close()
        worker.join()
        assert server.end() == 0
    assert "GET /path" in (tmp_path / "access.log").read_text()
    first, second, *_ = path.read_text().splitlines()
    assert first.startswith(f"WARNING|--force-sync ({config}) changes nothing and can go: ")
    assert second.startswith("INFO|Listening on http://127.0.0.1:")


def checked(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `--check` says."""
    command = [*COMMAND, *arguments, "--check"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_check_says_what_would_run_and_listens_on_nothing(redis_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        admin = str(tmp_path / "admin.sock")
        done = checked(
            *("--layer", redis_url, "-p", number, "--max-websockets", "7", "--http-timeout", "0"),
            *("--admin", admin),
        )
    assert (done.returncode, done.stderr) == (0, "")
    listening, layer, limits, deadlines, answer = done.stdout.splitlines()
    assert listening == f"It would listen on 127.0.0.1 port {number}; --admin {admin}."
    assert layer.startswith("The channel layer is ")
    assert limits == "Limits other than the defaults: --max-websockets 7 (not 0)."
    assert "--header-timeout 10 s, " in deadlines
    assert "--http-timeout off (not 120 s), " in deadlines
    assert answer.startswith("The channel layer answers; workers take ")
    assert not os.path.exists(admin)


def test_a_check_names_certificates_their_names_and_their_end(redis_url: str, tmp_path: Path) -> None:
    first = issue(tmp_path, "a.example", "*.a.example", ends_in_days=3.5)
    second = issue(tmp_path, "b.example", file="second")
    arguments = [each for pair in (first, second) for each in ("--certfile", pair[0], "--keyfile", pair[1])]
    done = checked("--layer", redis_url, "-p", "0", *map(str, arguments))
    assert (done.returncode, done.stderr) == (0, "")
    listening, near, far, *_ = done.stdout.splitlines()
    assert listening == "It would listen on 127.0.0.1 port 0 (TLS)."
    assert near.startswith(f"Certificate: {first.certificate} for a.example, *.a.example until 2")
    assert ", in 3 days: renew it." in near
    assert far.startswith(f"Certificate: {second.certificate} for b.example until ")


def test_certificates_that_cannot_be_used_are_one_line_with_the_remedy(tmp_path: Path) -> None:
    first, second = issue(tmp_path, "a.example"), issue(tmp_path, "b.example", file="second")
    for given, says in (
        (["--certfile", str(first.certificate)], "name the file of its key with --keyfile"),
        (["--keyfile", str(first.key)], "--certfile is given 0 times and --keyfile 1 times"),
        (
            ["--certfile", str(first.certificate), "--keyfile", str(second.key)],
            "give the two that belong together",
        ),
        (["--certfile", str(tmp_path / "none")], "No such file"),
    ):
        assert says in failing("--layer", NOWHERE, "-p", "0", *given)


def test_sighup_reads_certificates_again_and_opens_the_access_log(tmp_path: Path) -> None:
    pair, log, errors = issue(tmp_path, "a.example"), tmp_path / "log", tmp_path / "stderr"
    given = ("--certfile", str(pair.certificate), "--keyfile", str(pair.key), "--access-log", str(log))

    def served() -> str:
        return ssl.get_server_certificate(("127.0.0.1", server.port))

    def says(text: str) -> bool:
        return text in errors.read_text()

    with errors.open("wb") as stderr, program("--layer", NOWHERE, "-p", "0", *given, stderr=stderr) as server:
        assert server.addresses == [f"https://127.0.0.1:{server.port}/"]
        assert served() == pair.certificate.read_text()
        renewed = issue(tmp_path, "a.example").certificate.read_text()
        log.rename(tmp_path / "rotated")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: says("Certificates that are served now") and log.exists())
        assert served() == renewed
        pair.key.write_text("rubbish")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: says(f"--keyfile {pair.key} has no private key in it"))
        assert served() == renewed
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: says(f'"certificates": [{{"file": "{pair.certificate}", "names": ["a.example"]'))
        assert server.end() == 0
    assert "Traceback" not in errors.read_text()


def test_a_check_without_an_answer_of_the_layer_fails_with_the_reason_and_no_password() -> None:
    done = checked("--layer", "redis://:secret@127.0.0.1:1/0", "-p", "0")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("headrace-interface: the channel layer does not answer: ")
    assert "127.0.0.1:1" in line
    assert "secret" not in done.stdout + done.stderr
    assert "redis://127.0.0.1:1" in done.stdout


def test_a_check_of_what_cannot_start_fails_with_the_same_line() -> None:
    for arguments, says in (
        (["--layer", "headrace_asgi:InMemoryChannelLayer"], "one process"),
        (["--layer", NOWHERE, "-e", "nonsense:1"], "nonsense"),
        (["--layer", NOWHERE, "--admin", "9000"], "--admin takes host:port"),
    ):
        assert says in failing(*arguments, "--check")


def test_a_place_that_is_taken_for_probes_or_for_clients_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = f"127.0.0.1:{taken.getsockname()[1]}"
        line = failing("--layer", NOWHERE, "-p", "0", "--admin", admin)
        assert f"Cannot listen on --admin {admin}: Address already in use" in line
        path = tmp_path / "admin.sock"
        port = admin.rpartition(":")[2]
        assert "already in use" in failing("--layer", NOWHERE, "-p", port, "--admin", str(path))
    assert not path.exists()


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        assert f"port {number}: Address already in use" in failing("--layer", NOWHERE, "-p", str(number))


def test_a_memory_layer_is_one_line() -> None:
    assert "one process" in failing("--layer", "headrace_asgi:InMemoryChannelLayer")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--layer"),
        (["--layer", NOWHERE, "a:b"], "one channel layer"),
        (["--layer", "nonsense://host"], "nonsense"),
        (["--layer", "no.such.module:layer"], "no.such.module"),
        (["--layer", NOWHERE, "--fd", "0", "--lifeline"], "--lifeline"),
        (["--layer", NOWHERE, "--port", "none"], "--port"),
        (["--layer", NOWHERE, "--nonsense"], "--nonsense"),
        (["--layer-config-fd", "999"], "--layer-config-fd 999"),
        (["--layer", NOWHERE, "--root-path", "app"], "--root-path"),
    ],
)
def test_what_cannot_start_is_one_line_that_says_what_to_do(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_interface.log.configure", lambda verbosity, line: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(arguments) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.parametrize("package", ["twisted", "autobahn", "httptools", "zope"])
def test_without_its_extra_it_says_what_to_install(package: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(f"raise ModuleNotFoundError('gone', name={package!r})")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    line = failing("--layer", NOWHERE, env=env)
    assert line.endswith(f"the package {package} is not installed; pip install headrace[interface]")
    done = subprocess.run([*COMMAND, "--version"], env=env, capture_output=True, text=True, timeout=30)  # noqa: PLW1510
    assert done.returncode == 0


def test_a_layer_that_can_never_work_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "my_layer.py").write_text(
        "from headrace_asgi import RedisChannelLayer\n"
        "from headrace_asgi.errors import ConfigurationError\n"
        "class Layer(RedisChannelLayer):\n"
        "    def ensure_usable(self) -> None:\n"
        "        raise ConfigurationError('Redis refuses the password')\n"
        f"layer = Layer(hosts=[{NOWHERE!r}])\n"
    )
    assert failing("my_layer:layer", cwd=tmp_path).endswith("Redis refuses the password")


def test_json_from_the_pipe_must_be_an_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_interface.log.configure", lambda verbosity, line: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for text in (b"[]", b"{", b"\xff"):
        reading, writing = os.pipe()
        os.write(writing, text)
        os.close(writing)
        assert main(["--layer-config-fd", str(reading)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for option, says in (("--help", "--websocket-timeout SECONDS"), ("--version", "headrace ")):
        with pytest.raises(SystemExit) as caught:
            main([option])
        assert caught.value.code == 0
        assert says in capsys.readouterr().out
