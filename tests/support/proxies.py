"""Programs that stand around the two tiers in production: where they are; proxies as children of a test."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.support.services import skip_or_fail
from tests.support.stack import Process

__all__ = ["program", "start_haproxy", "start_nginx"]

#: What nginx needs around a site, with nothing outside of a test's folder.
_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}
}}
"""


def program(name: str) -> str:
    """A program of the environment that runs the tests, or of the system; skips at home where it is not."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        skip_or_fail(f"there is no {name}; `make services` installs it")
    return str(found)


def start_nginx(folder: Path, site: str) -> Process:
    """nginx with a site: a file as in conf.d."""
    binary = program("nginx")
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, site=site), encoding="utf-8")
    # As root it would serve as another user, who may not enter the folder.
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    return Process([binary, "-p", str(folder), "-c", str(configuration), *user], {}, folder, "nginx")


def start_haproxy(folder: Path, text: str) -> Process:
    """HAProxy with a configuration, in the foreground."""
    binary = program("haproxy")
    configuration = folder / "haproxy.cfg"
    configuration.write_text(text, encoding="utf-8")
    return Process([binary, "-db", "-f", str(configuration)], {}, folder, "haproxy")
