"""Membership of groups in one process: counting adds, not believing them (docs/protocol.md, section 8)."""

from __future__ import annotations

from headrace_asgi.layers.redis.plan.membership import GHOST_DELAY_SECONDS, LEAVE_DELAY_SECONDS, Membership

LATER = LEAVE_DELAY_SECONDS


def joined(*locals_: str) -> Membership:
    membership = Membership()
    for local in locals_:
        membership.add("g", local, True, 0.0)
    return membership


def test_members_are_listed_once_in_the_order_they_joined() -> None:
    membership = joined("a", "b", "a")
    assert membership.members("g") == ("a", "b")
    assert membership.members("other") == ()


def test_a_closed_client_is_in_no_group_at_once() -> None:
    membership = joined("a", "b")
    membership.add("h", "a", True, 0.0)
    membership.close("a", 1.0)
    assert membership.members("g") == ("b",)
    assert membership.members("h") == ()
    membership.close("a", 1.0)


def test_the_last_member_leaving_withdraws_the_process_a_second_later() -> None:
    membership = joined("a")
    membership.discard("g", "a", 5.0)
    assert membership.next_leave_at() == 5.0 + LATER
    assert membership.leaves(5.0 + LATER / 2) == []
    assert membership.leaves(5.0 + LATER) == [("g", 1)]
    assert membership.leaves(99.0) == []
    membership.left("g", True, 99.0)
    assert membership.groups() == []
    assert membership.next_leave_at() is None


def test_a_client_that_comes_back_within_the_second_keeps_the_registration() -> None:
    membership = joined("a")
    membership.close("a", 0.0)
    membership.add("g", "b", True, 0.5)
    assert membership.leaves(10.0) == []
    assert membership.next_leave_at() is None


def test_discarding_a_client_that_was_no_member_changes_nothing() -> None:
    membership = joined("a")
    membership.discard("g", "b", 0.0)
    membership.discard("h", "a", 0.0)
    assert membership.members("g") == ("a",)
    assert membership.next_leave_at() is None


def test_an_add_for_a_closed_client_counts_and_is_withdrawn() -> None:
    membership = Membership()
    membership.add("g", "gone", False, 0.0)
    assert membership.members("g") == ()
    assert membership.leaves(LATER) == [("g", 1)]


def test_an_add_that_a_withdrawal_overtook_is_waited_for() -> None:
    """Redis counts two adds, one entry is still on its way: the withdrawal does nothing."""
    membership = joined("a")
    membership.close("a", 0.0)
    assert membership.leaves(LATER) == [("g", 1)]
    membership.left("g", False, 2.0)
    assert membership.next_leave_at() is None
    membership.add("g", "b", False, 3.0)
    assert membership.leaves(3.0 + LATER) == [("g", 2)]


def test_an_add_read_while_a_withdrawal_is_on_its_way_survives_its_success() -> None:
    """The withdrawal was done, then the add counted 1 at Redis: both numbers must be 1 again."""
    membership = joined("a")
    membership.close("a", 0.0)
    membership.leaves(LATER)
    membership.add("g", "b", True, 2.0)
    membership.left("g", True, 3.0)
    assert membership.members("g") == ("b",)
    membership.close("b", 4.0)
    assert membership.leaves(4.0 + LATER) == [("g", 1)]


def test_an_add_read_while_a_refused_withdrawal_was_on_its_way_plans_the_next() -> None:
    membership = joined("a")
    membership.close("a", 0.0)
    membership.leaves(LATER)
    membership.add("g", "b", False, 2.0)
    membership.left("g", False, 3.0)
    assert membership.leaves(3.0 + LATER) == [("g", 2)]


def unsure_of_its_withdrawal() -> Membership:
    """The connection broke before the answer to the withdrawal of one read add."""
    membership = joined("a")
    membership.close("a", 0.0)
    membership.leaves(LATER)
    membership.left("g", None, 2.0)
    assert membership.next_leave_at() is None
    return membership


def test_a_withdrawal_that_was_done_without_an_answer_is_done_again() -> None:
    membership = unsure_of_its_withdrawal()
    membership.reasserted("g", 1, True, True, 5.0)
    assert membership.leaves(5.0 + LATER) == [("g", 1)]


def test_after_a_withdrawal_with_unknown_outcome_an_add_on_its_way_is_never_overlooked() -> None:
    """It was done, and then a worker added one whose entry is not read yet: that counts 1 too."""
    membership = unsure_of_its_withdrawal()
    membership.reasserted("g", 1, False, True, 5.0)
    assert membership.next_leave_at() is None
    membership.add("g", "b", True, 6.0)
    membership.close("b", 7.0)
    assert membership.leaves(7.0 + LATER) == [("g", 1)]


