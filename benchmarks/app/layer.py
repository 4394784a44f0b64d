"""Cost of the bare channel layer (arguments: seconds, phase): a JSON line when ready, one when done."""

import json
import os
import sys
import time

from headrace_asgi import RedisChannelLayer

MESSAGE = {"text": "x" * 190}
layer = RedisChannelLayer(
    hosts=[f"redis://127.0.0.1:{os.environ.get('BENCH_REDIS_PORT', '6390')}/0"], capacity=1_000_000
)


def say(**values):
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def pair():
    for _ in range(50):
        layer.send("bench.raw", MESSAGE)
        if layer.receive(["bench.raw"])[0] is None:
            raise RuntimeError("a message that was just sent is not there")
    return 50


def burst():
    for _ in range(100):
        layer.send("bench.raw", MESSAGE)
    for _ in range(100):
        if layer.receive(["bench.raw"])[0] is None:
            raise RuntimeError("a message that was just sent is not there")
    return 100


def group(size):
    name = f"g{size}"
    for number in range(size):
        layer.group_add(name, f"bench.reply.abcdefgh!{number:012d}")

    def send():
        layer.send_group(name, MESSAGE)
        return 1

    return send


def main(seconds, phase):
    step = {"pair": pair, "burst": burst}.get(phase) or group(int(phase.removeprefix("group")))
    step()
    say(phase=phase)
    sys.stdin.readline()
    operations, start, used = 0, time.monotonic(), time.process_time()
    while time.monotonic() - start < seconds:
        operations += step()
    say(phase=phase, ops=operations, s=time.monotonic() - start, cpu=time.process_time() - used)


main(float(sys.argv[1]), sys.argv[2])
