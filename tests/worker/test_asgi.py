"""The project's channel layers."""

from __future__ import annotations

import asyncio
import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import _TestState

from headrace.asgi import (
    ChannelLayerManager,
    ChannelLayerWrapper,
    InvalidChannelLayerError,
    get_channel_layer,
)
from headrace_asgi import InMemoryChannelLayer, RedisChannelLayer
from tests.support.workers import layer_with

ROOT = Path(__file__).parents[2]


def test_a_layer_is_made_once_and_kept() -> None:
    manager = ChannelLayerManager()
    assert "default" in manager
    assert "other" not in manager
    layer = manager["default"]
    assert manager["default"] is layer
    assert manager.make_backend("default") is not layer
    assert manager.make_test_backend("default").channel_layer is not layer.channel_layer
    assert str(layer).startswith("default (memory)")
    assert layer.router.channels == set()
    manager.close()


def test_an_alias_can_be_given_another_layer() -> None:
    manager = ChannelLayerManager()
    layer = layer_with([])
    assert manager.set("default", layer) is None
    assert manager["default"] is layer
    assert manager.set("default", None) is layer
    assert manager["default"] is not layer


def test_a_wrapper_stands_in_for_its_layer() -> None:
    layer = layer_with([], capacity=7)
    layer.send("x", {"n": 1})
    assert layer.receive(["x"]) == ("x", {"n": 1})
    assert layer.capacities.default == 7
    assert layer.ChannelFull is InMemoryChannelLayer.ChannelFull
    assert not hasattr(layer, "no_such_thing")
    assert copy.copy(layer).channel_layer is layer.channel_layer


def test_a_wrapper_stands_in_for_its_layer_in_an_event_loop_too() -> None:
    layer = layer_with([])

    async def main() -> None:
        await layer.agroup_add("g", "x")
        await layer.asend_group("g", {"n": 1})
        await layer.agroup_discard("g", "x")
        await layer.asend("x", {"n": 2})
        assert await layer.areceive(["x"]) == ("x", {"n": 1})
        assert await layer.areceive_many(["x"], 5) == [("x", {"n": 2})]
        await layer.agroup_add("g", "x")
        await layer.asend_groups(["g", "h"], {"n": 3})
        layer.send_groups(["h", "g"], {"n": 4})
        assert await layer.areceive_many(["x"], 5) == [("x", {"n": 3}), ("x", {"n": 4})]

    asyncio.run(main())
    layer.announce(["x"])
    assert layer.takers().keys() == {"x"}
    assert "_async_receiver" not in vars(layer)
    layer.close()


def test_a_layer_is_called_by_its_alias_and_by_the_place_that_it_says_it_is_at() -> None:
    layer = layer_with([], alias="jobs")
    layer.channel_layer.label = ""
    assert str(layer) == "jobs (headrace_asgi.layers.memory.layer.InMemoryChannelLayer)"
    layer.channel_layer.label = "redis://127.0.0.1:6379/0, prefix 'x'"
    assert str(layer) == "jobs (redis://127.0.0.1:6379/0, prefix 'x')"


def test_w13_a_layer_says_itself_whether_it_lives_in_one_process() -> None:
    class InMemoryByName(InMemoryChannelLayer):
        """Its name says one thing, it says another."""

        local_only = False

    assert layer_with([]).local_only
    assert not ChannelLayerWrapper(InMemoryByName(), "default", []).local_only


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"BACKEND": "headrace_asgi.InMemoryChannelLayer"}, "'default'.: it has no ROUTING"),
        ({"BACKEND": "no.such.Layer", "ROUTING": []}, "no.such"),
        ({"BACKEND": "headrace_asgi.InMemoryChannelLayer", "ROUTING": [], "CONFIG": {"x": 1}}, "x"),
    ],
)
def test_a_layer_that_cannot_be_had_is_named(settings: Any, config: Any, said: str) -> None:
    settings.CHANNEL_LAYERS = {"default": config}
    with pytest.raises(InvalidChannelLayerError, match=said):
        ChannelLayerManager().make_backend("default")


