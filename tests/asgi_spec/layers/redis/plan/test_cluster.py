"""What nodes of a Cluster are asked for, and what their answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_asgi.errors import LayerRefused, LayerUnavailable
from headrace_asgi.layers.redis.address import Bucket, ServerAddress, at_bucket, parse_address
from headrace_asgi.layers.redis.plan.buckets import key_slot
from headrace_asgi.layers.redis.plan.cluster import CLUSTER_ACL, SlotQuestion, SlotSearch
from headrace_asgi.layers.redis.plan.resp import ReplyError

NODE = ServerAddress("node", 7000, kind="a node of the Cluster")
BUCKET = Bucket("0063", "hr1:{0063}:")
SLOT = key_slot(BUCKET.key_start)
HERE = [SLOT, SLOT, [b"10.0.0.7", 7003, b"id", []], [b"10.0.0.8", 7004, b"replica", []]]
ELSEWHERE = [SLOT + 1, 16383, [b"10.0.0.9", 7005, b"id", []]]


def test_the_master_of_the_range_that_has_the_slot_is_the_one() -> None:
    question = SlotQuestion(NODE, BUCKET)
    assert question.commands == [(b"CLUSTER", b"SLOTS")]
    question.heard([ELSEWHERE, HERE])
    assert question.is_over
    assert (question.host, question.port) == ("10.0.0.7", 7003)


@pytest.mark.parametrize("nameless", [None, b""])
def test_a_node_without_a_host_is_where_we_reached_the_one_that_says_so(nameless: bytes | None) -> None:
    question = SlotQuestion(NODE, BUCKET)
    question.heard([[0, 16383, [nameless, 7003, b"id"]]])
    assert (question.host, question.port) == ("node", 7003)


def test_a_login_comes_first() -> None:
    question = SlotQuestion(ServerAddress("node", username="me", password="pw"), BUCKET)
    assert question.commands == [(b"AUTH", "me", "pw"), (b"CLUSTER", b"SLOTS")]
    question.heard(b"OK")
    assert not question.is_over
    question.heard([HERE])
    assert question.is_over
    assert SlotQuestion(ServerAddress("node", password="pw"), BUCKET).commands[0] == (b"AUTH", "pw")


@pytest.mark.parametrize(
    ("answer", "told", "kind"),
    [
        (ReplyError("NOAUTH Authentication required."), "check user and password in hosts", LayerRefused),
        (ReplyError("WRONGPASS invalid"), "check user and password in hosts or --layer", LayerRefused),
        (ReplyError("ERR AUTH called without any password"), "it has none: leave the pas", LayerRefused),
        (ReplyError("NOPERM no permissions"), f"a user of its ACL needs: {CLUSTER_ACL}", LayerRefused),
        (
            ReplyError("ERR This instance has cluster support disabled"),
            "is in no Cluster (ERR This instance has cluster support disabled); name it in hosts or --layer "
            "as redis://host:port/0, or set cluster-enabled yes in Redis",
            LayerRefused,
        ),
        ([], f"no node of the Cluster has slot {SLOT}, says redis://node:7000: assign all", LayerRefused),
        ([ELSEWHERE], "as `redis-cli --cluster fix` does, or name another Cluster in hosts", LayerRefused),
        (
            ReplyError("LOADING Redis is loading"),
            "does not say which node has a slot: LOA",
            LayerUnavailable,
        ),
        (b"OK", "gave an answer that means nothing: b'OK'", LayerUnavailable),
        ([[SLOT, SLOT]], "gave an answer that means nothing", LayerUnavailable),
        ([[SLOT, SLOT, [b"host", b"port"]]], "gave an answer that means nothing", LayerUnavailable),
        ([[SLOT, SLOT, [7, 7003]]], "gave an answer that means nothing", LayerUnavailable),
    ],
)
def test_what_is_no_answer_is_told_with_what_to_do(
    answer: Any, told: str, kind: type[LayerUnavailable]
) -> None:
    question = SlotQuestion(NODE, BUCKET)
    with pytest.raises(LayerUnavailable) as raised:
        question.heard(answer)
    assert type(raised.value) is kind
    assert told in str(raised.value)
    assert not question.is_over


def test_what_is_found_is_a_node_with_the_login_of_all_and_says_what_it_serves() -> None:
    address = at_bucket(parse_address("rediss+cluster://me:pw@a:1,b:2/?buckets=2"), *_named(BUCKET))
    assert address.cluster is not None
    search = SlotSearch(address, address.cluster, BUCKET)
    question = search.question(search.askable[0])
    question.heard(b"OK")
    question.heard([HERE])
    found = search.found(question)
    assert (found.host, found.port, found.username, found.password) == ("10.0.0.7", 7003, "me", "pw")
    assert found.tls is not None
    assert found.label == "rediss://10.0.0.7:7003/0 (bucket 0063)"
    search.failed(LayerUnavailable("a is away"))
    assert str(search.error) == "no node of the Cluster says where bucket 0063 is: a is away"


def _named(bucket: Bucket) -> tuple[str, str]:
    return bucket.place, bucket.key_start
