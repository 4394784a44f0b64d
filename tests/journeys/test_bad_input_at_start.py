"""What cannot work is told when it starts: one line that says what to do, and exit status 1."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.fake_redis import FakeRedis
from tests.support.services import RedisServer, valkey_binary
from tests.support.stack import PROJECT, SOURCES, Process, Stack, eventually

NOWHERE = "redis://127.0.0.1:1"
#: Modules of a project that cannot be used, by name.
BROKEN = {
    "broken_syntax": "def x(:\n",
    "broken_import": "import a_package_that_is_not_there\n",
    "broken_code": 'raise ValueError("first line\\nsecond line")\n',
    "broken_maker": 'import os\n\n\ndef layer():\n    return os.environ["THE_REDIS_URL"]\n',
    "without_settings": "from headrace.asgi import get_channel_layer\n\nlayer = get_channel_layer()\n",
    "in_memory": "from headrace_asgi import InMemoryChannelLayer\n\nlayer = InMemoryChannelLayer()\n",
}


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, str]:
    """An environment in which the modules of BROKEN, and the journeys' project, can be imported."""
    for name, text in BROKEN.items():
        (tmp_path / f"{name}.py").write_text(text)
    path = os.pathsep.join((SOURCES, str(tmp_path), str(PROJECT)))
    return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield int(taken.getsockname()[1])


def started(name: str, env: dict[str, str], *arguments: str, cwd: Path = PROJECT) -> Process:
    return Process([sys.executable, *arguments], env, cwd, name)


def told(process: Process) -> str:
    """The one line of a process that could not start."""
    try:
        status = process.popen.wait(60)
    except subprocess.TimeoutExpired:
        process.end(signal.SIGKILL)
        raise AssertionError(f"it runs:\n{process.output()}") from None
    output = process.output()
    process.log.close()
    assert status == 1, output
    assert output.count("\n") == 1, output
    return output


def told_in_turn(cases: dict[str, tuple[Process, str]]) -> None:
    """Every process, all of which run at once, told what is expected of it."""
    wrong = []
    for case, (process, expected) in cases.items():
        line = told(process)
        if expected not in line:
            wrong.append(f"{case}: {line}")
    assert not wrong, "\n".join(wrong)


LAYERS = {
    "": "give one channel layer: --layer redis://127.0.0.1:6379",
    "http://127.0.0.1": "there is no 'http'",
    "127.0.0.1:6379": "did you mean redis://127.0.0.1:6379?",
    "redis://127.0.0.1:port": "no URL of a Redis",
    "redis://[::1": "no URL of a Redis",
    "redis://127.0.0.1/zero": "ends with the number of a database, such as /0",
    "redis://127.0.0.1?capacity=lots": "capacity in the layer's URL must be an integer, not 'lots'",
    "ipc://": "needs a name",
    "in_memory:layer": "an interface server cannot use it; take RedisChannelLayer (redis://…), or IPC",
    "broken_syntax:layer": "cannot be imported: SyntaxError: invalid syntax (broken_syntax.py, line 1)",
    "broken_import:layer": "No module named 'a_package_that_is_not_there'",
    "broken_code:layer": "cannot be imported: ValueError: first line second line",
    "broken_maker:layer": "which should make the layer, failed: KeyError: 'THE_REDIS_URL'",
    "broken_maker:no_layer": "the module broken_maker has no no_layer",
    "without_settings:layer": "define the environment variable DJANGO_SETTINGS_MODULE",
}


def test_an_interface_server_says_what_is_wrong_with_its_layer(broken: dict[str, str]) -> None:
    command = ("-m", "headrace_interface", "-p", "0", "--layer")
    told_in_turn({url: (started("interface", broken, *command, url), said) for url, said in LAYERS.items()})


