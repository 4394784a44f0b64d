"""The certificates that are served now: read at the start, on SIGHUP, and when their files have changed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace_asgi.errors import ConfigurationError

from ..timers import Clock
from .certificates import BadCertificate, Certificate, CertificateFiles
from .choice import CertificateChoice, read_usable
from .transport import TlsEndpoint

__all__ = ["DAY_SECONDS", "LOOK_SECONDS", "WARNING_DAYS", "Renewal"]

logger = logging.getLogger("headrace.interface")

#: Seconds between two looks at the files: a renewal is weeks ahead of the end.
LOOK_SECONDS = 30.0
#: Seconds after which what ends soon is said again, and the key of tickets is renewed: who gets hold of it
#: can read the TLS 1.2 sessions that were taken up again with it.
DAY_SECONDS = 86_400.0
#: Days before its end from which on a certificate is warned of: machines renew it with 30 days left.
WARNING_DAYS = 14

#: Endpoints that get no TLS, by their names: a proxy's on this machine, and those that say it themselves.
_AS_THEY_ARE = ("--unix-socket ", "--endpoint ")

_Stamp = tuple[tuple[int, ...] | None, ...]


class Renewal:
    """Keeps a `CertificateChoice` at what the files say. A pair that cannot be used leaves the former one."""

    def __init__(
        self, files: Sequence[CertificateFiles], wall_clock: Callable[[], float] = time.time
    ) -> None:
        """Read all files. Raises BadCertificate. `wall_clock` tells the time of day in seconds."""
        self._files = files
        self._wall_clock = wall_clock
        #: How the files were when they were read last, and when they were looked at last.
        self._read_as = self._seen = _stamps(files)
        self.certificates = [read_usable(each) for each in files]
        self.choice = CertificateChoice(self.certificates)
        self._clock: Any = None
        self._told_at = 0.0

    def secured(
        self, make_endpoints: Callable[[Any], Sequence[tuple[str, Any]]], reactor: Any
    ) -> list[tuple[str, Any]]:
        """What `make_endpoints` makes, with TLS on TCP; what `--endpoint` says stays as it is.

        Raises ConfigurationError where nothing of that kind is listened on.
        """
        made = make_endpoints(reactor)
        if all(name.startswith(_AS_THEY_ARE) for name, _ in made):
            raise ConfigurationError(
                "--certfile is for the TCP port, and none is listened on: give --bind or --port as well"
            )
        return [
            (name, each)
            if name.startswith(_AS_THEY_ARE)
            else (f"{name} (TLS)", TlsEndpoint(each, self.choice, reactor))
            for name, each in made
        ]

    def lines(self) -> list[str]:
        """What there is to say about each: its file, its names, its end, and whether that is near."""
        return [f"{each}{_trouble(each, self._now())}" for each in self.certificates]

    def as_dicts(self) -> list[dict[str, Any]]:
        """File, names and end (UTC, ISO 8601) of each, as plain values that JSON has."""
        return [
            {
                "file": each.files.certificate,
                "names": [*each.hosts, *each.addresses],
                "ends": each.ends.isoformat(timespec="seconds"),
            }
            for each in self.certificates
        ]

    def watch(self, clock: Clock) -> None:
        """Say what is served, and look after the files from now on."""
        self._clock = clock
        self._told_at = clock.seconds()
        logger.info("Certificates: %s", "; ".join(map(str, self.certificates)))
        self._warn()
        clock.callLater(LOOK_SECONDS, self._look)

    def reload(self) -> None:
        """Read all files again, and log what became of it."""
        self._read_as = self._seen = _stamps(self._files)
        pairs = zip(self._files, self.certificates, strict=True)
        self.certificates = [self._again(files, former) for files, former in pairs]
        self.choice.serve(self.certificates)
        logger.info("Certificates that are served now: %s", "; ".join(map(str, self.certificates)))

    def _again(self, files: CertificateFiles, former: Certificate) -> Certificate:
        try:
            return read_usable(files, former)
        except BadCertificate as problem:
            logger.error("%s. The former one (%s) is served on until then.", problem, former)
            return former

    def _look(self) -> None:
        self._clock.callLater(LOOK_SECONDS, self._look)
        now = _stamps(self._files)
        # A certificate and its key are replaced one after the other: both are there when nothing changes.
        if now != self._read_as and now == self._seen:
            self.reload()
        self._seen = now
        if self._clock.seconds() - self._told_at >= DAY_SECONDS:
            self._told_at = self._clock.seconds()
            self.choice.serve(self.certificates)
            self._warn()

    def _warn(self) -> None:
        for each in self.certificates:
            trouble = _trouble(each, self._now())
            if trouble:
                logger.warning("Certificate %s%s", each, trouble)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall_clock(), UTC)


def _trouble(certificate: Certificate, now: datetime) -> str:
    """The rest of a sentence about its days; empty if they are good."""
    if now < certificate.begins:
        return f", but not before {certificate.begins:%Y-%m-%d %H:%M} UTC: is the clock here right?"
    left = certificate.ends - now
    if left <= timedelta(0):
        return ": it has ended, and clients refuse it. Renew it; new files are read without a restart."
    if left < timedelta(days=WARNING_DAYS):
        return f", in {left.days} days: renew it. New files are read without a restart."
    return ""


def _stamps(files: Sequence[CertificateFiles]) -> _Stamp:
    return tuple(_stamp(path) for each in files for path in (each.certificate, each.key))


def _stamp(path: str) -> tuple[int, ...] | None:
    """What is different when a file was replaced or written, or a link turned; None if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
