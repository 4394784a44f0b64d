"""The part of a layer's contract that takes several processes to show. Needs `several_processes = True`."""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009

from __future__ import annotations

import multiprocessing
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from .case import ConformanceCase

__all__ = ["ChildProcess", "ProcessConformance"]


class ChildProcess:
    """A forked child that runs one function and reports what it returned."""

    def __init__(self, function: Callable[..., Any], *args: Any, patience_seconds: float = 20.0) -> None:
        self._patience_seconds = patience_seconds
        context = multiprocessing.get_context("fork")
        self._reports, reports = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(target=_report, args=(reports, function, args))
        with warnings.catch_warnings():
            # Python 3.12 warns of a fork while threads run; the child touches none of their locks.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        reports.close()

    def result(self) -> Any:
        """What the function returned. Waits for it; raises AssertionError if it raised or did not end."""
        try:
            if not self._reports.poll(self._patience_seconds):
                raise AssertionError(f"the child {self._process.pid} did not report in time")
            succeeded, value = self._reports.recv()
        except EOFError:
            raise AssertionError(f"the child {self._process.pid} ended without a report") from None
        finally:
            self.end()
        if not succeeded:
            raise AssertionError(f"in the child: {value}")
        return value

    def end(self) -> None:
        """End the child, if it is still there."""
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._reports.close()


def _report(reports: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        report = (True, function(*args))
    except BaseException:
        report = (False, traceback.format_exc())
    reports.send(report)
    reports.close()


class ProcessConformance(ConformanceCase):
    """Sharing channels among processes, and using a layer after a fork."""

    def fork(self, function: Callable[..., Any], *args: Any) -> ChildProcess:
        """A child that runs `function`; ended with the test. Skips the case without `several_processes`."""
        if not self.several_processes:
            self.skipTest("several_processes is not set")
        if "fork" not in multiprocessing.get_all_start_methods():
            self.skipTest("this platform cannot fork")
        child = ChildProcess(function, *args, patience_seconds=2 * self.patience_seconds)
        self.addCleanup(child.end)
        return child

    def test_several_processes_are_claimed(self) -> None:
        if not self.several_processes and self.skip_undeclared:
            self.skipTest("several_processes is not set")
        self.assertTrue(
            self.several_processes, "set several_processes = True, or leave out ProcessConformance"
        )

    def test_a_message_goes_from_process_to_process(self) -> None:
        self.channel_layer.send("test.there", {"value": "blue"})
        child = self.fork(self._answer, "test.there", "test.process!back")
        self.assertEqual(child.result(), {"value": "blue"})
        self.assert_next(["test.process!"], "test.process!back", {"heard": {"value": "blue"}})

    def _answer(self, heard_on: str, answer_to: str) -> dict[str, Any]:
        (_, message), *_ = self.take_all([heard_on], 1)
        self.channel_layer.send(answer_to, {"heard": message})
        return message

    def test_a_receiver_waiting_here_wakes_for_a_message_sent_there(self) -> None:
        self.channel_layer.receive(["test.one"])
        started = time.monotonic()
        child = self.fork(self._send_later, "test.one")
        self.assertEqual(self.channel_layer.receive(["test.one"], block=True), ("test.one", {"late": True}))
        self.assertLess(time.monotonic() - started, 3)
        child.result()

    def _send_later(self, channel: str) -> None:
        time.sleep(0.1)
        self.channel_layer.send(channel, {"late": True})

    def test_no_message_is_delivered_twice_or_lost_among_several_processes(self) -> None:
        receivers, count = 3, 200
        children = [self.fork(self.take_until_stop, "test.shared") for _ in range(receivers)]
        self.send_numbers_and_stops("test.shared", count, receivers)
        received = [number for child in children for number in child.result()]
        self.assertEqual(sorted(received), list(range(count)))

    def test_a_forked_layer_never_mixes_its_answers_with_those_of_its_parent_w14(self) -> None:
        self.channel_layer.send("test.warm", {"value": "connected"})
        self.take(["test.warm"])
        children = [self.fork(self._talk_to_oneself, f"test.child.{number}") for number in range(2)]
        self._talk_to_oneself("test.parent")
        for child in children:
            child.result()

    def _talk_to_oneself(self, channel: str) -> None:
        for number in range(100):
            self.channel_layer.send(channel, {"number": number})
            self.assert_next([channel], channel, {"number": number})

    def test_a_membership_made_there_counts_here(self) -> None:
        self.need("groups")
        self.fork(self.channel_layer.group_add, "test-group", "test.one").result()
        self.assertEqual(self.channel_layer.group_channels("test-group"), ["test.one"])
        self.channel_layer.send_group("test-group", {"value": "orange"})
        self.assert_next(["test.one"], "test.one", {"value": "orange"})
        self.fork(self.channel_layer.group_discard, "test-group", "test.one").result()
        self.assertEqual(self.channel_layer.group_channels("test-group"), [])

    def test_names_made_in_forked_processes_never_meet(self) -> None:
        self.channel_layer.new_channel("test.single?")
        children = [self.fork(self.channel_layer.new_channel, "test.single?") for _ in range(3)]
        names = {child.result() for child in children} | {self.channel_layer.new_channel("test.single?")}
        self.assertEqual(len(names), 4)