def test_an_interface_server_says_where_it_cannot_listen(broken: dict[str, str], busy_port: int) -> None:
    options = {
        f"-p {busy_port}": f"Cannot listen on 127.0.0.1 port {busy_port}: Address already in use",
        "-p 70000": "a port is a number from 0 to 65535, not '70000'",
        "-b 203.0.113.9": "Cannot listen on 203.0.113.9 port 8000: Cannot assign requested address",
        "-u /no/such/folder/socket": "No such file or directory",
        "--fd 77": "--fd 77 is no open socket",
        "-e tcp:port=http": "--endpoint 'tcp:port=http' is not understood",
        "--access-log /no/such/folder/log": "--access-log /no/such/folder/log cannot be opened",
        "--static /static/=/no/such/folder": "--static: there is no folder '/no/such/folder'",
        "--static static": "--static is something like /files/=/srv/files, not 'static'",
        "--sendfile-root /no/such/folder": "--sendfile-root: there is no folder '/no/such/folder'",
        "--no-such-option": "unrecognized arguments: --no-such-option; see --help",
    }
    command = ("-m", "headrace_interface", "--layer", NOWHERE)
    told_in_turn(
        {
            text: (started("interface", broken, *command, *text.split()), said)
            for text, said in options.items()
        }
    )


#: What a settings module adds to the journeys', and what `runworker` says of it.
SETTINGS = {
    "del CHANNEL_LAYERS": "CHANNEL_LAYERS is not set",
    'CHANNEL_LAYERS = ["default"]': "CHANNEL_LAYERS must be a dict of dicts",
    "del LAYER['ROUTING']": "CHANNEL_LAYERS['default']: it has no ROUTING; set it, for example to",
    "LAYER['BACKND'] = 'x'": "'BACKND' is not a key of a layer",
    "LAYER['ROUTING'] = 'journey.routing.nothing'": "module 'journey.routing' has no 'nothing'",
    "LAYER['ROUTING'] = 'broken_syntax.routes'": "cannot be imported: SyntaxError",
    "LAYER['ROUTING'] = 'broken_code.routes'": "ValueError: first line second line",
    "LAYER['ROUTING'] = [3]": "use route(), route_class() or include()",
    "LAYER['BACKEND'] = 'broken_import.Layer'": "No module named 'a_package_that_is_not_there'",
    "LAYER['BACKEND'] = 'broken_code.Layer'": "broken_code.Layer cannot be imported: ValueError",
    "LAYER['BACKEND'] = 'headrace_asgi.Nothing'": "the module headrace_asgi has no Nothing",
    "LAYER['BACKEND'] = 'asgi_redis.RedisChannelLayer'": "write headrace_asgi.RedisChannelLayer",
    "LAYER['BACKEND'] = 'channels_redis.core.RedisChannelLayer'": "write headrace_asgi.RedisChannelLayer",
    "LAYER['BACKEND'] = 'headrace_asgi.InMemoryChannelLayer'": "for the embedded server, or set it to",
    "LAYER['CONFIG'] = {'hots': []}": "has no option 'hots'; did you mean 'hosts'?",
    "LAYER['CONFIG'] = {'hosts': 'redis://x'}": "hosts must be a list of URLs, not a string",
    "LAYER['CONFIG'] = {'hosts': ['http://x']}": "'http://x' is no URL of a Redis",
    "LAYER['CONFIG'] = {'channel_capacity': 7}": "channel_capacity must be a dict",
    "LAYER['CONFIG'] = ['redis://x']": "its CONFIG must be a dict of options",
    "HEADRACE = {'ORIGIN_CHEK': True}": "did you mean 'ORIGIN_CHECK'?",
    "ROOT_URLCONF = 'broken_code'": "ROOT_URLCONF = 'broken_code' cannot be imported: ValueError",
    "MIDDLEWARE = ['no.such.Middleware']": "MIDDLEWARE cannot be loaded: ModuleNotFoundError",
}


