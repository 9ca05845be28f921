"""The lists of the page: orders, narrowing, and how much of a long night is kept."""

import asyncio
from collections.abc import Callable

from playwright.sync_api import expect

from nebula_resource.errors import PoolExhausted
from nebula_resource.model.health import HealthStatus
from nebula_resource.model.policy import OFF
from tests.browser.visitor import Visitor
from tests.browser.world import PageWorld

Visit = Callable[..., Visitor]


def test_pools_are_ordered_and_narrowed(world: PageWorld, visit: Visit) -> None:
    """Ill first, busiest first, by name; by health, from the counts at the top too; the focus goes along."""
    world.add("d-quiet", "b-busy", "a-full", "e-sick", "c-slow", quarantine=OFF)
    world.check_all()
    world.add("f-new")
    world.find("e-sick", HealthStatus.unhealthy("gone"))
    world.find("c-slow", HealthStatus.degraded("slow"))
    world.hold("b-busy", 2)
    world.hold("a-full", 5)
    seen = visit(world.url).is_live()
    names = seen.page.locator(".pool-name")
    expect(seen.row("a-full").locator(".warn")).to_have_text("1")
    orders = {
        "ill": ["e-sick", "c-slow", "f-new", "a-full", "b-busy", "d-quiet"],
        "busy": ["a-full", "b-busy", "c-slow", "d-quiet", "e-sick", "f-new"],
        "name": ["a-full", "b-busy", "c-slow", "d-quiet", "e-sick", "f-new"],
    }
    expect(names).to_have_text(orders["ill"])
    for order in ("name", "ill", "busy"):
        seen.page.locator("#pool-sort").select_option(order)
        expect(names).to_have_text(orders[order])
    full = seen.row("a-full").locator(".meter")
    expect(full).to_have_attribute("data-full", "true")
    expect(full).to_have_attribute("aria-valuetext", "4 of 4")
    expect(seen.row("b-busy").locator(".meter")).to_have_attribute("data-full", "false")
    expect(seen.page.locator("#tiles")).to_contain_text("6 / 24")

    seen.page.locator("#pool-health").select_option("degraded")
    expect(names).to_have_text(["c-slow"])
    expect(seen.page.locator("#pools-count")).to_have_text("1 of 6")
    seen.page.get_by_role("button", name="unhealthy").click()
    expect(names).to_have_text(["e-sick"])
    expect(seen.page.locator("#pools")).to_be_focused()
    # What is asked for by name is shown, whatever the table was narrowed to.
    seen.card("c-slow").locator(".card-name").click()
    expect(seen.row("c-slow").locator(".pool-name")).to_be_focused()
    expect(seen.page.locator("#pool-health")).to_have_value("")


def test_what_failed_while_one_looks_is_red(world: PageWorld, visit: Visit) -> None:
    """What failed before is only counted."""
    world.add("db", pool={"min_size": 0, "max_size": 1})
    world.hold("db", 1)

    async def fail() -> None:
        try:
            await world.manager.acquire("db", timeout=0.01)
        except (TimeoutError, PoolExhausted):
            return
        raise AssertionError("it was let in")

    for _ in range(2):
        world.do(fail())
    seen = visit(world.url).is_live()
    failed = seen.row("db").locator("td").nth(8)
    expect(failed).to_have_text("2")
    assert "bad" not in (failed.get_attribute("class") or "")
    world.do(fail())
    expect(failed).to_have_text("3 (+1)")
    assert "bad" in (failed.get_attribute("class") or "")
    seen.row("db").get_by_role("button").click()
    expect(seen.page.locator("tr.details")).to_contain_text("3 timed out")


def test_of_a_long_night_the_latest_events_are_kept(world: PageWorld, visit: Visit) -> None:
    """Two hundred, whether they came before or while one looks; the oldest give way."""
    world.add("db", quarantine=OFF)

    async def flap(first: int, last: int) -> None:
        for number in range(first, last):
            found = HealthStatus.degraded if number % 2 else HealthStatus.unhealthy
            world.pieces["db"].found = found(f"look {number};")
            await world.manager.check("db")
            await asyncio.sleep(0)

    world.do(flap(0, 240))
    seen = visit(world.url).is_live()
    events = seen.page.locator("#events .event")
    expect(events.first).to_contain_text("look 239;")
    expect(events).to_have_count(200)
    world.do(flap(240, 250))
    expect(events.first).to_contain_text("look 249;")
    expect(events).to_have_count(200)
    seen.page.locator("#event-filter").fill("db")
    expect(events).to_have_count(200)

    # Paused, they stand still, also when they are narrowed and widened again.
    seen.page.locator("#events-pause").click()
    world.do(flap(250, 253))
    expect(seen.page.locator("#events-held")).to_contain_text("paused · ")
    expect(seen.row("db")).to_contain_text("look 252;")
    seen.page.locator("#event-filter").fill("look 251;")
    expect(seen.page.locator("#events-empty")).to_be_visible()
    seen.page.locator("#event-filter").fill("")
    expect(events.first).to_contain_text("look 249;")
    seen.page.locator("#events-pause").click()
    expect(events.first).to_contain_text("look 252;")
    expect(seen.page.locator("#events-held")).to_have_text("")
