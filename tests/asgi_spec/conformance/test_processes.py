"""The cases with several processes: what a child reports, and that a layer of one process fails them."""

from __future__ import annotations

import os
import signal

import pytest

from headrace_asgi.conformance.processes import ChildProcess, ProcessConformance
from tests.support.conformance import failed_cases, only


def test_a_child_reports_what_its_function_returned() -> None:
    parent = os.getpid()
    pid, values = ChildProcess(lambda *args: (os.getpid(), args), 1, "two").result()
    assert pid != parent
    assert values == (1, "two")


def test_an_error_in_the_child_fails_the_test_with_its_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError("in there")

    with pytest.raises(AssertionError, match=r"in the child: (?s:.*)ZeroDivisionError: in there"):
        ChildProcess(fail).result()


def test_a_child_that_dies_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="ended without a report"):
        ChildProcess(lambda: os.kill(os.getpid(), signal.SIGKILL)).result()


def test_a_child_that_is_not_asked_can_be_ended_twice() -> None:
    child = ChildProcess(os.getpid)
    child.end()
    child.end()


def test_a_layer_of_one_process_is_caught_if_it_claims_more() -> None:
    for case in ("test_a_message_goes_from_process_to_process", "test_a_membership_made_there_counts_here"):
        assert case in failed_cases(only(ProcessConformance, case), several_processes=True)


def test_without_several_processes_nothing_is_forked_and_the_claim_alone_fails() -> None:
    assert failed_cases(ProcessConformance) == {"test_several_processes_are_claimed"}
    assert failed_cases(ProcessConformance, skip_undeclared=True) == set()
