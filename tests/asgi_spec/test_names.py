"""The grammar of names."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_asgi import names


@pytest.mark.parametrize("name", ["a", "http.request", "A-z_0.9", "a?b", "a!b", "a!", "x" * 200])
def test_a_valid_channel_name_is_returned(name: str) -> None:
    assert names.require_channel_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a\n", "ä", "a\u0663", "a b", "a/b", "a?", "?a", "!a", "a?b?c", "a!b!c", "a?b!c", "x" * 201]
)
def test_an_invalid_channel_name_is_refused_b1(name: str) -> None:
    with pytest.raises(TypeError, match="A channel name must be"):
        names.require_channel_name(name)


@pytest.mark.parametrize("name", [None, 1, b"a", ["a"]])
def test_a_name_that_is_no_str_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match="str"):
        names.require_channel_name(name)
    with pytest.raises(TypeError, match="str"):
        names.require_group_name(name)


@pytest.mark.parametrize("length", [99, 100, 200])
def test_names_of_a_hundred_characters_and_more_are_valid_b2(length: int) -> None:
    assert names.require_channel_name("x" * length)
    assert names.require_group_name("x" * length)


def test_a_process_channel_is_received_by_its_part_up_to_the_mark() -> None:
    assert names.require_channel_name("a!", receive=True) == "a!"
    with pytest.raises(TypeError, match="Receive from 'a!'"):
        names.require_channel_name("a!b", receive=True)


def test_names_to_receive_from_are_a_list_that_is_not_empty_b4() -> None:
    assert names.require_channel_names(iter(("a", "b!"))) == ["a", "b!"]
    for wrong in ([], "a", ["a", "b!c"]):
        with pytest.raises(TypeError, match="Receive from"):
            names.require_channel_names(wrong)


@pytest.mark.parametrize("name", ["", "a\n", "ä", "a b", "a?b", "a!b", "x" * 201])
def test_an_invalid_group_name_is_refused_b1(name: str) -> None:
    with pytest.raises(TypeError, match="A group name must be"):
        names.require_group_name(name)


def test_a_process_channel_falls_into_its_queue_and_its_local_part() -> None:
    assert names.non_local_name("a!b") == "a!"
    assert names.non_local_name("a?b") == "a?b"
    assert names.non_local_name("a") == "a"
    assert names.local_part("a!b") == "b"
    assert names.local_part("a!") == ""


def test_only_queues_of_our_version_understand_control_entries() -> None:
    assert names.is_process_queue("hr1.0.abc!")
    assert names.is_process_queue("hr1.0.abc!client")
    assert not names.is_process_queue("daphne.response.abc!client")
    assert not names.is_process_queue("hr1.request")
    for broken in ("hr1.bad!x", "hr1..abc!", "hr1.!x", "hr1.x!a.b"):
        assert not names.is_process_queue(broken)


@pytest.mark.parametrize(
    "name", ["hr1.bad!x", "hr1.bad!", "hr1.0.typo!x", "hr1..abc!x", "hr1.0.!x", "hr1.a.b.c!x"]
)
def test_a_name_that_only_looks_like_a_reply_channel_of_ours_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=r"hr1\.<place>\.<hexadecimal digits>!<client>"):
        names.require_channel_name(name)


def test_names_that_begin_like_our_queues_and_are_none_are_names_like_others() -> None:
    for name in ("hr1.request", "hr1.0.body?x", "hr1", "hr1x.y!z", "hr2.bad!x"):
        assert names.require_channel_name(name) == name


def test_process_queues_are_never_named_twice_and_say_their_place_d3() -> None:
    queues = {names.new_process_queue("7") for _ in range(100)}
    assert len(queues) == 100
    for queue in queues:
        assert names.require_channel_name(queue, receive=True) == queue
        assert names.place_of_process(queue) == "7"
        assert names.place_of_process(queue + "client") == "7"


def test_a_process_queue_has_128_random_bits_in_its_name_st11() -> None:
    random_parts = {names.new_process_queue("0").removeprefix("hr1.0.").removesuffix("!") for _ in range(100)}
    assert {len(part) for part in random_parts} == {32}
    numbers = [int(part, 16) for part in random_parts]
    assert len(numbers) == 100
    for bit in range(128):
        assert 10 < sum(number >> bit & 1 for number in numbers) < 90


def test_what_counts_as_a_process_queue_has_a_place() -> None:
    for name in ("hr1.0.feed!", "hr1.a-b_c.0!", "hr1.0.feed!a", "hr1..x.feed!", "hr1..!", "hr1.!", "hr1.0!"):
        if names.is_process_queue(name):
            assert names.place_of_process(name)
    assert not names.is_process_queue("hr1..x.feed!")


def test_only_what_we_make_is_the_name_of_a_process() -> None:
    assert names.is_process_name(names.new_process_queue("0"))
    too_long = "hr1.0." + "a" * 200 + "!"
    for wrong in ("hr1.0.feed!a", "hr1.0.x!", "hr1.0.!", "hr1.0.feed", "hr1.0.feed!\n", "", too_long):
        assert not names.is_process_name(wrong)


def test_a_name_can_be_asked_for_its_grammar() -> None:
    assert names.is_channel_name("http.request")
    for wrong in ("a b", "x" * 201, None, b"a", "a\n", "te\u0663st"):
        assert not names.is_channel_name(wrong)


@pytest.mark.parametrize("name", ["hr1.", "hr1..x!", "hr2.0.x!", "hr1.0", "daphne.0.x!"])
def test_the_place_of_another_queue_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a process queue"):
        names.place_of_process(name)


@pytest.mark.parametrize("pattern", ["http.request.body?", "daphne.response.x!"])
def test_fresh_names_are_made_for_both_marks_b3(pattern: str) -> None:
    made = {names.new_single_reader(pattern) for _ in range(100)}
    assert len(made) == 100
    for name in made:
        assert name.startswith(pattern)
        assert names.require_channel_name(name) == name


@pytest.mark.parametrize("pattern", ["a", "", "a?b", "a b?", "?", None])
def test_a_pattern_without_a_mark_at_its_end_is_refused(pattern: Any) -> None:
    with pytest.raises(TypeError):
        names.new_single_reader(pattern)