def test_a_worker_says_what_is_wrong_with_the_settings(broken: dict[str, str], tmp_path: Path) -> None:
    start = "from journey.settings import *\nLAYER = CHANNEL_LAYERS['default']\n"
    cases = {}
    for number, (change, said) in enumerate(SETTINGS.items()):
        (tmp_path / f"settings_{number}.py").write_text(f"{start}{change}\n")
        env = {**broken, "DJANGO_SETTINGS_MODULE": f"settings_{number}"}
        cases[change] = started("worker", env, "manage.py", "runworker"), said
    told_in_turn(cases)


def test_a_worker_whose_project_does_not_import_ends_with_its_error_in_the_last_line(
    broken: dict[str, str],
) -> None:
    env = {**broken, "DJANGO_SETTINGS_MODULE": "broken_import"}
    worker = started("worker", env, "manage.py", "runworker")
    assert worker.popen.wait(20) == 1
    assert worker.output().splitlines()[-1].endswith("No module named 'a_package_that_is_not_there'")
    worker.log.close()


def test_runserver_says_what_is_wrong(broken: dict[str, str], tmp_path: Path, busy_port: int) -> None:
    (tmp_path / "broken_layer.py").write_text(
        "from journey.settings import *\nCHANNEL_LAYERS['default']['BACKEND'] = 'broken_code.Layer'\n"
    )
    env = {**broken, "DJANGO_SETTINGS_MODULE": "broken_layer"}
    command = ("manage.py", "runserver", "--noreload")
    told_in_turn(
        {
            "port": (started("runserver", broken, *command, str(busy_port)), "That port is already in use"),
            "layer": (
                started("runserver", env, *command, "0"),
                "'broken_code.Layer' cannot be imported: Value",
            ),
        }
    )


def test_a_redis_that_is_missing_at_the_start_is_told_once_and_waited_for(private_redis_server: Any) -> None:
    private_redis_server.kill()
    with Stack.over(private_redis_server.url) as stack:
        interface, worker = stack.interface(), stack.worker()
        interface.wait_for(r"The channel layer cannot be reached .*it is tried again until it answers")
        worker.wait_for(r"The channel layer is unavailable .*trying again until it is back")
        private_redis_server.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.port}/hello", timeout=15) as response:
            assert response.read() == b"Hello, world!"
        assert interface.output().count("cannot be reached") == 1
        assert worker.output().count("is unavailable") == 1


def test_a_redis_that_refuses_the_login_ends_each_tier_at_its_start_with_one_line(
    private_redis_server: Any,
) -> None:
    private_redis_server.command("CONFIG", "SET", "requirepass", "sesame")
    with Stack.over(private_redis_server.url) as stack:
        for start in (stack.interface, stack.worker):
            with pytest.raises(AssertionError, match="ended with 1"):
                start()
        for process in stack.processes:
            (line,) = (line for line in process.output().splitlines() if "refused the login" in line)
            assert "check user and password in hosts or --layer" in line
            assert "Traceback" not in process.output()


def test_a_redis_that_refuses_the_login_later_ends_nobody_and_is_told_once(private_redis_server: Any) -> None:
    with Stack.over(private_redis_server.url) as stack:
        interface, worker = stack.interface(), stack.worker()
        # One connection: the next one would not be let in.
        with redis.Redis.from_url(private_redis_server.url) as client:
            client.config_set("requirepass", "sesame")
            client.client_kill_filter(_type="normal")
        interface.wait_for(r"The channel layer cannot be reached")
        worker.wait_for(r"The channel layer is unavailable")
        for process in (interface, worker):
            process.wait_for(r"The channel layer .*refused the login.*check user and password")
        private_redis_server.restart()
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.port}/hello", timeout=15) as response:
            assert response.read() == b"Hello, world!"
        eventually(lambda: "is back" in worker.output())
        assert worker.output().count("is unavailable") == 1
        for process in (interface, worker):
            assert process.output().count("refused the login") == 1
        assert "Traceback" not in worker.output() + interface.output()