def test_a_withdrawal_with_unknown_outcome_that_was_not_done_leaves_a_ghost_that_is_laid() -> None:
    membership = unsure_of_its_withdrawal()
    membership.reasserted("g", 1, False, True, 5.0)
    assert membership.suspects_due(5.0 + GHOST_DELAY_SECONDS) == ["g"]
    assert membership.counted("g", 1, 5.0 + GHOST_DELAY_SECONDS) == 1
    membership.left("g", True, 6.0 + GHOST_DELAY_SECONDS)
    assert membership.groups() == []


def test_an_add_still_queued_across_a_reconnect_counts_once() -> None:
    membership = joined("a")
    assert membership.groups() == ["g"]
    membership.reasserted("g", 2, False, True, 1.0)  # the entry of the second is not read yet
    membership.add("g", "b", True, 2.0)
    membership.close("a", 3.0)
    membership.close("b", 3.0)
    assert membership.leaves(3.0 + LATER) == [("g", 2)]


def test_registering_anew_after_lost_data_counts_that_one_add() -> None:
    membership = joined("a", "b", "c")
    membership.reasserted("g", 1, True, False, 1.0)
    for local in "abc":
        membership.close(local, 2.0)
    assert membership.leaves(2.0 + LATER) == [("g", 1)]


def test_a_worker_that_added_before_the_process_registered_anew_is_not_overlooked() -> None:
    """Redis lost its data, and counts 1 for the add of b, whose entry is not read yet."""
    membership = joined("a")
    membership.close("a", 0.5)
    membership.reasserted("g", 1, False, False, 1.0)
    assert membership.leaves(1.0 + 2 * LATER) == []
    membership.add("g", "b", True, 4.0)
    membership.close("b", 5.0)
    assert membership.leaves(5.0 + LATER) == [("g", 1)]


def test_a_count_below_what_was_read_is_believed_to_be_of_unread_adds() -> None:
    """A failover lost the last adds."""
    membership = joined("a", "b")
    membership.reasserted("g", 1, False, True, 1.0)
    membership.close("a", 2.0)
    membership.close("b", 2.0)
    assert membership.leaves(2.0 + LATER) == [("g", 0)]


def test_a_ghost_is_withdrawn_only_when_its_count_stood_still_for_a_minute() -> None:
    membership = Membership()
    assert membership.suspect("g")
    assert not membership.suspect("g")
    assert membership.counted("g", 2, 0.0) is None
    assert membership.suspects_due(GHOST_DELAY_SECONDS - 1) == []
    assert membership.suspects_due(GHOST_DELAY_SECONDS) == ["g"]
    assert membership.counted("g", 3, GHOST_DELAY_SECONDS) is None  # it moved: start anew
    assert membership.suspects_due(2 * GHOST_DELAY_SECONDS) == ["g"]
    assert membership.counted("g", 3, 2 * GHOST_DELAY_SECONDS) == 3
    membership.left("g", True, 2 * GHOST_DELAY_SECONDS)
    assert membership.groups() == []
    assert membership.suspect("g")


def test_a_count_that_a_killed_worker_raised_too_high_is_a_ghost_too() -> None:
    membership = joined("a")
    membership.close("a", 0.0)
    membership.leaves(LATER)
    assert not membership.suspect("g")  # a withdrawal is on its way
    membership.left("g", False, 2.0)
    assert membership.suspect("g")
    membership.counted("g", 2, 2.0)
    membership.suspects_due(2.0 + GHOST_DELAY_SECONDS)
    assert membership.counted("g", 2, 62.0) == 2
    membership.add("g", "b", True, 63.0)  # read while the ghost's withdrawal is on its way
    membership.left("g", True, 64.0)
    membership.close("b", 65.0)
    assert membership.leaves(65.0 + LATER) == [("g", 1)]


def test_a_group_that_gets_a_member_is_suspected_no_more() -> None:
    membership = Membership()
    membership.suspect("g")
    membership.counted("g", 1, 0.0)
    membership.add("g", "a", True, 1.0)
    assert membership.suspects_due(GHOST_DELAY_SECONDS) == []
    assert not membership.suspect("g")
    assert membership.counted("g", 1, 99.0) is None


def test_a_group_that_redis_does_not_know_is_forgotten() -> None:
    membership = joined("a")
    membership.close("a", 0.0)
    membership.leaves(LATER)
    membership.left("g", False, 2.0)
    membership.suspect("g")
    assert membership.counted("g", None, 3.0) is None
    assert membership.groups() == []


def test_a_process_with_a_new_name_is_in_no_group() -> None:
    membership = joined("a")
    membership.clear()
    assert membership.groups() == []
    assert membership.members("g") == ()
    membership.close("a", 1.0)
    assert membership.next_leave_at() is None
