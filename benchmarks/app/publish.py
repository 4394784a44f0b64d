"""Reads lines: "msg N" sends message N to group "bench"; "release" answers the held requests."""

import json
import os
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.settings")
django.setup()

from headrace import Channel, Group  # noqa: E402

sys.stdout.write("ready\n")
sys.stdout.flush()
for line in iter(sys.stdin.readline, ""):
    word = line.split()
    if word[0] == "msg":
        Group("bench").send({"text": json.dumps({"n": int(word[1]), "t": time.monotonic()})})
    elif word[0] == "release":
        Channel("bench.release").send({})