TOO_OLD = b"redis_version:5.0.14\r\nrun_id:abc\r\n"
#: Those that can never serve, and what both tiers say of each: what it is, and what to change.
REFUSED = {
    "too old": "is version 5.0.14; Headrace needs Redis 7.0 or Valkey 7.2: upgrade it, or name another",
    "replica": "is a read-only replica; name the primary in hosts or --layer",
    "database": "the db in hosts or --layer (the number at the end of the URL) must be that of a database",
    "access list": "no permissions to run the 'script|load' command); a user of an ACL needs: ~hr*:*",
    "no password": "refused the login (NOAUTH Authentication required.); check user and password in hosts",
    "a password too much": "it has none: leave the password out of hosts or --layer, or set requirepass",
}
#: Those that may come to serve by themselves: both tiers say it and try again.
AWAITED = {
    "tls to a plain port": "or that port does not speak TLS: then write redis:// in hosts or --layer",
    "wrong port": "nobody listens there; start it, or correct where it is in hosts or --layer",
}


@pytest.fixture
def wrong_servers(private_redis_server: RedisServer, tmp_path: Path) -> Iterator[dict[str, str]]:
    """URLs of those servers."""
    main = private_redis_server
    main.command("ACL", "SETUSER", "few", "on", ">pw", "+@all", "~*", "-script")
    follow = ["--replicaof", "127.0.0.1", str(main.port)]
    info = {b"INFO": b"$%d\r\n%b\r\n" % (len(TOO_OLD), TOO_OLD)}
    with (
        FakeRedis(greeting=info) as old,
        RedisServer(valkey_binary(), follow) as replica,
        RedisServer(valkey_binary(), ["--requirepass", "sesame"]) as locked,
    ):
        yield {
            "too old": f"redis://{old.address}",
            "replica": replica.tcp_url,
            "database": f"redis://127.0.0.1:{main.port}/99",
            "access list": f"redis://few:pw@127.0.0.1:{main.port}",
            "no password": locked.tcp_url,
            "a password too much": f"redis://:sesame@127.0.0.1:{main.port}",
            "tls to a plain port": f"rediss://127.0.0.1:{main.port}",
            "wrong port": NOWHERE,
        }


@pytest.fixture
def both_tiers(broken: dict[str, str], tmp_path: Path) -> Iterator[Callable[[str, str], dict[str, Process]]]:
    """Starts both tiers over a layer, by a name and its URL; ends what still runs."""
    running: list[Process] = []

    def start(case: str, url: str) -> dict[str, Process]:
        name = f"at_{case.replace(' ', '_')}"
        layer = f"{{'BACKEND': 'headrace_asgi.RedisChannelLayer', 'CONFIG': {{'hosts': [{url!r}]}}}}"
        change = f"CHANNEL_LAYERS['default'].update({layer})"
        (tmp_path / f"{name}.py").write_text(f"from journey.settings import *\n{change}\n")
        env = {**broken, "DJANGO_SETTINGS_MODULE": name}
        interface = started("interface", broken, "-m", "headrace_interface", "-p", "0", "--layer", url)
        running.append(interface)
        worker = started("worker", env, "manage.py", "runworker")
        running.append(worker)
        return {"interface": interface, "worker": worker}

    yield start
    for process in running:
        if process.popen.poll() is None:
            process.end(signal.SIGKILL)


def test_a_redis_that_can_never_serve_ends_both_tiers_with_what_to_change(
    both_tiers: Callable[[str, str], dict[str, Process]], wrong_servers: dict[str, str]
) -> None:
    for case, said in REFUSED.items():
        tiers = both_tiers(case, wrong_servers[case])
        told_in_turn({f"{tier}, {case}": (process, said) for tier, process in tiers.items()})


def test_a_redis_that_may_come_to_serve_is_told_of_with_what_to_change_and_waited_for(
    both_tiers: Callable[[str, str], dict[str, Process]], wrong_servers: dict[str, str]
) -> None:
    for case, said in AWAITED.items():
        for process in both_tiers(case, wrong_servers[case]).values():
            process.wait_for(re.escape(said), seconds=60)
            assert process.end(signal.SIGTERM) == 0
            assert process.output().count(said) == 1
