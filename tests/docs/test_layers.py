"""docs/layers.md: its layer passes its tests, and fails the right case once it is broken."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headrace_asgi import conformance

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "layers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
LAYER, TESTS = BLOCKS[:2]
#: A test that is wrong is seen within this time.
IMPATIENT = "    capacity_limit = 5\n    patience_seconds = 0.5\n"


def run(folder: Path, layer: str, tests: str, *cases: str) -> tuple[int, str]:
    """Run the page's tests as its reader does; how that ended, and what it said."""
    (folder / "shelf.py").write_text(layer, encoding="utf-8")
    (folder / "test_shelf.py").write_text(tests, encoding="utf-8")
    wanted = [word for case in cases for word in ("-k", case)]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "unittest", "-v", *wanted, "test_shelf"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "asgi_spec")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr


def test_the_layer_of_the_page_is_the_one_in_the_tree() -> None:
    assert (ROOT / "tests" / "support" / "shelf.py").read_text(encoding="utf-8") == LAYER


def test_the_layer_of_the_page_passes_all_that_it_claims_and_skips_nothing(tmp_path: Path) -> None:
    status, said = run(tmp_path, LAYER, TESTS)
    assert status == 0, said
    count = re.search(r"^Ran (\d+) tests", said, re.M)
    assert count is not None
    assert int(count[1]) > 35
    assert "skipped" not in said


@pytest.mark.parametrize(
    ("right", "wrong", "case"),
    [
        (
            "= shelf.popleft()\n                if",
            "= shelf.pop()\n                if",
            "order_they_were_sent",
        ),
        ("return Outcome.FULL", "pass", "test_a_full_channel_refuses_and_accepts_again_when_it_was_read"),
        ("if expires_at >= time.monotonic()", "if expires_at", "test_a_message_that_nobody_read_expires"),
        ("random.sample(names, len(names))", "names", "test_a_busy_channel_never_hides_a_quiet_one"),
        ("self._changed.notify_all()", "pass", "test_a_waiting_receiver_wakes_when_a_message_comes"),
        (".pop(channel, None)", ".get(channel)", "test_a_group_message_reaches_every_member"),
        (" if added_at >= oldest", "", "test_a_member_that_is_not_added_again_leaves_after_group_expiry"),
        ("            self._groups.clear()\n", "", "test_flush_removes_groups"),
        ("in packed]\n", "in packed][::-1]\n", "test_what_does_not_fit_of_a_batch_is_full"),
        ("dict.fromkeys(named,", "dict.fromkeys(named[1:],", "test_what_was_announced_is_known"),
        ('("groups", "batch", "flush")', '("batch", "flush")', "test_groups_are_declared"),
        ('("groups", "batch", "flush")', '("groups", "flush")', "test_batches_are_declared"),
        ('("groups", "batch", "flush")', '("groups", "batch")', "test_flush_is_declared"),
    ],
)
def test_a_layer_that_is_broken_fails_the_case_that_is_about_it(
    right: str, wrong: str, case: str, tmp_path: Path
) -> None:
    assert LAYER.count(right) == 1
    tests = TESTS.replace("    capacity_limit = 5\n", IMPATIENT)
    assert run(tmp_path, LAYER, tests, case)[0] == 0
    status, said = run(tmp_path, LAYER.replace(right, wrong), tests, case)
    assert status == 1, said
    assert re.search(rf"^(?:FAIL|ERROR): \w*{case}", said, re.M), said


def test_every_mix_in_is_in_the_table_and_every_other_name_there_is_none() -> None:
    rows = re.findall(r"^\| (`\w+Conformance`.*?) \|", PAGE, re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    sums = {"ChannelLayerConformance", "WorkerPortConformance"}
    assert named == set(conformance.__all__) - sums - {"ConformanceCase"}


def test_the_attributes_of_the_table_are_those_of_a_case_with_their_defaults() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| .*? \| (.*?) ?\|$", PAGE, re.M))
    attributes = {name for name in vars(conformance.ConformanceCase) if not name.startswith("_")}
    attributes = {name for name in attributes if not callable(getattr(conformance.ConformanceCase, name))}
    assert rows.keys() == attributes - {"skip_undeclared"} | {"channel_layer"}
    assert rows["message_limit_bytes"] == f"{conformance.ConformanceCase.message_limit_bytes >> 20} MiB"
    assert rows["receive_tries"] == str(conformance.ConformanceCase.receive_tries)
    assert rows["patience_seconds"] == f"{conformance.ConformanceCase.patience_seconds:g}"
