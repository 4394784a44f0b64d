"""The chat, as it would be deployed: an interface server and workers as processes of their own.

    make demo                                    # everything, on http://127.0.0.1:8000/
    python scripts/demo.py --port 9000           # in an environment that has headrace[all]

Starts one interface server, two workers for the pages and sockets, and one worker for the background channel.
Ends all of them on Ctrl-C, SIGTERM or the end of the terminal, or when one of them ends.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 15.0
#: How long open requests, such as long polls, may hold up Ctrl-C.
DRAIN_SECONDS = 2
BACKGROUND_CHANNELS = "chat.reminders"


class DemoError(Exception):
    """The demo cannot start or go on; the text says why."""


@dataclass
class Tier:
    """One child process of the demo."""

    name: str
    process: subprocess.Popen[bytes]


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run the chat example with its two tiers apart.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--redis", metavar="URL", help="use this Redis in place of the embedded server")
    parser.add_argument(
        "--project", type=Path, default=ROOT / "examples" / "chat", help="folder with the chat's manage.py"
    )
    parser.add_argument(
        "--data", type=Path, default=ROOT / ".demo", help="folder for the database and uploaded files"
    )
    return parser.parse_args(argv)


def environment(options: argparse.Namespace) -> dict[str, str]:
    """What the children get to know beside our own environment."""
    data = str(options.data.resolve())
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "CHAT_DATA_DIR": data}
    # Demos of two folders, or on two ports, must not answer each other's browsers.
    digest = hashlib.sha256(data.encode()).hexdigest()[:8]
    env["CHAT_LAYER_NAME"] = f"chat-demo-{digest}-{options.port}"
    if options.redis:
        env["CHAT_REDIS_URL"] = options.redis
    if options.host not in ("127.0.0.1", "localhost", "::1"):
        env["CHAT_ALLOWED_HOSTS"] = "*"
    return env


def check_port(options: argparse.Namespace) -> None:
    """Raise DemoError if the address cannot be listened on, before anything is started."""
    try:
        socket.create_server(
            (options.host, options.port), family=socket.AF_INET6 if ":" in options.host else socket.AF_INET
        ).close()
    except OSError as error:
        raise DemoError(
            f"Cannot listen on {options.host}, port {options.port}: {error.strerror}. "
            'Choose another port: make demo ARGS="--port 9000"'
        ) from None


def prepare(options: argparse.Namespace, env: dict[str, str]) -> None:
    """Make the database, the demo users and the rooms."""
    options.data.mkdir(parents=True, exist_ok=True)
    for command in (["migrate", "--verbosity", "0"], ["demo_users"]):
        done = subprocess.run(
            [sys.executable, "manage.py", *command], cwd=options.project, env=env, check=False
        )
        if done.returncode:
            raise DemoError(f"`manage.py {command[0]}` failed")


def start(options: argparse.Namespace, env: dict[str, str], tiers: list[Tier]) -> None:
    """Start every process and note it in `tiers`, so that it is ended whatever happens next."""
    layer = options.redis or f"ipc://{env['CHAT_LAYER_NAME']}"
    listen = ["-b", options.host, "-p", str(options.port), "--drain-timeout", str(DRAIN_SECONDS)]
    runworker = ["manage.py", "runworker"]
    commands = {
        "interface server": ["-m", "headrace_interface", "--layer", layer, *listen],
        "workers": [
            *runworker,
            *("--processes", str(options.workers), "--exclude-channels", BACKGROUND_CHANNELS),
        ],
        "background worker": [*runworker, "--only-channels", BACKGROUND_CHANNELS],
    }
    for name, command in commands.items():
        # A session of its own: Ctrl-C reaches us alone, and we end the tiers in order.
        process = subprocess.Popen(
            [sys.executable, *command], cwd=options.project, env=env, start_new_session=True
        )
        tiers.append(Tier(name, process))


def check_running(tiers: list[Tier]) -> None:
    """Raise DemoError if a process has ended."""
    for tier in tiers:
        status = tier.process.poll()
        if status is not None:
            raise DemoError(f"The {tier.name} ended with status {status}; see above.")


def answers(host: str, port: int) -> bool:
    """Whether the sign-in page comes, through both tiers."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/sign-in/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_for_answer(options: argparse.Namespace, tiers: list[Tier]) -> None:
    """Wait until a page comes, or raise DemoError."""
    asked = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
    deadline = time.monotonic() + START_SECONDS
    while not answers(asked, options.port):
        check_running(tiers)
        if time.monotonic() > deadline:
            raise DemoError(f"No page within {START_SECONDS:.0f} s.")
        time.sleep(0.1)
    # Another server on the same port would have answered too.
    check_running(tiers)


def stop(tiers: list[Tier]) -> None:
    """End the processes in the order they were started: the workers outlive the sockets they serve."""
    deadline = time.monotonic() + STOP_SECONDS
    for tier in tiers:
        with contextlib.suppress(ProcessLookupError):
            tier.process.terminate()
        try:
            tier.process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"The {tier.name} did not end by itself and is killed.")
            # The whole session: a worker has children.
            os.killpg(tier.process.pid, signal.SIGKILL)
            tier.process.wait()


def say(text: str) -> None:
    """One line for the person who started the demo."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def greet(options: argparse.Namespace) -> None:
    """Say where to go."""
    say(f"\n  The chat is at http://{options.host}:{options.port}/   (Ctrl-C ends it)\n")
    if options.host not in ("127.0.0.1", "localhost", "::1"):
        say("  It is open to your network, and the passwords of the demo users are public.\n")


def raise_interrupt(number: int, frame: object) -> None:
    """SIGTERM, and the terminal's end, are treated as Ctrl-C."""
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Run the demo until it is ended; the exit status."""
    options = arguments(sys.argv[1:] if argv is None else argv)
    env = environment(options)
    tiers: list[Tier] = []
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, raise_interrupt)
    try:
        check_port(options)
        prepare(options, env)
        start(options, env, tiers)
        wait_for_answer(options, tiers)
        greet(options)
        while True:
            check_running(tiers)
            time.sleep(0.25)
    except KeyboardInterrupt:
        say("\nEnding the chat.")
        return 0
    except DemoError as error:
        say(f"{error}")
        return 1
    finally:
        for ending in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(ending, signal.SIG_IGN)
        stop(tiers)


if __name__ == "__main__":
    sys.exit(main())
