"""The page and its line: silence, a tab that nobody looks at, a stream that cannot be had; on a clock that is ours."""

import re
from collections.abc import Callable

import httpx
from playwright.sync_api import Page, Route, expect

from nebula_resource.model.health import HealthStatus
from nebula_resource.model.policy import OFF
from nebula_resource.quarantine import QuarantinePolicy, RecoveryBackoff
from tests.browser.visitor import Visitor
from tests.browser.world import PageWorld

Visit = Callable[..., Visitor]

SECOND = 1000
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def stop_clock(seen: Visitor) -> None:
    """From here on the page's time goes on when it is told to."""
    seen.page.clock.pause_at(seen.page.evaluate("Date.now()") / 1000 + 1)


def streams(world: PageWorld) -> int:
    """How many listen, as the service counts them."""
    return world.call(lambda: len(world.app.state.admin.hub))


def test_silence_is_told_and_given_up(world: PageWorld, visit: Visit) -> None:
    """20 seconds without a heartbeat and nothing is called well; 40, and the stream is opened anew, with nothing missed."""
    world.add("db", quarantine=OFF)
    world.find("db", HealthStatus.healthy())
    seen = visit(world.url, clock=True).is_live()
    expect(seen.verdict).to_have_text("All is well")
    stop_clock(seen)
    seen.page.clock.run_for(16 * SECOND)
    expect(seen.page.locator("#link-text")).to_have_text(re.compile(r"^live · last data 1[5-9] s ago$"))
    expect(seen.verdict).to_have_text("All is well")
    seen.page.clock.run_for(6 * SECOND)
    expect(seen.link).to_have_attribute("data-state", "stale")
    expect(seen.page.locator("#link-text")).to_have_text(re.compile(r"^silent · last data 2\d s ago$"))
    expect(seen.verdict).to_have_text("No word from the service")
    expect(seen.page.locator("#verdict-more")).to_contain_text(re.compile(r"2\d s ago"))
    expect(seen.page).to_have_title("? nebula")
    asked = len(seen.asked)
    seen.page.clock.run_for(12 * SECOND)
    expect(seen.link).to_have_attribute("data-state", "stale")
    assert len(seen.asked) == asked
    with seen.page.expect_request("**/events") as again:
        seen.page.clock.run_for(12 * SECOND)
    assert "last-event-id" in again.value.headers
    seen.is_live()
    seen.page.clock.run_for(100)
    expect(seen.verdict).to_have_text("All is well")
    assert "gap" not in (seen.page.locator("#events").text_content() or "")


def test_a_tab_that_nobody_looks_at_gives_its_place_back(world: PageWorld, visit: Visit) -> None:
    """After 20 seconds, not before; whoever comes back sees what happened meanwhile, each once and without a gap."""
    world.add("db", quarantine=OFF)
    world.find("db", HealthStatus.healthy())
    seen = visit(world.url, clock=True).is_live()
    stop_clock(seen)
    seen.page.evaluate(HIDE, True)
    seen.page.clock.run_for(10 * SECOND)
    seen.page.evaluate(HIDE, False)  # looked at again in time
    seen.page.clock.run_for(12 * SECOND)
    assert streams(world) == 1
    world.find("db", HealthStatus.degraded("slow at midnight"))
    slow = seen.page.locator("#events .event", has_text="slow at midnight")
    expect(slow).to_have_count(1)
    seen.page.evaluate(HIDE, True)
    with seen.page.expect_event("requestfailed", lambda request: request.url.endswith("/events")):
        seen.page.clock.run_for(21 * SECOND)
    asked = len(seen.asked)
    world.find("db", HealthStatus.unhealthy("gone in the night"))
    seen.page.clock.run_for(60 * SECOND)
    assert len(seen.asked) == asked  # it asks for nothing
    assert streams(world) == 0
    seen.page.evaluate(HIDE, False)
    seen.is_live()
    events = seen.page.locator("#events .event", has_text="gone in the night")
    expect(events).to_have_count(1)
    expect(slow).to_have_count(1)
    seen.page.clock.run_for(100)
    expect(seen.verdict).to_have_text("db is ill")
    assert "gap" not in (seen.page.locator("#events").text_content() or "")
    assert streams(world) == 1


