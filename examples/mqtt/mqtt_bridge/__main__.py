"""`python -m mqtt_bridge LAYER ENDPOINT`: serves until a signal ends it."""

import sys
from functools import partial

from headrace_interface.bridge import serve

from .server import MqttServer

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m mqtt_bridge LAYER ENDPOINT")
    sys.exit(serve("mqtt_bridge", sys.argv[1], partial(MqttServer, sys.argv[2])))
