"""Certificates of a running process: files that change, files that are wrong, days that pass."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import task

from headrace_asgi.errors import ConfigurationError
from headrace_interface.listeners import make_endpoints
from headrace_interface.tls.certificates import BadCertificate, CertificateFiles
from headrace_interface.tls.renewal import DAY_SECONDS, LOOK_SECONDS, WARNING_DAYS, Renewal
from tests.support.tls import FilePair, issue


class Watched:
    """A renewal of some pairs, and the two clocks that it looks at."""

    def __init__(self, *pairs: FilePair) -> None:
        self.clock = task.Clock()
        self.began = datetime.now(UTC).timestamp()
        files = [CertificateFiles(str(pair.certificate), str(pair.key)) for pair in pairs]
        self.renewal = Renewal(files, lambda: self.began + self.clock.seconds())
        self.renewal.watch(self.clock)

    def looks(self, times: int) -> None:
        self.clock.pump([LOOK_SECONDS] * times)

    @property
    def hosts(self) -> list[str]:
        """The names of what is served."""
        return [host for each in self.renewal.certificates for host in each.hosts]


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headrace.interface")


def test_at_the_start_what_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    pair = issue(tmp_path, "a.example")
    pair.key.unlink()
    with pytest.raises(BadCertificate, match=str(pair.key)):
        Watched(pair)


def test_the_start_says_what_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Watched(issue(tmp_path, "a.example"))
    [line] = lines(caplog, logging.INFO)
    assert line.startswith(f"Certificates: {tmp_path}/server.crt for a.example until ")


def test_a_new_pair_is_served_once_both_of_its_files_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(issue(tmp_path, "a.example"))
    folder = tmp_path / "new"
    folder.mkdir()
    renewed = issue(folder, "b.example")
    renewed.certificate.rename(tmp_path / "server.crt")
    watched.looks(1)
    renewed.key.rename(tmp_path / "server.key")
    watched.looks(1)
    assert watched.hosts == ["a.example"]
    watched.looks(1)
    assert watched.hosts == ["b.example"]
    assert not lines(caplog, logging.ERROR)
    assert "are served now" in lines(caplog, logging.INFO)[-1]
    caplog.clear()
    watched.looks(20)
    assert not caplog.records


def test_a_link_that_is_turned_is_a_change(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        issue(tmp_path / folder, f"{folder}.example")
    live = tmp_path / "live"
    live.symlink_to("one")
    watched = Watched(FilePair(live / "server.crt", live / "server.key"))
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", live)
    watched.looks(2)
    assert watched.hosts == ["two.example"]


@pytest.mark.parametrize("harm", ["gone", "rubbish", "another key"])
def test_what_cannot_be_used_leaves_the_former_pair_and_is_said_once(
    harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair, sound = issue(tmp_path, "a.example"), issue(tmp_path, "b.example", file="sound")
    watched = Watched(pair, sound)
    key = pair.key.read_bytes()
    if harm == "gone":
        pair.key.unlink()
    elif harm == "rubbish":
        pair.key.write_bytes(b"rubbish")
    else:
        pair.key.write_bytes(sound.key.read_bytes())
    issue(tmp_path, "c.example", file="sound")
    watched.looks(50)
    assert watched.hosts == ["a.example", "c.example"]
    [line] = lines(caplog, logging.ERROR)
    assert line.startswith(f"--keyfile {pair.key} ")
    assert f"The former one ({pair.certificate} for a.example" in line
    pair.key.write_bytes(key)
    caplog.clear()
    watched.looks(2)
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_who_asks_is_told_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pair = issue(tmp_path, "a.example")
    watched = Watched(pair)
    issue(tmp_path, "b.example")
    watched.renewal.reload()
    assert watched.hosts == ["b.example"]
    pair.certificate.write_bytes(b"rubbish")
    watched.renewal.reload()
    watched.renewal.reload()
    assert watched.hosts == ["b.example"]
    assert len(lines(caplog, logging.ERROR)) == 2


def test_an_end_that_is_near_is_said_once_a_day(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(issue(tmp_path, "a.example", ends_in_days=WARNING_DAYS + 1.5))
    assert not lines(caplog, logging.WARNING)
    days(watched, 4)
    said = lines(caplog, logging.WARNING)
    assert [line.partition(", in ")[2].partition(":")[0] for line in said] == [
        "13 days",
        "12 days",
        "11 days",
    ]
    assert said[0].startswith(f"Certificate {tmp_path}/server.crt for a.example until ")
    issue(tmp_path, "a.example")
    days(watched, 4)
    assert len(lines(caplog, logging.WARNING)) == 3


def test_what_has_ended_or_not_begun_is_served_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(
        issue(tmp_path, "a.example", ends_in_days=-1),
        issue(tmp_path, "b.example", file="b", begins_in_days=1),
    )
    ended, early = lines(caplog, logging.WARNING)
    assert "it has ended, and clients refuse it" in ended
    assert "but not before" in early
    assert [f"Certificate {line}" for line in watched.renewal.lines()] == [ended, early]


def test_the_state_has_what_is_served_now(tmp_path: Path) -> None:
    watched = Watched(issue(tmp_path, "a.example", "192.0.2.7"))
    [before] = watched.renewal.as_dicts()
    assert (before["file"], before["names"]) == (str(tmp_path / "server.crt"), ["a.example", "192.0.2.7"])
    assert datetime.fromisoformat(before["ends"]) == watched.renewal.certificates[0].ends
    issue(tmp_path, "b.example")
    watched.looks(2)
    assert watched.renewal.as_dicts()[0]["names"] == ["b.example"]


def test_tls_is_for_the_tcp_port_and_not_for_nothing(tmp_path: Path) -> None:
    renewal = Watched(issue(tmp_path, "a.example")).renewal

    def names(**where: Any) -> list[str]:
        return [name for name, _ in renewal.secured(partial(make_endpoints, **where), object())]

    assert names(host="::1", unix_socket="/a", strings=["tcp:2"]) == [
        "--unix-socket /a",
        "--endpoint tcp:2",
        "::1 port 8000 (TLS)",
    ]
    for where in ({"unix_socket": "/a"}, {"strings": ["tcp:2", "tcp:3"]}):
        with pytest.raises(ConfigurationError, match="--certfile is for the TCP port"):
            names(**where)


def test_the_key_of_tickets_is_renewed_each_day(tmp_path: Path) -> None:
    watched = Watched(issue(tmp_path, "a.example"))

    def current() -> object:
        return watched.renewal.choice.serverConnectionForTLS(None).get_context()

    first = current()
    watched.clock.advance(LOOK_SECONDS)
    assert current() is first
    days(watched, 1)
    assert current() is not first


def days(watched: Watched, count: int) -> None:
    for _ in range(count):
        watched.clock.advance(DAY_SECONDS - LOOK_SECONDS)
        watched.looks(1)
