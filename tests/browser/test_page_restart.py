"""A service that ends and comes back, under a page that stays open."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.visitor import Visitor
from tests.scenarios.process import ServiceProcess


def test_a_service_that_restarts_is_found_again(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    """While it is away the page says so, and calls nothing well; back on the same port it is live without a reload."""
    with ServiceProcess(tmp_path / "data") as first:
        port = first.url.rsplit(":", 1)[1]
        seen = visit(first.url, forgive=("ERR_",)).is_live()
        expect(seen.page.locator("tr.pool")).to_have_count(4)
        pid = seen.page.locator("#process").text_content()
    expect(seen.verdict).to_have_text("The connection is lost")
    expect(seen.page.locator("#verdict-more")).to_contain_text("What stands below is as of")
    expect(seen.page).to_have_title("? nebula")
    expect(seen.page.locator("tr.pool")).to_have_count(4)
    # What was never told is not shown as if there were none of it.
    seen.page.locator(".pool-name").first.click()
    opened = seen.page.locator("tr.details")
    expect(opened).to_contain_text("come when the service answers again")
    expect(opened.get_by_role("heading", name="Neighbours")).to_be_hidden()
    with ServiceProcess(tmp_path / "data", PORT=port):
        expect(seen.link).to_have_attribute("data-state", "live", timeout=60_000)
        expect(seen.page.locator("#events")).to_contain_text("gap")
        expect(seen.page.locator("#process")).not_to_have_text(pid or "")
        expect(opened.get_by_role("heading", name="Neighbours")).to_be_visible()
        expect(opened).to_contain_text('"url": "**********"')
