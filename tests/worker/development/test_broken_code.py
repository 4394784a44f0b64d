from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import SystemCheckError

from headrace.development import broken_code
from headrace.development.broken_code import PAGE_ENV, Told, page_about, watch, watch_if_asked


def raised(run: Callable[[], Any]) -> Exception:
    try:
        run()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def failed_import() -> Any:
    try:
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        raise ValueError("the routing cannot be imported") from error


def test_what_was_told_names_the_file_that_the_reloader_must_watch(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    wrong = raised(lambda: compile("this is no Python", str(broken), "exec"))
    assert Told(wrong).filename == str(broken)
    assert Told(raised(failed_import)).filename == __file__
    assert Told(ValueError("raised nowhere")).filename == ""


def test_the_page_shows_the_error_and_where_it_is_without_running_what_it_says() -> None:
    error = raised(failed_import)
    page = page_about(error)
    assert "ValueError: the routing cannot be imported" in page
    assert "No module named &#x27;no_such_module&#x27;" in page
    assert Path(__file__).name in page
    assert "<script>" not in page_about(ValueError("<script>"))
    assert "\x1b" not in page_about(SystemCheckError("\x1b[31;1mred\x1b[0m"))


def test_what_was_told_is_on_the_page_in_its_own_words() -> None:
    cause = raised(failed_import)
    told = raised(lambda: (_ for _ in ()).throw(Told(cause)))
    told.__cause__ = cause
    page = page_about(told)
    assert "<strong>the routing cannot be imported</strong>" in page
    assert "No module named" in page


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Any], list[Any]]]:
    """Runs a failing thread: what was shown on the terminal, and what browsers are told."""
    shown: list[Any] = []
    answered: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(args.exc_value))
    monkeypatch.setattr(broken_code, "_answer", lambda error, port: answered.append((error, port)))

    def fail(error: BaseException, name: str = "django-main-thread") -> tuple[list[Any], list[Any]]:
        def run() -> None:
            raise error

        thread = threading.Thread(target=run, name=name)
        thread.start()
        thread.join()
        return shown, answered

    return fail


def test_only_the_reloaders_thread_and_only_with_debug_is_told_to_browsers(
    failing: Any, settings: Any
) -> None:
    settings.DEBUG = True
    watch(8001)
    watch()
    error, other = ValueError("in the code"), ValueError("in a thread of the project")
    assert failing(error) == ([error], [(error, 8001)])
    assert failing(other, "worker") == ([error, other], [(error, 8001)])
    settings.DEBUG = False
    assert failing(error) == ([error, other, error], [(error, 8001)])


def test_what_was_told_is_not_shown_again(failing: Any, settings: Any) -> None:
    settings.DEBUG = True
    watch(8001)
    told = Told(ValueError("x"))
    assert failing(told) == ([], [(told, 8001)])


def test_nothing_is_watched_outside_of_runserver(failing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.excepthook
    monkeypatch.delenv("RUN_MAIN", raising=False)
    monkeypatch.setenv(PAGE_ENV, "8001")
    watch_if_asked()
    assert threading.excepthook is before
    monkeypatch.setenv("RUN_MAIN", "true")
    watch_if_asked()
    assert threading.excepthook is not before
