"""The page in a real browser: what somebody who is woken at night sees, and presses."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal

import axe_playwright_python
import httpx
from playwright.sync_api import expect

from nebula_resource.model.health import HealthStatus
from nebula_resource.model.policy import OFF
from nebula_resource.quarantine import QuarantinePolicy, RecoveryBackoff
from tests.browser.visitor import Visitor
from tests.browser.world import PageWorld

Visit = Callable[..., Visitor]

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")


def quarantined(world: PageWorld) -> list[str]:
    """Who is isolated, as the API says."""
    return [each["id"] for each in httpx.get(f"{world.url}/quarantine").json()["items"]]


def test_all_is_well_is_said_in_one_glance(world: PageWorld, visit: Visit) -> None:
    """One sentence, and in the title of the tab; who was never checked is not called healthy."""
    world.add("db", "cache")
    world.find("db", HealthStatus.healthy())
    seen = visit(world.url).is_live()
    expect(seen.verdict).to_have_text("All is well")
    expect(seen.page).to_have_title("✓ All is well · nebula")
    expect(seen.page.locator("#verdict-more")).to_contain_text("2 pools serve")
    expect(seen.page.locator("#verdict-more")).to_contain_text("1 not checked yet")
    expect(seen.page.locator("#ill-section")).to_be_hidden()
    # Without keys that is said.
    expect(seen.page.locator("#local-banner")).to_contain_text("No credentials are configured")
    expect(seen.page.locator("#local-banner")).to_be_visible()


def test_an_operator_isolates_and_releases_by_hand(world: PageWorld, visit: Visit) -> None:
    """Isolated with a reason; a probe that fails is told and lets nothing out; force does: the API says the same."""
    world.add("payments")
    world.find("payments", HealthStatus.healthy())
    seen = visit(world.url, forgive=("409",)).is_live()
    seen.row("payments").get_by_role("button").click()
    seen.page.get_by_role("button", name="Quarantine…").click()
    dialog = seen.dialog("Quarantine payments")
    dialog.get_by_label("Reason").fill("an upgrade")
    dialog.get_by_role("button", name="Quarantine").click()
    expect(dialog).to_have_count(0)
    expect(seen.card("payments")).to_contain_text("an upgrade")
    expect(seen.card("payments")).to_contain_text("until somebody releases it")
    assert quarantined(world) == ["payments"]

    world.pieces["payments"].found = HealthStatus.unhealthy("still down")
    seen.page.get_by_role("button", name="Release payments").click()
    dialog = seen.dialog("Release payments")
    dialog.get_by_label("Reason").fill("it should be up")
    dialog.get_by_role("button", name="Release").click()
    expect(dialog.get_by_role("alert")).to_contain_text("still down")
    assert quarantined(world) == ["payments"]
    dialog.get_by_label("Force").check()
    assert dialog.get_by_label("Reason").input_value() == "it should be up"
    dialog.get_by_role("button", name="Release").click()
    expect(seen.card("payments")).to_have_count(0)
    assert quarantined(world) == []
    audit = httpx.get(f"{world.url}/audit").json()["items"]
    assert [each["reason"] for each in audit if each["action"] == "quarantine.release.force"] == [
        "it should be up"
    ]

    # It is not trusted yet: in the table, in the opened pool and at the top, until uses have shown that it is well.
    more = seen.page.locator("#verdict-more")
    expect(more).to_contain_text("1 lets callers in a few at a time after a release")
    for place in (seen.row("payments"), seen.page.locator("tr.details")):
        expect(place).to_contain_text("let in 1 at a time")
    world.use(*["payments"] * 8)  # a step is as many uses as it lets in: one, a quarter, a half, all
    for place in (seen.row("payments"), seen.page.locator("tr.details")):
        expect(place).to_contain_text("served")
    expect(more).not_to_contain_text("callers in")


def test_a_parked_resource_says_so_and_counts_down(world: PageWorld, visit: Visit) -> None:
    """All attempts failed: the next one is minutes away, and the seconds run."""
    quick = QuarantinePolicy(backoff=RecoveryBackoff(base=0.01, max=0.01, jitter=0), max_attempts=2)
    world.add("reports", quarantine=quick)
    world.find("reports", HealthStatus.unhealthy("starting up"))
    world.add("mail", quarantine=replace(quick, max_attempts=1, park_interval=1.0))
    world.find("mail", HealthStatus.unhealthy("starting up"))
    seen = visit(world.url).is_live()
    card = seen.card("reports")
    expect(card).to_contain_text("2 of 2 attempts failed")
    expect(card).to_contain_text("parked, next probe in 4 min")
    said = card.locator(".countdown").text_content()
    expect(card.locator(".countdown")).not_to_have_text(said or "")
    # Probed on, it goes past its plan: "3 of 1" would make no sense.
    expect(seen.card("mail")).to_contain_text(re.compile("touches nothing else[2-9] attempts failed"))


def test_events_come_as_they_happen_and_stand_still_when_paused(world: PageWorld, visit: Visit) -> None:
    """Paused, they are counted and held; filters narrow by text and by severity."""
    world.add("db", "cache", quarantine=OFF)
    seen = visit(world.url).is_live()
    events = seen.page.locator("#events .event")
    world.find("db", HealthStatus.unhealthy("gone"))
    expect(events.first).to_contain_text("health.changed")
    expect(events.first).to_contain_text("db healthy → unhealthy · because check, gone")
    seen.page.keyboard.press("p")
    shown = events.count()
    world.find("cache", HealthStatus.unhealthy("gone too"))
    expect(seen.page.locator("#events-held")).to_have_text(re.compile(r"^paused · [1-9]\d* events? held$"))
    expect(seen.row("cache")).to_contain_text("unhealthy")  # the rest of the page goes on
    assert events.count() == shown
    seen.page.keyboard.press("p")
    expect(events.first).to_contain_text("cache")
    seen.page.locator("#event-filter").fill("cache healthy →")
    expect(events).to_have_count(1)
    seen.page.locator("#event-filter").fill("")
    seen.page.locator("#event-severity").select_option("critical")
    expect(events).to_have_count(2)


def test_a_pool_opens_with_its_history_and_its_neighbours(world: PageWorld, visit: Visit) -> None:
    """By keyboard alone: filter, down, open; the strip has every change, and the words have causes."""
    world.add("vault")
    world.add("orders", needs=["vault"])
    for status in (HealthStatus.healthy(), HealthStatus.degraded("slow", 0.2), HealthStatus.healthy()):
        world.find("orders", status)
    seen = visit(world.url).is_live()
    expect(seen.row("vault")).to_be_visible()
    keyboard = seen.page.keyboard
    keyboard.press("/")
    keyboard.type("orders")
    expect(seen.row("vault")).to_have_count(0)
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    opened = seen.page.locator("tr.details")
    expect(opened.locator(".strip i")).to_have_count(3)
    expect(opened.locator(".changes li").first).to_contain_text("healthy by check")
    expect(opened).to_contain_text("Needsvault")
    world.find("orders", HealthStatus.degraded("slow again", 0.2))  # it goes on while one looks
    expect(opened.locator(".strip i")).to_have_count(4)
    expect(opened.locator(".changes li").first).to_contain_text("degraded by check")
    keyboard.press("?")
    expect(seen.dialog("Keys")).to_be_visible()
    keyboard.press("Escape")
    expect(seen.dialog("Keys")).to_have_count(0)
    keyboard.press("Enter")
    expect(opened).to_have_count(0)


def test_what_has_the_focus_is_marked(world: PageWorld, visit: Visit) -> None:
    """From the first thing to the last by Tab, and back: each in sight, below nothing, and with the one colour that says where one is."""
    world.add("vault")
    world.add("orders", needs=["vault"])
    world.find("vault", HealthStatus.unhealthy("sealed"))
    seen = visit(world.url).is_live()
    expect(seen.page.locator("#graph [data-id]")).to_have_count(2)
    marked = tab_through(seen, "Tab")
    assert {"Skip to the pools", "Release vault", "vault: quarantined"} <= set(marked), marked
    assert len(marked) > 15
    # Enlarged twice, and backwards, where what stays at the top would lie over it.
    seen.page.set_viewport_size({"width": 640, "height": 600})
    assert "Release vault" in tab_through(seen, "Shift+Tab")


def tab_through(seen: Visitor, key: str) -> list[str]:
    """What has the focus in turn, each looked at, until it leaves the page."""
    marked: list[str] = []
    for _ in range(60):
        seen.page.keyboard.press(key)
        found = seen.page.evaluate(FOCUSED)
        if found is None:
            break
        name, ring, is_seen = found
        assert ring == "rgb(67, 56, 202)", found
        assert is_seen, found
        marked.append(name)
    return marked


FOCUSED = """() => {
    const one = document.activeElement, box = one.getBoundingClientRect();
    if (one === document.body) return null;
    const style = getComputedStyle(one), rect = one.querySelector("rect");
    const ring = style.outlineStyle === "none" ? (rect ? getComputedStyle(rect).stroke : "none") : style.outlineColor;
    const there = document.elementFromPoint(box.x + box.width / 2, (Math.max(box.top, 0) + Math.min(box.bottom, innerHeight)) / 2);
    return [(one.getAttribute("aria-label") ?? one.textContent).trim(), ring, one.contains(there)];
}"""


def test_everybody_can_use_it(world: PageWorld, visit: Visit) -> None:
    """axe finds nothing serious, light and dark, wide and narrow, with things ill, a pool and a dialog open."""
    world.add("vault")
    world.add("orders", needs=["vault"])
    world.add("mail", "cache", quarantine=OFF)
    world.find("cache", HealthStatus.healthy())
    world.find("mail", HealthStatus.degraded("slow"))
    world.find("vault", HealthStatus.unhealthy("sealed"))
    # The policy would keep axe out; that the page keeps to it is what every other test shows.
    seen = visit(world.url, bypass_csp=True).is_live()
    expect(seen.card("mail")).to_be_visible()
    expect(seen.page.locator("#graph [data-id]")).to_have_count(2)
    seen.row("vault").get_by_role("button").click()
    expect(seen.page.locator("tr.details .strip")).to_be_visible()
    seen.page.evaluate(AXE.read_text())
    found = _serious_things_in_each_look(seen)
    seen.page.get_by_role("button", name="Release vault").click()
    expect(seen.dialog("Release vault")).to_be_visible()
    assert found + _serious_things_in_each_look(seen) == []


def _serious_things_in_each_look(seen: Visitor) -> list[tuple[str, int, str, list[str]]]:
    """What axe finds, with the colours and the width in which it does; and nothing is cut off at the side."""
    found: list[tuple[str, int, str, list[str]]] = []
    for scheme, width in product(SCHEMES, (1280, 390)):
        seen.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        seen.page.set_viewport_size({"width": width, "height": 900})
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        found += [
            (scheme, width, each["id"], [node["html"] for node in each["nodes"]])
            for each in seen.page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
            if each["impact"] in {"serious", "critical"}
        ]
    return found