def test_a_routing_that_cannot_be_had_is_named_with_its_setting() -> None:
    layer = ChannelLayerWrapper(InMemoryChannelLayer(), "default", "no.routing")
    with pytest.raises(
        ImproperlyConfigured, match=r"CHANNEL_LAYERS\['default'\]\['ROUTING'\] = 'no.routing'"
    ):
        _ = layer.router


def test_the_raw_layer_is_for_an_asgi_module() -> None:
    assert isinstance(get_channel_layer(), InMemoryChannelLayer)


def run(code: str) -> str:
    paths = [str(ROOT), str(ROOT / "asgi_spec"), str(ROOT / "worker")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_w15_an_asgi_module_loads_no_app_of_the_project() -> None:
    assert (
        run(
            "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.support.settings'\n"
            "from headrace.asgi import get_channel_layer; get_channel_layer()\n"
            "from django.apps import apps; print(apps.ready)"
        )
        == "False"
    )


def test_the_public_names_need_no_configured_django() -> None:
    assert (
        run(
            "from headrace import Channel, Group, channel_layers, include, route, route_class\n"
            "from django.conf import settings; print(settings.configured)"
        )
        == "False"
    )


TESTED_SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["headrace"]
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "headrace_asgi.RedisChannelLayer",
        "ROUTING": [],
        "CONFIG": {"hosts": [%r]},
    }
}
"""
TESTED = """
import django.test
from headrace import Channel, Group, channel_layers
from headrace.test import ChannelTestCase, live_layers

BEFORE = channel_layers["default"]
CHANNEL = Channel("work")
GROUP = Group("everybody")


class PlainTests(django.test.TestCase):
    def test_it_sends(self):
        GROUP.add("members")
        GROUP.send({"n": 1})
        CHANNEL.send({"n": 2})
        Channel("work").send({"n": 3})
        assert channel_layers["default"].local_only
        assert channel_layers["default"].statistics("members")["pending"] == 1


class SimpleTests(django.test.SimpleTestCase):
    def test_it_sends_more_than_a_channel_holds(self):
        for _ in range(1500):
            Channel("work").send({})


class OwnTests(ChannelTestCase):
    def test_it_has_its_own(self):
        CHANNEL.send({"n": 1})
        assert self.get_next_message("work")["n"] == 1
        assert self.get_next_message("work") is None


class LiveTests(django.test.TestCase):
    @live_layers()
    def test_it_asks_for_the_real_one(self):
        assert not channel_layers["default"].local_only
        Channel("asked").send({"n": 1})

    def test_another_does_not(self):
        assert channel_layers["default"].local_only
"""


@pytest.mark.parametrize(
    "command",
    [
        ["django", "test", "--settings", "tested_settings"],
        ["django", "test", "--settings", "tested_settings", "--parallel", "2"],
        ["pytest", "-q", "-p", "no:cacheprovider", "--ds", "tested_settings", "test_tested.py"],
    ],
    ids=["Django's runner", "in parallel", "pytest-django"],
)
def test_while_tests_run_nothing_reaches_the_configured_redis_unless_a_test_asks(
    tmp_path: Path, redis_url: str, command: list[str]
) -> None:
    (tmp_path / "tested_settings.py").write_text(TESTED_SETTINGS % redis_url)
    (tmp_path / "test_tested.py").write_text(TESTED)
    path = os.pathsep.join([str(tmp_path), *(str(ROOT / name) for name in ("asgi_spec", "worker"))])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    layer = RedisChannelLayer(hosts=[redis_url])
    try:
        counts = [layer.statistics(name).get("sent", 0) for name in ("work", "members", "asked")]
        assert counts == [0, 0, 1]
        assert layer.receive(["asked"]) == ("asked", {"n": 1})
    finally:
        layer.close()


def test_the_projects_layers_are_back_when_the_tests_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = ChannelLayerManager()
    in_test = manager["default"]
    monkeypatch.delattr(_TestState, "saved_data")
    live = manager["default"]
    assert live is not in_test
    assert manager.backends == {"default": live}
    monkeypatch.undo()
    assert manager["default"] is in_test
