"""Bytes of bodies in memory and in files, and what all of them may take."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest

from headrace_interface.http.head import Refused
from headrace_interface.http.spool import Bodies, Spool
from headrace_interface.settings import InterfaceSettings


def bodies(each: int = 1000, memory: int = 10_000, disk: int = 100_000) -> Bodies:
    return Bodies(
        InterfaceSettings(spool_memory_bytes=each, max_bodies_memory_bytes=memory, max_bodies_disk_bytes=disk)
    )


@pytest.mark.seeds(1)
@pytest.mark.parametrize("each", [100, 10_000, 300_000])
def test_what_comes_out_is_what_went_in(each: int, seed: int) -> None:
    chance = random.Random(each + seed)
    account = bodies(each, 1_000_000, 100_000_000)
    spool = Spool(account)
    put = taken = b""
    for _ in range(300):
        data = chance.randbytes(chance.choice([1, 10, 500, 5000, 70_000]))
        spool.put(data)
        put += data
        if len(put) - len(taken) > 200_000 or chance.random() < 0.2:
            taken += spool.take(chance.randint(0, spool.bytes))
        assert spool.bytes == len(put) - len(taken)
        assert account.memory_bytes <= max(each, 140_000)
    taken += spool.take(spool.bytes)
    assert taken == put
    assert (account.memory_bytes, account.disk_bytes) == (0, 0)
    spool.close()


def test_a_small_body_never_meets_the_disk() -> None:
    account = bodies()
    spool = Spool(account)
    spool.put(b"a" * 1000)
    assert (account.memory_bytes, account.disk_bytes) == (1000, 0)
    assert spool._file is None
    spool.close()
    assert account.memory_bytes == 0


def test_many_tiny_parts_are_few_objects() -> None:
    spool = Spool(bodies(100_000, 100_000))
    for _ in range(100_000):
        spool.put(b"a")
    assert len(spool._parts) < 10
    assert spool.take(100_000) == b"a" * 100_000


def test_beyond_its_memory_a_body_goes_to_a_file_and_leaves_nothing_behind() -> None:
    account = bodies()
    spool = Spool(account)
    for _ in range(70):
        spool.put(b"a" * 1000)
    assert account.disk_bytes > 60_000
    spool.close()
    spool.close()
    assert (account.memory_bytes, account.disk_bytes, spool.bytes) == (0, 0, 0)


def test_when_all_memory_is_taken_small_bodies_go_to_files_too() -> None:
    account = bodies(memory=2500)
    spools = [Spool(account) for _ in range(20)]
    for spool in spools:
        spool.put(b"a" * 1000)
        assert account.memory_bytes <= 2500
    assert account.disk_bytes == 18_000
    for spool in spools:
        assert spool.take(1000) == b"a" * 1000
        spool.close()
    assert (account.memory_bytes, account.disk_bytes) == (0, 0)


def test_beyond_the_files_of_all_a_body_is_refused_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    account = bodies(memory=0, disk=2500)
    first, second = Spool(account), Spool(account)
    first.put(b"a" * 2000)
    for _ in range(3):
        with pytest.raises(Refused) as caught:
            second.put(b"a" * 1000)
        assert caught.value.status == 503
        assert caught.value.headers[0][0] == b"Retry-After"
        second.close()
    assert len(caplog.records) == 1
    first.close()
    second.put(b"a" * 1000)
    second.close()
    assert "can be kept again" in caplog.records[-1].message
    assert (account.memory_bytes, account.disk_bytes) == (0, 0)


def test_a_folder_that_takes_no_files_is_503_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    account = bodies(memory=0)
    for _ in range(3):
        with pytest.raises(Refused):
            Spool(account).put(b"a")
    assert len(caplog.records) == 1
    assert "No such file" in caplog.text
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool(account)
    spool.put(b"a")
    assert len(caplog.records) == 2
    spool.close()
