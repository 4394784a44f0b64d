"""`python -m headrace_interface.udp`: reads its options and serves until a signal ends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial

from headrace_asgi.errors import ConfigurationError

from ..bridge import serve
from .options import PROGRAM, options_from
from .server import UdpServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; the exit status."""
    try:
        given = options_from(sys.argv[1:] if arguments is None else arguments, os.environ)
    except ConfigurationError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)  # noqa: T201 (the one line)
        return 1
    return serve(PROGRAM, given.layer, partial(UdpServer, given.settings), given.verbosity)


if __name__ == "__main__":
    sys.exit(main())
