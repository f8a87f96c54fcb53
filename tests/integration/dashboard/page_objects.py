"""The dashboard's pages as tests speak of them; what is wrong in the browser's console is kept."""

import re
from collections.abc import Callable
from typing import Any, Final

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Locator, Route, expect

PICTURE: Final = '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="180"><rect width="9" height="9"/></svg>'
LIMIT: Final = 24
ASKED_TWICE: Final = """() => performance.getEntriesByType("resource")
    .filter(({ name }) => new URL(name).pathname === "/v1/videos").length >= 2"""


class Window:
    """One tab. Nothing in it reaches YouTube: pictures are answered here, everything else is refused."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url: Final = url
        self.page: Final = context.new_page()
        self.faults: Final[list[str]] = []
        self.elsewhere: Final[list[str]] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("dialog", self._asked)
        self.page.route(lambda asked: not asked.startswith(url), self._refuse)
        self.page.route(
            "https://i.ytimg.com/**", lambda route: route.fulfill(body=PICTURE, content_type="image/svg+xml")
        )

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(f"{message.type}: {message.text}")

    def _asked(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _refuse(self, route: Route) -> None:
        self.elsewhere.append(route.request.url)
        route.abort()

    def expect_fault(self, text: str) -> None:
        """A test that breaks something hears of it, once or more."""
        assert any(text in fault for fault in self.faults), self.faults
        self.faults[:] = [fault for fault in self.faults if text not in fault]

    def answer(self, path: str, body: object, status: int = 200, **headers: str) -> Callable[[], None]:
        """Answer a path of the API here instead; call what is returned to end that."""
        pattern = re.compile(re.escape(self.url + path) + r"(\?|$)")
        self.page.route(pattern, lambda route: route.fulfill(status=status, json=body, headers=headers))
        return lambda: self.page.unroute(pattern)

    def axe_violations(self, context: dict[str, Any] | None = None) -> list[str]:
        """What axe-core finds, a line each."""
        found = Axe().run(self.page, context=context).response["violations"]
        return [f"{each['id']}: {node['target']}: {node['failureSummary']}" for each in found for node in each["nodes"]]

    def overflows(self) -> bool:
        """Whether the page scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


class VideosPage:
    """`/`."""

    def __init__(self, window: Window) -> None:
        self.window: Final = window
        self.page: Final = window.page
        self.cards: Final = self.page.locator("#list > .card")
        self.total: Final = self.page.locator("#count")
        self.search: Final = self.page.get_by_role("searchbox", name="Search titles")
        self.query: Final = self.page.get_by_role("combobox", name="Followed query")
        self.arrivals: Final = self.page.locator("#arrivals")
        self.banner: Final = self.page.locator("#banner")
        self.panel: Final = self.page.locator("#panel")
        self.live: Final = self.page.locator("#live")
        self.chips: Final = self.page.get_by_role("list", name="Filters in use")
        self.pages: Final = self.page.get_by_role("navigation", name="Pages of videos")

    def open(self, path: str = "/", *, settles: bool = True) -> "VideosPage":
        """A page that cannot be had, or has no stream, does not settle."""
        self.page.goto(self.window.url + path)
        self.loaded()
        if settles:
            self.settled()
        return self

    def settled(self) -> None:
        """When the stream begins, the page asks for its videos once more: what it shows before may be drawn anew."""
        self.page.wait_for_function(ASKED_TWICE)
        self.page.evaluate("() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")

    def loaded(self) -> None:
        """The list is there, and what happens from now on is told."""
        expect(self.page.locator("#list")).to_have_attribute("aria-busy", "false")

    def listening(self) -> None:
        expect(self.live).to_have_text("Live")

    def card(self, video_id: str) -> Locator:
        return self.page.locator(f'#list > [data-id="{video_id}"]')

    def ids(self) -> list[str]:
        return [str(each) for each in self.cards.evaluate_all("cards => cards.map(card => card.dataset.id)")]

    def expect_ids(self, ids: list[str]) -> None:
        """Exactly these, in this order; waits for them."""
        expect(self.cards).to_have_count(len(ids))
        if ids:
            expect(self.cards.first).to_have_attribute("data-id", ids[0])
            expect(self.cards.last).to_have_attribute("data-id", ids[-1])
        assert self.ids() == ids

    def go_to_page(self, name: str) -> None:
        self.pages.get_by_role("link", name=name, exact=True).click()
        self.loaded()
