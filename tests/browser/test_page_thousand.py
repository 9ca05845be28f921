"""A thousand pools: the page comes quickly, stays quick, and shows of them what matters."""

from collections.abc import Callable, Generator

import pytest
from playwright.sync_api import expect

from nebula_resource.model.health import HealthStatus
from tests.browser.visitor import Visitor
from tests.browser.world import PageWorld

Visit = Callable[..., Visitor]

FIRST_ROWS = 5.0
"""Seconds to the first rows, the opening of the page included: a tenth of it on an idle machine."""
FRAME = 250.0
"""Milliseconds that the longest task may take while half of the pools change each second: 20 on an idle machine."""
WATCH = """() => {
    window.tasks = [];
    new PerformanceObserver(list => tasks.push(...list.getEntries().map(each => each.duration)))
        .observe({type: 'longtask'});
}"""


@pytest.fixture(scope="module")
def world() -> Generator[PageWorld]:
    """20 vaults, 60 databases that need one each, 400 services that need two of those, and 520 that need nobody."""
    with PageWorld() as running:
        running.add(*(f"vault-{n:02}" for n in range(20)))
        for n in range(60):
            running.add(f"db-{n:02}", needs=[f"vault-{n % 20:02}"])
        for n in range(400):
            running.add(f"api-{n:03}", needs=sorted({f"db-{n % 60:02}", f"db-{(7 * n + 3) % 60:02}"}))
        running.add(*(f"job-{n:03}" for n in range(520)))
        running.check_all()
        yield running


@pytest.mark.alone
def test_it_comes_and_stays_quick(world: PageWorld, visit: Visit) -> None:
    """First rows in a bound; with half of the pools changing each second no task blocks the page."""
    seen = visit(world.url)
    expect(seen.row("api-000")).to_be_visible()
    took = seen.page.evaluate("performance.now()") / 1000
    assert took < FIRST_ROWS, f"first rows after {took:.2f} s"
    expect(seen.verdict).to_have_text("All is well")
    expect(seen.page.locator("#pools-count")).to_have_text("1000 pools")
    seen.page.locator("#pools-all").click()
    expect(seen.page.locator("tr.pool")).to_have_count(1000)
    acquired = seen.row("api-000").locator("td").nth(7)
    seen.page.evaluate("scrollTo(0, 0)")  # rows out of sight stand still
    seen.page.evaluate(WATCH)
    for number in range(3):
        world.use(*list(world.pieces)[:500])
        expect(acquired).to_have_text(str(number + 1))
    seen.page.mouse.move(640, 600)
    seen.page.mouse.wheel(0, 20_000)
    expect(seen.row("api-000")).not_to_be_in_viewport()
    tasks = seen.page.evaluate("tasks")
    assert max(tasks, default=0) < FRAME, f"tasks of {sorted(tasks)[-5:]} ms"


def test_one_is_found_among_them(world: PageWorld, visit: Visit) -> None:
    """By words of its name; its numbers move while the filter stands; and nothing else is drawn."""
    seen = visit(world.url).is_live()
    expect(seen.page.locator("tr.pool")).to_have_count(100)
    seen.page.locator("#pool-filter").fill("job 39 GLOBAL")
    expect(seen.page.locator("tr.pool")).to_have_count(15)
    expect(seen.page.locator("#pools-count")).to_have_text("15 of 1000")
    before = seen.row("job-390").locator("td").nth(7).text_content()
    world.use("job-390")
    expect(seen.row("job-390").locator("td").nth(7)).not_to_have_text(before or "")


@pytest.mark.parametrize("width", [480, 1280])
def test_what_stands_below_a_hundred_rows_is_one_press_away(
    world: PageWorld, visit: Visit, width: int
) -> None:
    """From the top, which is always there: its heading is in sight, below what the top covers."""
    seen = visit(world.url, width=width).is_live()
    expect(seen.page.locator("tr.pool")).to_have_count(100)
    top = seen.page.locator(".top")
    for place, heading in (("Events", "Events"), ("Dependencies", "Dependencies"), ("Pools", "Pools")):
        seen.page.get_by_role("navigation").get_by_role("link", name=place).click()
        title = seen.page.get_by_role("heading", name=heading, exact=True)
        expect(title).to_be_in_viewport()
        covered = "top => top.getBoundingClientRect().bottom"
        assert title.bounding_box()["y"] >= top.evaluate(covered)  # type: ignore[index]  # it is drawn


def test_of_a_large_graph_the_ill_part_is_drawn(world: PageWorld, visit: Visit) -> None:
    """The root and whom it pulls down, with how many stand behind and are left out; or what surrounds a chosen one."""
    seen = visit(world.url).is_live()
    note = seen.page.locator("#graph-note")
    nodes = seen.page.locator("#graph [data-id]")
    expect(note).to_contain_text("some of each layer")
    expect(note).to_contain_text("of 480 left out, none of them ill.")
    world.find("vault-03", HealthStatus.unhealthy("sealed"))
    try:
        expect(seen.card("vault-03")).to_contain_text("touches 43")
        expect(seen.page.locator('#graph [data-id="vault-03"]')).to_have_attribute("data-kind", "quarantined")
        expect(note).to_contain_text("what is ill and its neighbours")
        drawn = nodes.count()
        expect(note).to_contain_text(f"{drawn} resources drawn")
        expect(note).to_contain_text(f"{480 - drawn} of 480 left out")
        expect(seen.page.locator("#graph .more").first).to_contain_text("more")
        seen.page.locator("#graph-focus").fill("db-07")
        expect(note).to_contain_text("what surrounds db-07")
        expect(seen.page.locator('#graph [data-id="vault-07"]')).to_have_count(1)
        # From a node to its pool, by keyboard.
        seen.page.locator('#graph [data-id="vault-07"]').focus()
        seen.page.keyboard.press("Enter")
        expect(seen.page.locator("tr.details")).to_be_visible()
        expect(seen.row("vault-07")).to_be_in_viewport()
    finally:
        world.pieces["vault-03"].found = HealthStatus.healthy()
        world.do(world.manager.release("vault-03", by="a test"))
