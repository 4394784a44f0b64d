"""The layers of others that ours is measured beside, each in an environment that pip makes for it.

    python -m benchmarks.peers          # makes them in .bench, once; `make clean` removes them

It takes the Python and the packages that a `Peer` names; pip asks the index that it is set up for. Where an
environment cannot be made, `PeerMissing` says why, and the table leaves its rows out with that reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .processes import ROOT

__all__ = ["ENVIRONMENTS", "PEERS", "Peer", "PeerMissing", "interpreter", "main", "python_of"]

ENVIRONMENTS = ROOT / ".bench"
#: Seconds for one step of making an environment.
STEP_SECONDS = 300.0
#: How lines begin that do not say why a step failed.
_BESIDE = ("[notice]", "WARNING")


@dataclass(frozen=True, slots=True)
class Peer:
    """A library, what is installed for it, and the Python 3 that it runs on (minor versions)."""

    library: str
    requirements: tuple[str, ...]
    oldest_minor: int
    newest_minor: int
    #: What must be importable: parts in C that it would be slower without, too.
    modules: tuple[str, ...]
    #: For building what has no wheel.
    builders: tuple[str, ...] = ()


PEERS = (
    # The C part of its msgpack is not compiled on later Pythons, and it would look slower than it was.
    Peer(
        "asgi_redis",
        ("asgi_redis==1.4.3", "redis==2.10.6", "msgpack-python==0.5.6", "cryptography"),
        7,
        7,
        ("asgi_redis", "msgpack._packer", "cryptography.fernet"),
        ("pip<24", "setuptools<58", "wheel"),
    ),
    # redis 8 ends a waiting take after 5 s of its own.
    Peer(
        "channels_redis",
        ("channels_redis==4.3.0", "redis==6.4.0", "cryptography"),
        10,
        14,
        ("channels_redis.core", "msgpack._cmsgpack", "cryptography.fernet"),
    ),
)


class PeerMissing(Exception):
    """There is no environment for a library, and why."""


def python_of(peer: Peer, environments: Path = ENVIRONMENTS) -> str:
    """The interpreter of a library's environment, which is made first if need be. Raises PeerMissing.

    Blocks for up to some minutes while pip works.
    """
    directory = environments / peer.library
    python = directory / "bin" / "python"
    marker = directory / "made-of"
    wanted = "\n".join(peer.requirements)
    if marker.exists() and marker.read_text() == wanted:
        return str(python)
    shutil.rmtree(directory, ignore_errors=True)
    _step(peer, [interpreter(peer), "-m", "venv", str(directory)])
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input"]
    if peer.builders:
        _step(peer, [*pip, "-U", *peer.builders])
    _step(peer, [*pip, *peer.requirements])
    _step(peer, [str(python), "-c", f"import {', '.join(peer.modules)}"])
    marker.write_text(wanted)
    return str(python)


def interpreter(peer: Peer) -> str:
    """A Python that the library runs on and that can make environments. Raises PeerMissing."""
    for path in _candidates(peer):
        # What pyenv puts on PATH is there for every version, and fails for one that is not chosen.
        probe = [path, "-c", "import ensurepip, venv"]
        if subprocess.run(probe, capture_output=True, timeout=STEP_SECONDS, check=False).returncode == 0:
            return path
    versions = " to ".join(f"3.{minor}" for minor in sorted({peer.oldest_minor, peer.newest_minor}))
    raise PeerMissing(f"{peer.library} needs a Python {versions}, with venv, on PATH")


def _candidates(peer: Peer) -> Iterator[str]:
    minors = range(peer.newest_minor, peer.oldest_minor - 1, -1)
    if sys.version_info.minor in minors:
        yield sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for minor in minors:
        for path in sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python"), reverse=True):
            yield str(path)
        found = shutil.which(f"python3.{minor}")
        if found is not None:
            yield found


def _step(peer: Peer, command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerMissing(f"{peer.library} could not be installed: {error}") from error
    if done.returncode:
        said = (done.stdout + done.stderr).splitlines()
        told = [line.strip() for line in said if line.strip() and not line.startswith(_BESIDE)]
        raise PeerMissing(
            f"{peer.library} could not be installed: {told[-1] if told else 'pip says nothing'}"
        )


def main() -> int:
    """Make what is missing; 1 if something cannot be made."""
    status = 0
    for peer in PEERS:
        try:
            print(f"{peer.library}: {python_of(peer)}")
        except PeerMissing as missing:
            print(missing, file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
