"""Visitor: somebody who looks at the page, with a browser profile of their own."""

from collections.abc import Callable
from typing import Literal

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, ViewportSize, expect

__all__ = ["PATIENCE", "Visitor"]

PATIENCE = 20_000  # milliseconds; a busy machine


class Visitor:
    """Opens the page. What it complains of, and what it asks for, is written down.

    Args:
        browser: where.
        url: the service, without a slash at the end.
        forgive: complaints that the test brings about, as parts of their text: a refused request is one to Chromium.
        before: what is done to the empty page first.
        clock: whether the page's clock can be put forward (``page.clock``).
        scheme: the colours that the system wants.
        width: of the window, in pixels.
        bypass_csp: whether the page's policy is lifted, for what a test must bring in.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        forgive: tuple[str, ...] = (),
        before: Callable[[Page], object] | None = None,
        clock: bool = False,
        scheme: Literal["light", "dark"] = "light",
        width: int = 1280,
        bypass_csp: bool = False,
    ) -> None:
        expect.set_options(timeout=PATIENCE)
        self._forgive = forgive
        self._has_left = False
        self.complaints: list[str] = []
        self.asked: list[str] = []
        size: ViewportSize = {"width": width, "height": 900}
        self.context = browser.new_context(color_scheme=scheme, viewport=size, bypass_csp=bypass_csp)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        if clock:
            self.page.clock.install()
        if before is not None:
            before(self.page)
        self.page.goto(f"{url}/")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(each in message.text for each in self._forgive):
            self.complaints.append(message.text)

    def leave(self) -> None:
        """Look whether all was well, and close the page; once."""
        if self._has_left:
            return
        self._has_left = True
        trapped = self.page.evaluate("window.pwned")
        self.context.close()
        assert trapped is None
        assert self.complaints == []

    def is_live(self) -> "Visitor":
        """Wait until data comes."""
        expect(self.link).to_have_attribute("data-state", "live")
        return self

    @property
    def link(self) -> Locator:
        """What says how the line is."""
        return self.page.locator("#link")

    @property
    def verdict(self) -> Locator:
        """The sentence at the top."""
        return self.page.locator("#verdict-head")

    def card(self, id: str) -> Locator:
        """The card of what is ill."""
        return self.page.locator(f'.card[data-pool="{id}"]')

    def row(self, id: str) -> Locator:
        """A pool's row in the table."""
        return self.page.locator(f'tr.pool[data-pool="{id}"]')

    def dialog(self, title: str) -> Locator:
        """An open dialog."""
        return self.page.get_by_role("dialog", name=title)
