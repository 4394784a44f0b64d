"""Sends to a background channel from a command, from a thread and from a forked child."""

import os
import threading

from django.core.management.base import BaseCommand

from headrace import Channel


def send(origin):
    Channel("journey.mark").send({"from": origin})


class Command(BaseCommand):
    help = "Send one message from here, one from a thread and one from a forked child."

    def handle(self, *args, **options):
        send("command")
        thread = threading.Thread(target=send, args=["thread"])
        thread.start()
        thread.join()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                send("fork")
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if status:
            raise SystemExit("the forked child could not send")
        send("command again")
