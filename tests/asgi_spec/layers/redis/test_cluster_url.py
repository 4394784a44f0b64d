"""How a Cluster is written."""

from __future__ import annotations

import pytest

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.options import hosts_option
from headrace_asgi.layers.redis.address import parse_address
from headrace_asgi.layers.redis.cluster_url import NODE_CONNECT_SECONDS, split_cluster


def test_other_urls_name_no_cluster() -> None:
    for url in ("redis://host", "redis+sentinel://host/main", "unix:///path", None):
        assert split_cluster(url, {}) is None


def test_a_cluster_has_nodes_a_login_for_all_and_buckets() -> None:
    address = parse_address(
        "redis+cluster://me:s%40crt@a:7000,[::1]:7001,c/?buckets=6&socket_connect_timeout=9"
    )
    assert address.cluster is not None
    assert address.cluster.buckets == 6
    nodes = [(one.host, one.port, one.username, one.password) for one in address.cluster.addresses]
    assert nodes == [("a", 7000, "me", "s@crt"), ("::1", 7001, "me", "s@crt"), ("c", 6379, "me", "s@crt")]
    assert {one.connect_timeout_seconds for one in address.cluster.addresses} == {NODE_CONNECT_SECONDS}
    assert address.connect_timeout_seconds == 9
    assert address.label == "redis+cluster://a:7000,[::1]:7001,c:6379"
    assert "s@crt" not in repr(address)


def test_options_win_over_the_url_and_tls_is_for_every_node() -> None:
    address = parse_address("rediss+cluster://:pw@a/0", {"password": "other", "ssl_ca_certs": "/ca.pem"})
    assert address.cluster is not None
    assert address.cluster.buckets == 4
    for one in (address, *address.cluster.addresses):
        assert one.password == "other"
        assert one.tls is not None
        assert one.tls.ca_file == "/ca.pem"
    assert address.label == "rediss+cluster://a:6379"


def test_a_dict_says_the_same() -> None:
    ((host,), _) = hosts_option(
        [{"cluster": ["rediss://me:pw@a:7000/0", "rediss://[::1]:7001", ("c", 7002)], "buckets": 2}], ""
    )
    assert host.url == "rediss+cluster://me:pw@a:7000,[::1]:7001,c:7002/?buckets=2"
    ((host,), prefix) = hosts_option([{"cluster": [("a", 7000)], "password": "pw"}], "shop")
    assert (host.url, host.options, prefix) == ("redis+cluster://a:7000/", {"password": "pw"}, "shop")


@pytest.mark.parametrize("buckets", ["0", "33", "-1", "many", "", "4.0"])
def test_a_number_of_buckets_that_cannot_be_is_told_with_those_that_can(buckets: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"buckets must be .* from 1 to 32, not '{buckets}'; take one"
    ):
        split_cluster(f"redis+cluster://a?buckets={buckets}", {})
