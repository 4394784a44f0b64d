"""Outgoing: entries for one queue in one call, in their order."""

from __future__ import annotations

import pytest

from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import PLAIN, decode, encode, pack_message, unpack_message
from headrace_asgi.errors import ChannelFull, LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.redis.plan.outgoing import Outgoing, group_copies, message_entry, outcomes_of
from headrace_asgi.layers.redis.plan.places import Places
from headrace_asgi.layers.redis.plan.plan import ENTRIES_PER_COMMAND, Plan
from headrace_asgi.limits import MAX_MESSAGE_BYTES, Capacities
from headrace_asgi.names import new_process_queue
from headrace_asgi.sealing import sealing_codec

PROCESS = new_process_queue("0")


@pytest.fixture
def outgoing() -> Outgoing[int]:
    return Outgoing(Plan(Places(["redis://localhost"]), Capacities(100), 60, 86400))


def test_there_is_one_command_per_queue_with_its_entries_in_order(outgoing: Outgoing[int]) -> None:
    for number, channel in enumerate((PROCESS + "a", "test", PROCESS + "b", "foreign!x", "foreign!y")):
        outgoing.add(channel, b"entry %d" % number, number)
    commands = outgoing.commands()
    assert [senders for _, senders in commands] == [[0, 2], [1], [3, 4]]
    assert [command.script.name for command, _ in commands if command.script] == ["push", "send", "send"]
    assert commands[0][0].args[-2:] == (b"entry 0", b"entry 2")
    assert outgoing.commands() == []


def test_a_call_holds_no_more_entries_than_lua_can_unpack(outgoing: Outgoing[int]) -> None:
    count = 2 * ENTRIES_PER_COMMAND + 1
    for number in range(count):
        outgoing.add("test", b"entry", number)
    senders = [senders for _, senders in outgoing.commands()]
    assert [len(one) for one in senders] == [ENTRIES_PER_COMMAND, ENTRIES_PER_COMMAND, 1]
    assert [one for part in senders for one in part] == list(range(count))


def test_the_full_name_goes_along_where_the_queue_has_a_shorter_one() -> None:
    assert decode(message_entry(encode, "foreign!x", b"", 5)).channel == "foreign!x"
    assert decode(message_entry(encode, "single?x", b"", 5)).channel is None


def test_a_group_message_is_one_note_per_process_and_a_message_per_plain_member() -> None:
    message = {"value": 1}
    payload = pack_message(message)
    copies = dict(group_copies(PLAIN, ["group"], payload, ([PROCESS], ["test"]), 5))
    note, plain = decode(copies[PROCESS]), decode(copies["test"])
    assert note.control
    assert unpack_message(note.payload) == {"control": "group", "group": "group", "packed": payload}
    assert unpack_message(plain.payload) == message


def test_a_group_message_is_one_and_the_same_note_for_all_processes_unless_it_is_sealed_for_each() -> None:
    payload, processes = pack_message({"value": 1}), [PROCESS, new_process_queue("0")]
    first, second = (entry for _, entry in group_copies(PLAIN, ["group"], payload, (processes, []), 5))
    assert first is second
    codec = sealing_codec([b"a key of the test's own"])
    for process, entry in group_copies(codec, ["group"], payload, (processes, []), 5):
        note = unpack_message(codec.decode(entry, process).payload)
        assert note == {"control": "group", "group": "group", "packed": payload}


def test_with_keys_no_client_is_made_a_member_by_writing_it_into_the_list_of_plain_channels_st13() -> None:
    members: tuple[list[str], list[str]] = ([], [PROCESS + "client", "test"])
    codec = sealing_codec([b"a key of the test's own"])
    copies = [channel for channel, _ in group_copies(codec, ["group"], pack_message({}), members, 5)]
    assert copies == ["test"]


def test_the_names_in_a_note_do_not_count_against_the_limit_of_the_message() -> None:
    payload = pack_message({"bytes": b"x" * (MAX_MESSAGE_BYTES - 20)})
    assert len(list(group_copies(PLAIN, ["g" * 200], payload, ([PROCESS], []), 5))) == 1


def test_replies_beside_a_group_message_do_not_wait_for_memory_with_it(outgoing: Outgoing[int]) -> None:
    reply, note = encode(b"reply", channel=PROCESS + "a"), encode(b"note", control=True)
    copy = encode(b"copy", control=True, counted=True)
    outgoing.add(PROCESS + "a", reply, 0)
    outgoing.add_copy(PROCESS, copy, 1)
    outgoing.add(PROCESS + "a", note, 2, is_control=True)
    [(command, _)] = outgoing.commands()
    assert command.args[-3:] == (reply, copy, note)
    assert command.script is not None
    assert command.script.needs_memory
    lean = command.lean
    assert lean is not None
    assert lean.args[-2:] == (reply, note)
    assert lean.script is not None
    assert not lean.script.needs_memory
    assert lean.read(1) == [Outcome.SENT, Outcome.FULL, Outcome.SENT]
    assert lean.read(-1) == [Outcome.GONE, Outcome.FULL, Outcome.GONE]
    outgoing.add_copy(PROCESS, copy, 3)
    assert [command.lean for command, _ in outgoing.commands()] == [None]


def test_an_error_is_the_outcome_of_every_entry_of_its_call() -> None:
    assert outcomes_of(ChannelFull(), 2) == [Outcome.FULL] * 2
    assert outcomes_of(OutcomeUnknown(), 1) == [Outcome.UNKNOWN]
    assert outcomes_of(LayerUnavailable(), 1) == [Outcome.UNAVAILABLE]
    assert outcomes_of([Outcome.SENT], 1) == [Outcome.SENT]