def test_where_no_stream_comes_through_it_asks(world: PageWorld, visit: Visit) -> None:
    """Behind a proxy that lets none pass: every four seconds, each event once; half a minute later it tries a stream again."""
    world.add("db", quarantine=OFF)
    world.find("db", HealthStatus.healthy())
    shut = True
    tried: list[str] = []

    def close(page: Page) -> None:
        def answer(route: Route) -> None:
            if shut and route.request.headers["accept"] == "text/event-stream":
                tried.append(route.request.url)
                route.fulfill(status=502, body="no")
            else:
                route.continue_()

        page.route("**/events*", answer)

    seen = visit(world.url, clock=True, before=close, forgive=("502",))
    expect(seen.link).to_have_attribute("data-state", "lost")
    seen.page.clock.fast_forward(4 * SECOND)
    expect(seen.link).to_have_attribute("data-state", "polling")
    expect(seen.page.locator("#link-text")).to_contain_text("asking every 4 s")
    expect(seen.verdict).to_have_text("All is well")
    stop_clock(seen)
    world.find("db", HealthStatus.unhealthy("no answer"))
    with seen.page.expect_response(lambda answer: "last_event_id" in answer.url):
        seen.page.clock.run_for(5 * SECOND)
    told = seen.page.locator("#events .event", has_text="no answer")
    expect(told).to_have_count(1)
    seen.page.clock.run_for(100)
    expect(seen.verdict).to_have_text("db is ill")
    with seen.page.expect_response(lambda answer: "last_event_id" in answer.url):
        seen.page.clock.run_for(5 * SECOND)
    expect(told).to_have_count(1)
    assert len(tried) == 2
    shut = False
    seen.page.clock.fast_forward(31 * SECOND)
    seen.is_live()
    expect(told).to_have_count(1)


def test_a_countdown_ends_at_nothing(world: PageWorld, visit: Visit) -> None:
    """When the hour of the next probe has come and no word of it yet, it is due; a clock that is ahead counts into no minus."""
    world.add("vault", quarantine=QuarantinePolicy(backoff=RecoveryBackoff(base=600, max=900, jitter=0)))
    world.find("vault", HealthStatus.unhealthy("sealed"))
    seen = visit(world.url, clock=True).is_live()
    countdown = seen.card("vault").locator(".countdown")
    expect(countdown).to_have_text(re.compile(r"^next probe in 9 min \d+ s$"))
    stop_clock(seen)
    seen.page.clock.fast_forward(601 * SECOND)
    seen.page.clock.run_for(2 * SECOND)
    expect(countdown).to_have_text("next probe is due")


def test_an_answer_that_was_overtaken_puts_nothing_old_back(world: PageWorld, visit: Visit) -> None:
    """While one answer is awaited nothing else is asked; what was told meanwhile is asked for afterwards."""
    world.add("db", quarantine=OFF)
    world.find("db", HealthStatus.healthy())
    seen = visit(world.url, clock=True).is_live()
    asked: list[Route] = []

    def hold_the_first(route: Route) -> None:
        asked.append(route)
        if len(asked) > 1:
            route.continue_()

    seen.page.route("**/pools/db", hold_the_first)
    with seen.page.expect_request("**/pools/db"):
        world.find("db", HealthStatus.unhealthy("gone"))
    old = httpx.get(f"{world.url}/pools/db").json()
    world.find("db", HealthStatus.healthy())
    expect(seen.page.locator("#events")).to_contain_text("db unhealthy → healthy")
    stop_clock(seen)
    seen.page.clock.run_for(3 * SECOND)
    [first] = asked
    first.fulfill(json=old)
    with seen.page.expect_request("**/pools/db"):
        seen.page.clock.resume()
    expect(seen.row("db")).not_to_contain_text("unhealthy")
    assert len(asked) == 2


def test_a_browser_that_keeps_nothing_shows_the_page(world: PageWorld, visit: Visit) -> None:
    """Where site data is blocked it throws when asked for them; the colours are the system's, and can be changed."""
    world.add("db")
    refuse = """Object.defineProperty(window, "localStorage", {get() { throw new DOMException("no", "SecurityError"); }})"""
    seen = visit(world.url, before=lambda page: page.add_init_script(refuse)).is_live()
    button = seen.page.locator("#theme")
    expect(button).to_have_text("Colours: auto")
    button.click()
    expect(button).to_have_text("Colours: light")
