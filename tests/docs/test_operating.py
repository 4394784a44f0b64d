"""The page on operating says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from headrace_interface.options import make_parser
from headrace_interface.process_state import ProcessState
from headrace_interface.sources import gather
from tests.support.http_lab import Lab
from tests.support.source import ROOT, section_of

PAGE = ROOT / "docs" / "operating.md"


def test_the_file_of_the_page_can_be_read_and_says_what_it_seems_to(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    path = tmp_path / "headrace.toml"
    path.write_text(block, encoding="utf-8")
    path.chmod(0o600)
    given = gather(make_parser(), ["--config", str(path)], {})
    assert given.warnings == []
    assert (given.options.layer, given.options.admin) == (
        "redis://:password@10.0.0.5:6379/0",
        "127.0.0.1:9000",
    )
    assert (given.options.proxy_headers, given.options.deadline_response) == (True, 60)


def test_every_key_of_the_state_is_on_the_page_and_no_other() -> None:
    rows = re.findall(r"^\| (`[^|]+) \| ", section_of(PAGE, "Probes"), re.M)
    named = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert named == set(ProcessState(Lab().context).as_dict())
