"""The channel layer of a development server: what `runserver` and its interface server use."""

from __future__ import annotations

from django.core.management.commands.runserver import Command

from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.from_config import layer_from_config

from .. import conf
from ..asgi import DEFAULT_CHANNEL_LAYER, InvalidChannelLayerError
from ..routing import import_named
from ..types import Options

__all__ = ["ensure_usable", "layer_config"]


def layer_config(port: int, apart: bool = True) -> tuple[conf.LayerConfig, str]:
    """The configuration of the default layer for a server on `port`, and a note for the developer, or "".

    A layer that lives in one process is replaced by the embedded server. On another port than 8000 the
    embedded server gets a prefix: two servers of one project must not answer each other's browsers. Without
    `apart` it gets none, for workers of other commands. Raises InvalidChannelLayerError,
    ImproperlyConfigured or ImportError.
    """
    try:
        config = conf.channel_layer_config(DEFAULT_CHANNEL_LAYER)
    except ConfigurationError as error:
        raise InvalidChannelLayerError(f"CHANNEL_LAYERS[{DEFAULT_CHANNEL_LAYER!r}]: {error}") from error
    note = ""
    if config.backend != conf.EMBEDDED_BACKEND and getattr(_layer_class(config), "local_only", False):
        note = (
            f"{config.backend} lives in one process; this command uses the embedded server instead "
            f"({conf.EMBEDDED_BACKEND})."
        )
        options: Options = {"name": conf.project_name()}
        config = conf.LayerConfig(backend=conf.EMBEDDED_BACKEND, options=options, routing=config.routing)
    if apart and config.backend == conf.EMBEDDED_BACKEND and port != int(Command.default_port):
        prefix = config.options.get("prefix", "")
        options = {**config.options, "prefix": f"{prefix}port-{port}."}
        config = conf.LayerConfig(backend=config.backend, options=options, routing=config.routing)
    return config, note


def ensure_usable(config: conf.LayerConfig) -> None:
    """Raise ConfigurationError if the layer's server will never let anybody in."""
    if config.backend == conf.EMBEDDED_BACKEND:
        return  # it is ours, and is started by those who use it
    layer = layer_from_config({"BACKEND": config.backend, "CONFIG": config.options})
    try:
        layer.ensure_usable()
    finally:
        layer.close()


def _layer_class(config: conf.LayerConfig) -> object:
    name = f"CHANNEL_LAYERS[{DEFAULT_CHANNEL_LAYER!r}]['BACKEND'] = {config.backend!r}"
    return import_named(config.backend, name)
