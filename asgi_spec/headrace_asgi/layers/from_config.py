"""From a URL or a `CONFIG` to a layer, and from a layer to an interface server's port."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from ..contract import ChannelLayer, InterfacePort
from ..errors import ConfigurationError
from .encryption_keys import refuse_keys_in
from .former import refuse_backend, still_meant
from .options import CLUSTER_SCHEMES, SENTINEL_SCHEMES, refuse_several
from .threaded_port import open_interface_ports

__all__ = ["interface_ports", "layer_from_config", "layer_from_url"]

#: Options of a layer that may stand in its URL, and what they are.
_URL_OPTIONS: dict[str, Callable[[str], Any]] = {
    "prefix": str,
    "expiry": float,
    "group_expiry": float,
    "capacity": int,
    "max_message_bytes": int,
    "ordering_lease_seconds": float,
}
#: What stands between the URLs of several Redis: a comma before a scheme.
_BETWEEN = re.compile(r",(?=(?:rediss?(?:\+sentinel|\+cluster)?|unix)://)")
_FORMS = (
    "redis://user:password@host:6379/0, rediss://…, unix:///path/to/socket, "
    "redis+sentinel://host:26379,host2:26379/mymaster/0 (several with a comma between them), "
    "redis+cluster://host:7000,host2:7000/?buckets=4, ipc://NAME, "
    "amqp://user:password@host:5672/vhost, amqps://… or module:attribute; "
    "options follow as ?prefix=x&capacity=100"
)


def layer_from_url(url: str) -> ChannelLayer:
    """The layer that a URL or `module:attribute` names; an attribute may be a layer or makes one when called.

    Connects to nothing. Raises ConfigurationError, whose text never holds the URL's password.
    """

    scheme, separator, _ = url.partition("://")
    if not separator and "@" in url:
        raise ConfigurationError(f"a layer is one of {_FORMS}; there is no :// in what is given")
    if not separator:
        return _from_path(url)
    refuse_several(url)
    if scheme not in ("redis", "rediss", "unix", "ipc", "amqp", "amqps", *SENTINEL_SCHEMES, *CLUSTER_SCHEMES):
        raise ConfigurationError(f"a layer is one of {_FORMS}; there is no {scheme!r}")
    refuse_keys_in(url)
    first, *others = _BETWEEN.split(url)
    url, options = _split_options(first)
    if scheme == "ipc":
        name = unquote(url.partition("://")[2])
        if not name:
            raise ConfigurationError("ipc:// needs a name that the processes share, as in ipc://myproject")
        return layer_from_config(
            {"BACKEND": "headrace_asgi.IPCChannelLayer", "CONFIG": {"name": name, **options}}
        )
    if scheme in ("amqp", "amqps"):
        return layer_from_config(
            {"BACKEND": "headrace_asgi.RabbitMQChannelLayer", "CONFIG": {"url": url, **options}}
        )
    hosts = [url]
    for other in others:
        url, more = _split_options(other)
        hosts.append(url)
        options |= more
    return layer_from_config(
        {"BACKEND": "headrace_asgi.RedisChannelLayer", "CONFIG": {"hosts": hosts, **options}}
    )


def _split_options(url: str) -> tuple[str, dict[str, Any]]:
    """A URL without the options of the layer, and those."""
    head, _, query = url.partition("?")
    options: dict[str, Any] = {}
    rest = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        convert = _URL_OPTIONS.get(name)
        if convert is None:
            rest.append((name, value))
            continue
        try:
            options[name] = convert(value)
        except ValueError:
            kind = "an integer" if convert is int else "a number"
            raise ConfigurationError(f"{name} in the layer's URL must be {kind}, not {value!r}") from None
    if rest and head.startswith("ipc:"):
        raise ConfigurationError(f"ipc:// has no option {rest[0][0]!r}{_near(rest[0][0], _URL_OPTIONS)}")
    return head + (f"?{urlencode(rest, safe='@:/')}" if rest else ""), options


def _from_path(path: str) -> ChannelLayer:
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigurationError(f"{path!r} names no layer; write {_FORMS}")
    if attribute.isdecimal():
        raise ConfigurationError(f"{path!r} names no layer; did you mean redis://{path}?")
    found = _imported(module_name, attribute, path)
    if not isinstance(found, ChannelLayer) and callable(found):
        found = _called(found, path)
    # What a Django project holds is the layer together with its routing.
    found = getattr(found, "channel_layer", found)
    if not isinstance(found, ChannelLayer):
        raise ConfigurationError(
            f"{path} is {found!r}, neither a channel layer nor a function that returns one"
        )
    return found


def _imported(module_name: str, attribute: str, path: str) -> Any:
    try:
        module = import_module(module_name)
    except ConfigurationError:
        raise
    except ImportError as error:
        raise ConfigurationError(f"the layer {path} cannot be imported: {error}") from error
    except Exception as error:  # a project's module may fail with anything
        raise ConfigurationError(f"the layer {path} cannot be imported: {_told(error)}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ConfigurationError(f"the module {module_name} has no {attribute}, which {path} names") from None


def _called(make: Callable[[], Any], path: str) -> Any:
    try:
        return make()
    except ConfigurationError:
        raise
    except Exception as error:  # a project's function may fail with anything
        raise ConfigurationError(f"{path}, which should make the layer, failed: {_told(error)}") from error


def _told(error: Exception) -> str:
    """An error of a project's own code, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def layer_from_config(config: Mapping[str, Any]) -> ChannelLayer:
    """The layer of {"BACKEND": dotted path, "CONFIG": {option: value}}.

    Connects to nothing. An option of Channels that has no meaning any more is left out, with a warning in the
    log. Raises ConfigurationError that names the key, option or value that cannot work.
    """
    backend = config.get("BACKEND")
    options = config.get("CONFIG") or {}
    if not isinstance(backend, str) or "." not in backend:
        raise ConfigurationError(
            "BACKEND must be the dotted path of a layer, such as headrace_asgi.RedisChannelLayer, "
            f"not {backend!r}"
        )
    refuse_backend(backend)
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"CONFIG must be a dict of options, not {options!r}")
    module_name, _, attribute = backend.rpartition(".")
    layer_class = _imported(module_name, attribute, backend)
    layer = layer_class(**_checked_options(backend, layer_class, options))
    if not isinstance(layer, ChannelLayer):
        raise ConfigurationError(f"BACKEND {backend} is not a channel layer")
    return layer


def _checked_options(backend: str, layer_class: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        parameters = inspect.signature(layer_class).parameters
    except (TypeError, ValueError):
        raise ConfigurationError(f"BACKEND {backend} is not a channel layer") from None
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return options
    options = still_meant(options, parameters)
    for name in options:
        if name not in parameters:
            raise ConfigurationError(f"CONFIG of {backend} has no option {name!r}{_near(name, parameters)}")
    return options


def _near(name: Any, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"


def interface_ports(layer: ChannelLayer, reactor: Any, version_label: str = "") -> Sequence[InterfacePort]:
    """The ports of an interface server in a process of its own; see `ChannelLayer.open_interface_ports`.

    Raises ConfigurationError for a layer that only lives in one process: no worker would be in that one.
    """
    if layer.local_only:
        raise ConfigurationError(
            f"{type(layer).__name__} lives in one process only, so an interface server cannot use it; "
            "take RedisChannelLayer (redis://…), or IPCChannelLayer (ipc://NAME) for one machine"
        )
    return open_interface_ports(layer, reactor, version_label)
