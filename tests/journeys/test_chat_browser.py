"""The chat in Chromium: two people in two browsers, on a desktop, a phone and in the dark.

Set `CHAT_SCREENSHOTS` to a folder to keep the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chat import Demo
from tests.support.ports import free_port
from tests.support.services import skip_or_fail
from tests.support.webdriver import Browser, ChromeDriver, chromium_programs

# Lets a test end the page's sockets, and refuse new ones, as a lost network does.
SOCKETS_IN_HAND = """
window.WebSocket = class extends WebSocket {
  static open = [];
  static refused = false;
  constructor(url) {
    super(WebSocket.refused ? "/rooms/no-such-room/socket/" : url);
    WebSocket.open.push(this);
  }
};
"""
DROP_SOCKETS = "for (const socket of WebSocket.open) socket.close()"
WATCH_PROGRESS = """
const bar = document.getElementById("upload-progress");
window.seen = [];
new MutationObserver(() => seen.push(bar.value)).observe(bar, { attributes: true });
"""
DESKTOP = (1200, 800, False)
PHONE = (390, 844, True)


@pytest.fixture(scope="module")
def driver() -> Iterator[ChromeDriver]:
    programs = chromium_programs()
    if programs is None:
        skip_or_fail("there is no chromium with chromedriver; `make services` installs them")
    assert programs is not None
    with ChromeDriver(*programs, port=free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Demo(tmp_path_factory.mktemp("chat")) as running:
        yield running


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = os.environ.get("CHAT_SCREENSHOTS")
    folder = Path(wanted) if wanted else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sign_in(driver: ChromeDriver, demo: Demo, name: str, room: str) -> Browser:
    """A browser with this person in this room, its socket open."""
    browser = driver.new_browser()
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", source=SOCKETS_IN_HAND)
    browser.open(f"{demo.url}/sign-in/")
    browser.click(f'.person[data-name="{name}"]')
    browser.wait(lambda page: page.texts(".rooms"))
    browser.click(f'.rooms a[href$="/{room}/"]')
    browser.wait(live)
    return browser


def live(page: Browser) -> bool:
    return page.texts("#state-text") == ["Live"]


def shows(text: str) -> object:
    """Whether a page shows a post that was sent and has this text."""
    return lambda page: any(text in shown for shown in page.texts(".post:not(.unsent)"))


def test_two_people_talk_and_the_page_is_looked_at(driver: ChromeDriver, demo: Demo, pictures: Path) -> None:
    ada, grace = sign_in(driver, demo, "ada", "kitchen"), sign_in(driver, demo, "grace", "kitchen")
    for page in (ada, grace):
        page.wait(lambda page: page.texts("#people-count") == ["2"])
    ada.type("#body", "Did the new wheel arrive?\n")
    grace.wait(shows("Did the new wheel arrive?"))
    grace.type("#body", "It stands in the workshop. Bring gloves.\n")
    for page in (ada, grace):
        page.wait(shows("Bring gloves."))
    for name, size, dark in (
        ("room-desktop", DESKTOP, False),
        ("room-desktop-dark", DESKTOP, True),
        ("room-phone", PHONE, False),
        ("room-phone-dark", PHONE, True),
    ):
        ada.size(*size)
        ada.dark(dark)
        ada.screenshot(pictures / f"{name}.png")
        overflow = ada.run("return document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{name} scrolls sideways by {overflow} px"
    assert ada.console() == []
    assert grace.console() == []


def test_a_reminder_is_asked_for_with_the_keyboard_alone(
    driver: ChromeDriver, demo: Demo, pictures: Path
) -> None:
    ada = sign_in(driver, demo, "ada", "workshop")
    ada.run("document.getElementById('remind-open').focus()")
    ada.type("#remind-open", "\n")
    ada.wait(lambda page: page.run("return document.activeElement.id") == "remind-text")
    ada.screenshot(pictures / "reminder.png")
    ada.run("document.getElementById('remind-seconds').value = '1'")
    ada.type("#remind-text", "Tea is ready\n")
    ada.wait(lambda page: any("reminded in 1 s" in text for text in page.texts(".notice")))
    ada.wait(lambda page: any("Tea is ready" in text for text in page.texts(".post.reminder")))
    assert ada.console() == []


def test_twenty_megabytes_are_uploaded_with_progress(
    driver: ChromeDriver, demo: Demo, pictures: Path, tmp_path: Path
) -> None:
    ada, grace = sign_in(driver, demo, "ada", "workshop"), sign_in(driver, demo, "grace", "workshop")
    # Slow enough that the progress can be seen.
    ada.devtools("Network.enable")
    ada.devtools(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=1,
        downloadThroughput=-1,
        uploadThroughput=10_000_000,
    )
    ada.run(WATCH_PROGRESS)
    file = tmp_path / "drawing.bin"
    file.write_bytes(os.urandom(1_000_000) * 20)
    ada.type("#file", str(file))
    ada.wait(lambda page: page.run("return Number(document.getElementById('upload-progress').value) > 20"))
    ada.screenshot(pictures / "upload.png")
    for page in (ada, grace):
        page.wait(lambda page: any("20.0 MB" in text for text in page.texts(".file-link")), 60)
    assert len(ada.run("return seen")) >= 3
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(25_000_001))
    ada.type("#file", str(large))
    ada.wait(lambda page: any("too large" in text for text in page.texts(".notice.problem")))
    assert ada.console() == []


def test_the_long_poll_page_shows_the_next_message(driver: ChromeDriver, demo: Demo, pictures: Path) -> None:
    ada, grace = sign_in(driver, demo, "ada", "kitchen"), sign_in(driver, demo, "grace", "kitchen")
    grace.open(f"{demo.url}/rooms/kitchen/poll/")
    grace.wait(lambda page: page.texts("#state-text") == ["Waiting for the next message"])
    for number in range(3):
        ada.type("#body", f"Over plain HTTP {number}\n")
        grace.wait(shows(f"Over plain HTTP {number}"))
    grace.screenshot(pictures / "poll.png")


def test_the_page_comes_back_by_itself_and_sends_what_was_written_offline(
    driver: ChromeDriver, demo: Demo, pictures: Path
) -> None:
    ada, grace = sign_in(driver, demo, "ada", "kitchen"), sign_in(driver, demo, "grace", "kitchen")
    ada.run("WebSocket.refused = true")
    ada.run(DROP_SOCKETS)
    ada.wait(lambda page: page.run("return document.getElementById('state').dataset.state") == "lost")
    ada.type("#body", "Written while offline\n")
    ada.screenshot(pictures / "offline.png")
    ada.run("WebSocket.refused = false")
    ada.wait(live, 30)
    grace.wait(shows("Written while offline"))
    assert sum("Written while offline" in text for text in ada.texts(".post")) == 1


def test_a_person_signed_out_elsewhere_is_asked_to_sign_in(driver: ChromeDriver, demo: Demo) -> None:
    ada = sign_in(driver, demo, "ada", "kitchen")
    ada.devtools("Network.clearBrowserCookies")
    ada.run(DROP_SOCKETS)
    ada.wait(lambda page: "/sign-in/" in page.url, 30)


def clipped(page: Browser) -> list[str]:
    """What does not fit on the page: wider than the window, or text cut off inside a control."""
    found: list[str] = page.run(
        """
        const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
        const parts = [...document.querySelectorAll("button, textarea, .link-state, .elsewhere a")];
        const cut = parts.filter((part) => {
          const box = part.getBoundingClientRect();
          if (!box.width || part.closest("[hidden]")) return false;
          return box.right > innerWidth + 1 || box.left < -1 || part.scrollWidth > part.clientWidth + 2
            || part.scrollHeight > part.clientHeight + 2;
        });
        const found = cut.map((part) => part.outerHTML);
        return wide > 0 ? [`the page is ${wide} px too wide`, ...found] : found;
        """
    )
    return found


SMALL = (320, 640, True)


@pytest.mark.parametrize("text_percent", [100, 200])
def test_everything_fits_on_a_small_screen_and_with_large_text(
    driver: ChromeDriver, demo: Demo, pictures: Path, text_percent: int
) -> None:
    ada = sign_in(driver, demo, "ada", "kitchen")
    ada.size(*SMALL)
    for name, path in (("room", "/rooms/kitchen/"), ("poll", "/rooms/kitchen/poll/"), ("rooms", "/")):
        ada.open(f"{demo.url}{path}")
        ada.run(f"document.documentElement.style.fontSize = '{text_percent}%'")
        if name != "rooms":
            ada.wait(lambda page: page.texts("#state-text")[0].startswith(("Live", "Waiting")))
        ada.screenshot(pictures / f"{name}-small-{text_percent}.png")
        assert clipped(ada) == [], name
        lines = ada.run(
            "const b = document.querySelector('.who button'); return b.getClientRects().length"
            " && Math.round((b.clientHeight - 16) / parseFloat(getComputedStyle(b).lineHeight))"
        )
        assert lines == 1, "Sign out takes one line"
    ada.open(f"{demo.url}/rooms/kitchen/")
    assert ada.run("return document.querySelector('.elsewhere a').getBoundingClientRect().width") > 0


def test_a_text_that_is_too_long_stays_in_the_line_and_is_said_to_be(
    driver: ChromeDriver, demo: Demo, pictures: Path
) -> None:
    ada = sign_in(driver, demo, "ada", "kitchen")
    ada.run(
        "const body = document.getElementById('body'); body.value = 'x'.repeat(2013);"
        "body.dispatchEvent(new Event('input'))"
    )
    ada.type("#body", "\n")
    assert ada.texts("#too-long") == ["Too long by 13 of 2000 characters."]
    assert ada.run("return document.getElementById('body').value.length") == 2013
    ada.screenshot(pictures / "too-long.png")
    ada.run(
        "const body = document.getElementById('body'); body.value = 'y'.repeat(2000);"
        "body.dispatchEvent(new Event('input'))"
    )
    ada.type("#body", "\n")
    ada.wait(shows("y" * 2000))
    assert ada.run("return document.getElementById('too-long').hidden")


def test_signing_out_in_one_tab_ends_the_socket_of_the_other(driver: ChromeDriver, demo: Demo) -> None:
    ada, grace = sign_in(driver, demo, "ada", "kitchen"), sign_in(driver, demo, "grace", "kitchen")
    # Its promise is not waited for: the page may have gone before it is kept, and the script would run again
    # on the page that comes then.
    ada.run(
        "fetch('/sign-out/', {method: 'POST',"
        " headers: {'X-CSRFToken': document.getElementById('room').dataset.csrf}})"
    )
    ada.wait(lambda page: "/sign-in/" in page.url, 30)
    assert live(grace)


def test_an_address_without_a_room_has_a_page_like_the_others(
    driver: ChromeDriver, demo: Demo, pictures: Path
) -> None:
    ada = sign_in(driver, demo, "ada", "kitchen")
    ada.open(f"{demo.url}/rooms/attic/")
    assert ada.texts("h1") == ["Not found"]
    ada.screenshot(pictures / "not-found.png")
    ada.click('main a[href="/"]')
    ada.wait(lambda page: page.texts(".rooms"))
