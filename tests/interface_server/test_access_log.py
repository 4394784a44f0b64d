"""Lines of the access log."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import task

from headrace_interface.access_log import JSON, AccessLog, escape
from headrace_interface.http.head import RequestHead

LINE = re.compile(
    r'(\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "(.*)" (\d+|-) (\d+|-)\n', re.ASCII
)


def head(target: bytes = b"/a?b", client: list[object] | None = None) -> RequestHead:
    return RequestHead("GET", target, "/a\n", b"b", "1.1", [], "http", client, None, "", True)


def test_a_line_has_the_common_format_with_a_time_zone_d6() -> None:
    clock, stream = task.Clock(), io.BytesIO()
    log = AccessLog(clock, stream=stream)
    log.request(head(client=["192.0.2.1", 5]), 200, 0)
    log.flush()
    match = LINE.fullmatch(stream.getvalue().decode())
    assert match is not None
    assert match.groups() == ("192.0.2.1", "GET /a?b HTTP/1.1", "200", "0")


def test_lines_are_written_together() -> None:
    clock, stream = task.Clock(), io.BytesIO()
    log = AccessLog(clock, stream=stream)
    for _ in range(3):
        log.request(head(), 200, 5)
    assert stream.getvalue().decode() == ""
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(1)
    assert len(stream.getvalue().decode().splitlines()) == 3
    log.request(head(), 200, 5)
    clock.advance(1)
    assert len(stream.getvalue().decode().splitlines()) == 4


def test_a_socket_has_lines_too() -> None:
    stream = io.BytesIO()
    log = AccessLog(task.Clock(), stream=stream)
    log.socket("WSCONNECT", head())
    log.socket("WSDISCONNECT", head(), 1001)
    log.flush()
    matches = [LINE.fullmatch(line + "\n") for line in stream.getvalue().decode().splitlines()]
    assert [match and match.groups() for match in matches] == [
        ("-", r"WSCONNECT /a\n", "-", "-"),
        ("-", r"WSDISCONNECT /a\n", "1001", "-"),
    ]


def test_lines_can_be_json_objects() -> None:
    stream = io.BytesIO()
    log = AccessLog(task.Clock(), stream=stream, lines=JSON)
    log.request(head(b'/a"\xff', ["192.0.2.1", 5]), 200, 7)
    log.refused(None, 400)
    log.socket("WSDISCONNECT", head(), 1001)
    log.flush()
    entries = [json.loads(line) for line in stream.getvalue().decode("ascii").splitlines()]
    for entry in entries:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", entry.pop("at"))
    request = {"method": "GET", "target": '/a"\xff', "http_version": "1.1", "status": 200, "size": 7}
    assert entries == [
        {"client": "192.0.2.1", **request},
        {"client": None, "status": 400},
        {"client": None, "event": "WSDISCONNECT", "path": "/a\n", "code": 1001},
    ]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("/plain?a=b", "/plain?a=b"),
        ('/a"b', r"/a\"b"),
        ("/a\nb\x1b[31m", r"/a\nb\x1b[31m"),
        ("/a\\b", r"/a\\b"),
        ("/é€", r"/\xe9\u20ac"),
        ("/a\x7f", r"/a\x7f"),
    ],
)
def test_what_clients_wrote_cannot_break_a_line_d6(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_a_file_is_appended_to_and_opened_again_after_rotation_d6(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("old\n")
    log = AccessLog(task.Clock(), path=str(path))
    log.request(head(), 200, 1)
    log.flush()
    path.rename(tmp_path / "access.log.1")
    log.request(head(), 201, 1)
    log.reopen()
    log.request(head(), 202, 1)
    log.flush()
    log.close()
    old = (tmp_path / "access.log.1").read_text().splitlines()
    assert old[0] == "old"
    assert [line.split()[-2] for line in old[1:]] == ["200", "201"]
    assert path.read_text().split()[-2] == "202"


class Disk(io.BytesIO):
    """Takes so many bytes more."""

    room = 0

    def write(self, data: Any) -> int:
        if data and not self.room:
            raise OSError(28, "No space left on device")
        count = super().write(data[: self.room])
        self.room -= count
        return count


def test_a_full_disk_harms_no_request_is_said_once_and_the_log_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = Disk()
    log = AccessLog(task.Clock(), stream=disk)
    disk.room = 30
    for _ in range(5):
        log.request(head(), 200, 1)
        log.request(head(), 200, 1)
        log.flush()
    disk.room = 1000
    for status in (201, 202):
        log.request(head(), status, 1)
        log.flush()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, said
    assert said[0].startswith("The access log on stdout cannot be written (No space left on device).")
    assert said[1] == "The access log on stdout is written again; up to 10 lines were lost."
    broken_off, *whole = disk.getvalue().decode().splitlines(keepends=True)
    assert len(broken_off) == 31
    assert [line.split()[-2] for line in whole] == ["201", "202"]
    assert all(LINE.fullmatch(line) for line in whole)


def test_a_pipe_that_nobody_reads_is_trouble_too(caplog: pytest.LogCaptureFixture) -> None:
    class Pipe(io.BytesIO):
        def write(self, data: Any) -> None:  # type: ignore[override]
            """Would block."""

    log = AccessLog(task.Clock(), stream=Pipe())
    log.request(head(), 200, 1)
    log.close()
    assert "does not keep up" in caplog.text
