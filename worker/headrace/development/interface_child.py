"""The interface server as a child process of a development command.

It outlives reloads of the code, so that open WebSockets do. It gets its socket and the layer's configuration
as open descriptors, and ends when its parent does, however that ends: its stdin is the lifeline.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.limits import pattern_as_text

__all__ = ["InterfaceChild", "listening_socket"]

#: Importing Twisted and starting the embedded server take one or two seconds on a slow machine.
START_SECONDS = 20.0
#: What open connections get when the command ends, in seconds. Nobody will answer them any more.
DRAIN_SECONDS = 1.0
STOP_SECONDS = 5.0
_BACKLOG = 1024
#: Variables of the environment that begin so are options of `headrace-interface`.
_INTERFACE_OPTIONS = "HEADRACE_INTERFACE_"


def listening_socket(address: str, port: int, use_ipv6: bool) -> socket.socket:
    """A socket that listens; raises OSError. Binding here tells of a port in use before anything starts."""
    bound = socket.socket(socket.AF_INET6 if use_ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
        bound.listen(_BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound


class InterfaceChild:
    """One interface server. `start` waits until it listens, `stop` until it has ended."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        """Take what is called, in a thread of its own, with each line of the access log."""
        self._on_line = on_line
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._stopping = False

    def start(
        self, listening: socket.socket, layer: Mapping[str, object], options: Sequence[str] = ()
    ) -> None:
        """Start it on `listening`, which is closed here, with {"BACKEND": …, "CONFIG": …} and more options.

        Blocks until it listens, a second or so. Raises ConfigurationError, and then leaves nothing behind.
        """
        with listening:
            if importlib.util.find_spec("twisted") is None:
                raise ConfigurationError(
                    "the interface server needs Twisted; pip install headrace[interface]"
                )
            config = _as_json(layer)
            with contextlib.ExitStack() as opened:
                config_fd = _pipe_with(config, opened)
                ready, ready_fd = os.pipe()
                opened.callback(os.close, ready)
                try:
                    self._process = self._popen(listening.fileno(), config_fd, ready_fd, options)
                finally:
                    os.close(ready_fd)
                self._await(ready)
        self._reader = threading.Thread(target=self._read_lines, name="headrace-requests", daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """End it: connections are closed in order, within a few seconds. Nothing happens if it has ended."""
        process = self._process
        if process is None:
            return
        self._stopping = True
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join(STOP_SECONDS)
        elif process.stdout is not None:
            process.stdout.close()
        self._process = None

    def _popen(
        self, listening_fd: int, config_fd: int, ready_fd: int, options: Sequence[str]
    ) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-m", "headrace_interface"]
        arguments += ["--fd", str(listening_fd), "--lifeline", "--layer-config-fd", str(config_fd)]
        arguments += ["--ready-fd", str(ready_fd), "--drain-timeout", str(DRAIN_SECONDS)]
        arguments += ["-v", "0", "--access-log", "-", "--access-log-format", "json", *options]
        return subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(listening_fd, config_fd, ready_fd),
            # What the environment says about an interface server is meant for one in production.
            env={name: text for name, text in os.environ.items() if not name.startswith(_INTERFACE_OPTIONS)},
            # Ctrl-C is for the parent, which ends this child when the worker has ended.
            process_group=0,
        )

    def _await(self, ready: int) -> None:
        readable, _, _ = select.select([ready], [], [], START_SECONDS)
        if readable and os.read(ready, 4096):
            return
        self.stop()
        # What it said about it stands on stderr already.
        raise ConfigurationError(
            "the interface server did not start" + ("" if readable else f" within {START_SECONDS:g} s")
        )

    def _read_lines(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                self._on_line(line.rstrip("\n"))
        status = process.wait()
        if not self._stopping:
            self._on_line(f"The interface server ended with status {status}; start the command again.")


def _as_json(layer: Mapping[str, object]) -> bytes:
    config = layer.get("CONFIG")
    rules = config.get("channel_capacity") if isinstance(config, Mapping) else None
    if isinstance(config, Mapping) and isinstance(rules, Mapping):
        rules = {pattern_as_text(key): value for key, value in rules.items()}
        layer = {**layer, "CONFIG": {**config, "channel_capacity": rules}}
    try:
        return json.dumps(layer).encode()
    except TypeError as error:
        raise ConfigurationError(
            f"the CONFIG of the layer cannot be handed to the interface server as JSON ({error}); "
            "use strings and numbers"
        ) from None


def _pipe_with(content: bytes, opened: contextlib.ExitStack) -> int:
    """The read end of a pipe that holds `content` and then ends."""
    read, write = os.pipe()
    opened.callback(os.close, read)
    with os.fdopen(write, "wb") as pipe:
        if len(content) > 65_536:  # more than a pipe takes without a reader
            raise ConfigurationError("the CONFIG of the layer is larger than 64 KiB")
        pipe.write(content)
    return read
