"""A real RabbitMQ as a child of the test process: loopback only, a node of its own, ended by its id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .ports import free_port
from .services import StartedInBlock

__all__ = ["RabbitMQServer", "rabbitmq_programs"]

#: An Erlang machine that starts on a busy computer takes its time.
START_SECONDS = 90.0
STOP_SECONDS = 30.0
#: Where Debian has the script itself: the one on PATH wants to change the user.
_DEBIAN = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_GREETING = b"AMQP\x00\x00\x09\x01"


def rabbitmq_programs() -> tuple[str, str] | None:
    """The server, and the name server that its node needs; None if one of them is not here."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    server = _DEBIAN if Path(_DEBIAN).exists() else shutil.which("rabbitmq-server", path=path)
    names = shutil.which("epmd", path=path)
    return (server, names) if server and names else None


class RabbitMQServer(StartedInBlock):
    """One node on a loopback port, with a directory of its own. The user is guest, the vhost is "/"."""

    def __init__(self, server: str, names: str) -> None:
        """Prepare a node; `start` starts it."""
        self._server = server
        self._names = names
        self.directory = Path(tempfile.mkdtemp(prefix="headrace-rabbitmq-"))
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"
        self._names_port, self._cluster_port = free_port(), free_port()
        self._node: subprocess.Popen[bytes] | None = None
        self._name_server: subprocess.Popen[bytes] | None = None

    def start(self) -> RabbitMQServer:
        """Start the node, with what its directory holds, and wait until it answers."""
        assert self._node is None, "the node runs already"
        environment = self._environment()
        with (self.directory / "log").open("ab") as log:
            if self._name_server is None:
                # Were it not there, the node would start one, which then outlives it.
                self._name_server = subprocess.Popen(
                    [self._names, "-port", str(self._names_port), "-address", "127.0.0.1"],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            self._node = subprocess.Popen(
                [self._server],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a script and its Erlang machine, which end together
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._node.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(f"{self._server} did not start:\n{self.log[-3000:]}")
            time.sleep(0.1)
        return self

    @property
    def group(self) -> int:
        """The process group of the node that runs."""
        assert self._node is not None, "the node does not run"
        return self._node.pid

    @property
    def log(self) -> str:
        """Everything the node wrote."""
        return (self.directory / "log").read_text(errors="replace")

    def _environment(self) -> dict[str, str]:
        folder = str(self.directory)
        (self.directory / "plugins").write_text("[].\n")
        return {
            **os.environ,
            "HOME": folder,
            "RABBITMQ_NODENAME": f"headrace{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._cluster_port),
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/logs",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            # One scheduler that sleeps when it has nothing to do: there are few cores, and many tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def control(self, *words: str) -> str:
        """Run `rabbitmqctl` for this node and return what it says."""
        program = Path(self._server).with_name("rabbitmqctl")
        environment = self._environment()
        return subprocess.run(
            [str(program), "-n", environment["RABBITMQ_NODENAME"], *words],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=START_SECONDS,
        ).stdout

    def kill(self) -> None:
        """End the node with SIGKILL; what it had on its disk stays."""
        node, self._node = self._node, None
        if node is not None:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()
            deadline = time.monotonic() + STOP_SECONDS
            while self._answers() and time.monotonic() < deadline:
                time.sleep(0.01)

    def restart(self) -> None:
        """Kill the node and start it again: queues and bindings are there again, messages are not."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop the node in its tracks: connections stay open, nothing is answered."""
        assert self._node is not None
        os.killpg(self._node.pid, signal.SIGSTOP)
        deadline = time.monotonic() + STOP_SECONDS
        while not _is_stopped(self._node.pid) and time.monotonic() < deadline:
            time.sleep(0.01)

    def resume(self) -> None:
        """Let a paused node go on."""
        assert self._node is not None
        os.killpg(self._node.pid, signal.SIGCONT)

    def close(self) -> None:
        """End everything and remove the directory."""
        self.kill()
        names, self._name_server = self._name_server, None
        if names is not None:
            names.kill()
            names.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), STOP_SECONDS) as link:
                link.sendall(_GREETING)
                # A frame, which begins with a 1; another version of the protocol would be answered "AMQP".
                return link.recv(1) == b"\x01"
        except OSError:
            return False


def _is_stopped(group: int) -> bool:
    """Whether no process of a group runs: a busy machine hears the signal later."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended in this moment
            state, _parent, its_group, *_ = path.read_text().rpartition(")")[2].split()
            if int(its_group) == group and state not in "TZ":
                return False
    return True
