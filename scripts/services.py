"""What the tests use that is not a Python package: what is here, and how to get the rest.

python scripts/services.py report      # what is missing, and what `make test` therefore leaves out
python scripts/services.py install     # from the distribution, with root on Debian or Ubuntu
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """A program, the packages that bring it, and what is tested with it."""

    program: str
    packages: tuple[str, ...]
    used_for: str


SERVICES = (
    Service("redis-server", ("redis-server",), "the layers over Redis 7 (those over Valkey always run)"),
    Service("rabbitmq-server", ("rabbitmq-server",), "the layer over RabbitMQ"),
    Service("chromium", ("chromium",), "the chat in a browser"),
    Service("chromedriver", ("chromium-driver",), "the chat in a browser"),
    Service("nginx", ("nginx-light",), "the two tiers behind a proxy"),
    Service("haproxy", ("haproxy",), "deploy/haproxy.cfg, and the PROXY protocol"),
    Service("supervisord", ("supervisor",), "the configurations for Supervisor in deploy/"),
    Service("systemd-analyze", ("systemd",), "deploy/systemd"),
    Service("curl", ("curl",), "HTTP/2 as a client speaks it"),
    Service("wrk", ("wrk",), "HTTP load in the benchmarks"),
)


def missing() -> list[Service]:
    """The services whose program is not found: on PATH or beside this Python."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", ""), "/usr/sbin"])
    return [service for service in SERVICES if shutil.which(service.program, path=path) is None]


def report() -> int:
    """Say what is left out. Never an error: at home this is fine."""
    absent = missing()
    if not absent:
        sys.stdout.write("Nothing was left out: every service is here.\n")
        return 0
    sys.stdout.write("Left out, because the program is not here (`make services` installs it):\n")
    for service in absent:
        sys.stdout.write(f"  {service.program:14} {service.used_for}\n")
    return 0


def install() -> int:
    """Install what is missing, or say what to do."""
    absent = missing()
    packages = sorted({package for service in absent for package in service.packages})
    if not packages:
        sys.stdout.write("Every service is here already.\n")
        return 0
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if shutil.which("apt-get") is None:
        sys.stdout.write(
            "There is no apt-get here. Install these with your system's package manager; "
            f"the names are those of Debian: {' '.join(packages)}\n"
        )
        return 1
    if os.geteuid() != 0:
        sys.stdout.write(f"This needs root. Run: sudo apt-get update && sudo {' '.join(command)}\n")
        return 1
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Nothing is started: the tests run servers of their own, on ports of their own.
    env["RUNLEVEL"] = "1"
    for step in (["apt-get", "update", "-qq"], command):
        done = subprocess.run(step, env=env, check=False)
        if done.returncode:
            return done.returncode
    return 1 if missing() else 0


if __name__ == "__main__":
    actions = {"report": report, "install": install}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        sys.exit(f"usage: services.py {'|'.join(actions)}")
    sys.exit(actions[sys.argv[1]]())
