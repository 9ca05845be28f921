"""The page in a real browser, over a real service: what an operator sees, presses and cannot be tricked into."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import axe_playwright_python
import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.scenarios.process import ServiceProcess
from tests.servers.programs import ensure_program

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip  # flags
PATIENCE = 20_000  # milliseconds; a busy machine
EVIL = '<img src=x onerror="window.pwned=1"> "\'`<script>window.pwned=1</script>'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Generator[ServiceProcess]:
    """The demo, without traffic."""
    with ServiceProcess(tmp_path_factory.mktemp("browser") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Debian's Chromium; nothing is fetched for it."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(ensure_program("chromium")), args=ARGUMENTS)
        yield running
        running.close()


@contextmanager
def opened(browser: Browser, url: str, *, dark: bool = False, bypass_csp: bool = False) -> Generator[Page]:
    """The page, live; whatever it says on its console, and every violation of its policy, fails the test."""
    context = browser.new_context(color_scheme="dark" if dark else "light", bypass_csp=bypass_csp)
    page = context.new_page()
    said: list[str] = []
    page.on(
        "console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.goto(f"{url}/")
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    yield page
    assert page.evaluate("window.pwned") is None
    context.close()
    assert said == []


def test_it_shows_what_happens_as_it_happens(browser: Browser, service: ServiceProcess) -> None:
    """Every pool stands there; a change made elsewhere comes without a reload; a reason is text, whatever is in it."""
    with opened(browser, service.url) as page:
        rows = page.locator("#pool-rows tr")
        expect(rows).to_have_count(4)
        expect(page.locator("#quarantine-empty")).to_be_visible()
        httpx.post(
            f"{service.url}/quarantine", json={"resource_id": "payments", "reason": EVIL}
        ).raise_for_status()
        card = page.locator("#quarantine .card")
        expect(card).to_have_count(1)
        expect(card).to_contain_text(EVIL)
        expect(page.locator("#events")).to_contain_text("quarantine.entered")
        httpx.post(f"{service.url}/quarantine/payments/release").raise_for_status()
        expect(card).to_have_count(0)


def test_an_operator_isolates_and_releases_by_hand(browser: Browser, service: ServiceProcess) -> None:
    """A reason, a probe; then by force: what the page did is what the API says."""
    with opened(browser, service.url) as page:
        for mode in ("probe", "force"):
            httpx.post(
                f"{service.url}/quarantine", json={"resource_id": "payments", "reason": "a look"}
            ).raise_for_status()
            page.get_by_role("button", name="Release payments").click()
            dialog = page.locator("#dialog")
            expect(dialog).to_be_visible()
            page.locator(f"#dialog input[value={mode}]").check()
            page.locator("#dialog input[name=reason]").fill(f"by {mode}")
            page.locator("#dialog-ok").click()
            expect(dialog).to_be_hidden()
            expect(page.locator("#quarantine .card")).to_have_count(0)
            assert httpx.get(f"{service.url}/quarantine").json()["items"] == []
        done = [
            each for each in httpx.get(f"{service.url}/audit").json()["items"] if "release" in each["action"]
        ]
        assert {each["reason"] for each in done} >= {"by probe", "by force"}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everybody_can_use_it(browser: Browser, service: ServiceProcess, dark: bool) -> None:
    """axe finds nothing serious, in either scheme."""
    with opened(browser, service.url, dark=dark, bypass_csp=True) as page:
        expect(page.locator("#pool-rows tr")).to_have_count(4)
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run()")["violations"]
    assert [each["id"] for each in found if each["impact"] in {"serious", "critical"}] == []


def test_a_page_elsewhere_cannot_press_the_button(browser: Browser, service: ServiceProcess) -> None:
    """Another origin's POST, simple or not, changes nothing; a name that points here is refused (DNS rebinding)."""
    httpx.post(
        f"{service.url}/quarantine", json={"resource_id": "payments", "reason": "stays"}
    ).raise_for_status()
    try:
        context = browser.new_context()
        page = context.new_page()
        # An origin that is not the service's, though on the same machine.
        page.goto(re.sub(r"//127\.0\.0\.1", "//localhost", service.url) + "/health/live")
        for body in ("{headers: {'Content-Type': 'application/json'}, ", "{mode: 'no-cors', "):
            page.evaluate(
                f"url => fetch(url, {body} method: 'POST', body: '{{\"mode\": \"force\"}}'}}).catch(() => 0)",
                f"{service.url}/quarantine/payments/release",
            )
        context.close()
        assert len(httpx.get(f"{service.url}/quarantine").json()["items"]) == 1
        rebound = httpx.get(f"{service.url}/pools", headers={"Host": "evil.example"})
        assert rebound.status_code == 400
    finally:
        httpx.post(f"{service.url}/quarantine/payments/release", json={"mode": "force"}).raise_for_status()


def test_a_service_that_restarts_is_found_again(browser: Browser, tmp_path: Path) -> None:
    """While it is away the page says so; back on the same port, it is live again without a reload."""
    with ServiceProcess(tmp_path / "data") as first:
        port = first.url.rsplit(":", 1)[1]
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{first.url}/")
        link = page.locator("#link")
        expect(link).to_have_attribute("data-state", "live", timeout=PATIENCE)
    expect(link).not_to_have_attribute("data-state", "live", timeout=PATIENCE)
    with ServiceProcess(tmp_path / "data", PORT=port):
        expect(link).to_have_attribute("data-state", "live", timeout=60_000)
    context.close()
