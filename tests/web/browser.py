"""A real browser at a real endpoint: what people see, and what their browser says of it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from playwright.async_api import Page, ViewportSize, async_playwright

from powerd.core.model import Now
from powerd.history.history import History
from powerd.metrics.exposition import Metrics
from powerd.snapshot import Snapshot
from powerd.web.server import WebServer
from tests.web import host

CHROMIUM = "/usr/bin/chromium"
# A browser on a busy machine may take its time; what is waited for comes in a second or two.
WITHIN_MS = 20_000
_LOOK_EVERY_MS = 30
DESK: ViewportSize = {"width": 1300, "height": 1000}
PHONE: ViewportSize = {"width": 360, "height": 740}


@dataclass
class Clock:
    """A clock that stands still until it is moved; it starts at the moment that is shown."""

    after_s: float = 0.0

    def now(self) -> Now:
        return host.moment(self.after_s)


@dataclass
class Screen:
    """A page in front of a host that shows what it is told to."""

    page: Page
    shown: list[Snapshot]
    clock: Clock
    history: History
    server: WebServer
    port: int
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def show(self, snapshot: Snapshot, after_s: float = 0.0) -> None:
        """End an iteration with this snapshot, so many seconds after the moment that is shown first."""
        self.clock.after_s = after_s
        self.shown[0] = replace(snapshot, now=host.moment(after_s))
        self.history.take(self.shown[0], (), is_sampled=True)
        self.server.publish(self.shown[0])

    async def says(self, selector: str, text: str) -> None:
        """Wait until an element has this text in it; all white space counts as one blank.

        Raises:
            AssertionError: it does not; tells what it says instead.
        """
        said = ""
        try:
            async with asyncio.timeout(WITHIN_MS / 1000):
                while text not in (said := await self.text(selector)):
                    await self.page.wait_for_timeout(_LOOK_EVERY_MS)
        except TimeoutError:
            raise AssertionError(f"{selector} says {said!r}, without {text!r}") from None

    async def text(self, selector: str) -> str:
        found = await self.page.locator(selector).text_content(timeout=WITHIN_MS)
        return " ".join((found or "").split())


@asynccontextmanager
async def chromium() -> AsyncIterator[Page]:
    """Start the browser that is installed, two hours east of the host's clock; return its one tab."""
    async with async_playwright() as playwright:
        # The sandbox needs rights that containers do not give; the pages are our own.
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield await browser.new_page(timezone_id="Europe/Helsinki")
        finally:
            await browser.close()


@asynccontextmanager
async def screen(
    tab: Page, snapshot: Snapshot, size: ViewportSize = DESK, before: Iterable[Snapshot] = ()
) -> AsyncIterator[Screen]:
    """Serve a snapshot, open the page, and wait until it shows it.

    Args:
        before: iterations of the seconds before, the last one second before.
    """
    clock, shown, history = Clock(), [snapshot], History()
    past = list(before)
    for position, each in enumerate(past):
        history.take(replace(each, now=host.moment(float(position - len(past)))), (), is_sampled=True)
    metrics = Metrics(snapshot.rack, snapshot.host, clock)
    server = WebServer(lambda: shown[0], clock, metrics, listen="127.0.0.1:0", history=history)
    async with server:
        assert server.port is not None
        opened = Screen(tab, shown, clock, history, server, server.port)
        listeners = {
            "console": lambda said: opened.complaints.append(said.text),
            "pageerror": lambda error: opened.complaints.append(str(error)),
            "request": lambda request: opened.requests.append(request.url),
        }
        for event, listener in listeners.items():
            tab.on(event, listener)  # type: ignore[call-overload] # each of them is one of the page's
        await tab.set_viewport_size(size)
        await tab.goto(f"http://127.0.0.1:{server.port}/")
        await opened.says("#host", snapshot.host)
        try:
            yield opened
        finally:
            for event, listener in listeners.items():
                tab.remove_listener(event, listener)
            await tab.goto("about:blank")
