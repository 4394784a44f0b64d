"""Consumers that do what a programmer's mistake does; the request's path or the frame's text says which."""

import datetime
import os
import signal
import time

from headrace import Channel, Group
from headrace.sessions import enforce_ordering

#: Answers that are no response, and what is wrong with them.
ANSWERS = {
    "unknown_key": {"status": 200, "headers": [], "content": b"x", "contents": b"x"},
    "wrong_type": {"status": "200", "headers": [], "content": b"x"},
    "missing_key": {"headers": [], "content": b"x"},
    "text_content": {"status": 200, "headers": [], "content": "x"},
    "impossible_status": {"status": 99, "headers": [], "content": b"x"},
    "split_header": {"status": 200, "headers": [[b"x-a", b"1\r\nx-b: 2"]], "content": b"x"},
}
#: Frames that are no frames.
FRAMES = {
    "unknown_key": {"txet": "x"},
    "wrong_type": {"text": 7},
    "impossible_close": {"close": 7},
}


def _mistake(what, reply_channel):
    if what == "unpackable":
        reply_channel.send({"text": datetime.date.today()})
    elif what == "no_dict":
        reply_channel.send("text")
    elif what == "too_large":
        reply_channel.send({"text": "x" * 3_000_000})
    elif what == "channel_name":
        Channel("kanäle/alle").send({})
    elif what == "group_name":
        Group("a group").send({"text": "x"})
    elif what == "exit":
        raise SystemExit(3)
    elif what == "unknown_channel":
        Channel("nobody.reads.this").send({"text": "x"})
    else:
        raise KeyError(what)


def answer_badly(message, what):
    """Answers a request as the path says."""
    if what in ANSWERS:
        message.reply_channel.send(ANSWERS[what])
    else:
        _mistake(what, message.reply_channel)
        message.reply_channel.send({"status": 200, "headers": [], "content": b"sent"})


def send_badly(message):
    """Sends a frame as the received one says; anything else comes back as it is."""
    what = message["text"]
    if what in FRAMES:
        message.reply_channel.send(FRAMES[what])
    elif what.startswith("!"):
        _mistake(what[1:], message.reply_channel)
    else:
        message.reply_channel.send({"text": what})


def stuck(message):
    """Comes to no end, and says in which process."""
    print("stuck in", os.getpid(), flush=True)  # noqa: T201
    time.sleep(120)


@enforce_ordering
def stuck_in_order(message):
    """The same for a frame of an ordered socket."""
    stuck(message)


def poison(message):
    """Never works: kills its process, or raises."""
    print("poison runs", flush=True)  # noqa: T201
    if message["kill"]:
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("this message is poison")
