"""Measure and print one Markdown table, and JSON if asked for; exit 1 if a promise does not hold."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from . import idle, layers, load, parts, table

SECTIONS = ("parts", "layers", "idle", "load")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    raise_file_limit()
    wanted = [options.only] if options.only else list(SECTIONS)
    rows: list[table.Row] = []
    if "parts" in wanted:
        _progress("the parts of a message's path")
        rows += parts.measure(options.seconds, options.rounds)
    if "layers" in wanted:
        _progress("the channel layer alone")
        rows += layers.measure(options.seconds, options.rounds, options.peers)
    if "idle" in wanted:
        _progress("idle processes")
        rows += idle.measure(options.seconds, options.sockets)
    if "load" in wanted:
        _progress("load")
        rows += load.measure(options.seconds, options.rounds)
    print(_about(options) + "\n")
    print(table.rendered(rows))
    if options.json:
        recorded = {"about": _about(options), "rows": table.recorded(rows)}
        options.json.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    broken = table.broken(rows)
    for row in broken:
        print(f"\nDoes not hold: {row.what}", file=sys.stderr)
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures Headrace on this machine and prints a Markdown table. Exits 1 if a promise "
        "does not hold. Everything stays on the loopback interface. benchmarks/README.md says what the "
        "figures mean.",
    )
    parser.add_argument(
        "--seconds",
        type=_positive,
        default=5.0,
        metavar="S",
        help="length of a round of load; a part takes 1/25 of it, a case of the layers 2/5, idle processes "
        "are watched four times as long (default: %(default)g)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        choices=range(1, 101),
        default=5,
        metavar="N",
        help="rounds of parts, layers and load, interleaved; the table has medians (default: %(default)d)",
    )
    parser.add_argument("--only", choices=SECTIONS, help="measure only this (default: all of them)")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="measure the layers of asgi_redis and channels_redis too; pip installs them into .bench, once",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every value of every round to this file, too"
    )
    parser.add_argument(
        "--sockets",
        type=int,
        choices=range(1, 100_001),
        default=2000,
        metavar="N",
        help="idle WebSockets whose memory is measured (default: %(default)d)",
    )
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"a number of seconds above 0, up to 3600, not {text!r}")
    return value


def _about(options: argparse.Namespace) -> str:
    """One line that says where and how this was measured."""
    load_average = f"{os.getloadavg()[0]:.1f}"
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    return (
        f"Python {platform.python_version()}, {machine}, load average {load_average}; "
        f"{options.rounds} rounds of {options.seconds:g} s"
    )


def _progress(what: str) -> None:
    print(f"Measuring {what} …", file=sys.stderr, flush=True)


def raise_file_limit() -> None:
    """Thousands of sockets need descriptors, here and in the interface server, which inherits the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems cannot do what they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _terminated(number: int, frame: FrameType | None) -> None:
    # As an exception, so that every process that was started is ended.
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
