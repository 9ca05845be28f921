"""What is ill, on the page in a real browser: which cards there are, in which order, and what each says."""

import re
from collections.abc import Callable

import httpx
from playwright.sync_api import expect

from nebula_resource.model.health import HealthStatus
from nebula_resource.model.policy import OFF
from tests.browser.visitor import Visitor
from tests.browser.world import PageWorld

Visit = Callable[..., Visitor]


def test_what_is_ill_comes_first_with_why_since_when_and_what_it_touches(
    world: PageWorld, visit: Visit
) -> None:
    """The root is a card; who only suffers from it stands in that card, and is none."""
    world.add("vault")
    world.add("orders", "users", "stock", needs=["vault"])
    world.add("mail", quarantine=OFF)
    world.add("reports", quarantine=OFF)
    world.check_all()
    seen = visit(world.url).is_live()
    expect(seen.verdict).to_have_text("All is well")
    world.find("reports", HealthStatus.degraded("slow today"))
    expect(seen.verdict).to_have_text("reports is ill")
    world.find("mail", HealthStatus.unhealthy("connect timed out"))
    world.find("vault", HealthStatus.unhealthy("sealed: answered 503"))
    expect(seen.verdict).to_have_text("vault, mail and reports are ill")
    expect(seen.page.locator("#verdict")).to_have_attribute("data-tone", "unhealthy")
    cards = seen.page.locator(".card")
    expect(cards.locator(".card-name")).to_have_text(["vault", "mail", "reports"])
    expect(seen.card("vault")).to_contain_text("sealed: answered 503")
    expect(seen.card("vault")).to_contain_text("since ")
    expect(seen.card("vault")).to_contain_text("touches 3 pools: orders, users and stock")
    expect(seen.card("vault")).to_contain_text("next probe in 9 min")
    expect(seen.card("mail").get_by_role("button", name="Check mail")).to_be_visible()
    expect(seen.row("orders").locator(".because")).to_have_text("dependency 'vault' is down")  # said once
    expect(seen.row("vault")).to_contain_text("refused")
    expect(seen.page.locator("#graph [data-id=vault]")).to_have_attribute("data-kind", "quarantined")
    # Larger than everything else on the page.
    sizes = "nodes => nodes.map(node => parseFloat(getComputedStyle(node).fontSize))"
    assert seen.verdict.evaluate_all(sizes)[0] == max(seen.page.locator("body *").evaluate_all(sizes))
    assert seen.verdict.bounding_box()["y"] < cards.first.bounding_box()["y"]  # type: ignore[index]  # both are drawn


def test_the_worst_comes_first_and_what_was_done_on_purpose_last(world: PageWorld, visit: Visit) -> None:
    """What the service cannot be without, before others that are as ill and have been for longer; a person's own last."""
    world.add("mail", "wiki", quarantine=OFF)
    world.add("ledger", quarantine=OFF, required=True)
    world.add("vault")
    world.check_all()
    order = {"resource_id": "vault", "reason": "an upgrade"}
    assert httpx.post(f"{world.url}/quarantine", json=order).status_code == 201
    world.find("wiki", HealthStatus.degraded("slow today"))
    world.find("mail", HealthStatus.unhealthy("no answer"))
    world.find("ledger", HealthStatus.unhealthy("no answer"))
    seen = visit(world.url).is_live()
    cards = seen.page.locator(".card .card-name")
    expect(cards).to_have_text(["ledger", "mail", "wiki", "vault"])
    expect(seen.card("ledger")).to_contain_text("required")
    expect(seen.card("vault")).to_contain_text("by local")


def test_pools_of_one_name_are_told_by_whose_they_are(world: PageWorld, visit: Visit) -> None:
    """ "db and db" would send nobody to the right tenant."""
    world.add("db", tenant="acme")
    world.add("db", tenant="globex")
    for pool in httpx.get(f"{world.url}/pools").json()["items"]:
        order = {"resource_id": pool["id"], "reason": "an upgrade"}
        assert httpx.post(f"{world.url}/quarantine", json=order).status_code == 201
    seen = visit(world.url).is_live()
    expect(seen.verdict).to_have_text(
        re.compile("^db of (acme and db of globex|globex and db of acme) are ill$")
    )
    more = re.compile("^Callers of db of (acme and db of globex|globex and db of acme) are refused.$")
    expect(seen.page.locator("#verdict-more")).to_have_text(more)


def test_somebody_who_waits_too_long_is_an_ailment(world: PageWorld, visit: Visit) -> None:
    """A full pool whose callers wait is shown as ill although its health is good, and offers to be resized."""
    world.add("db", pool={"min_size": 0, "max_size": 1, "acquire_timeout": 120.0})
    world.find("db", HealthStatus.healthy())
    world.hold("db", 2)
    seen = visit(world.url, clock=True).is_live()
    expect(seen.row("db").locator("td.warn")).to_have_text("1")
    expect(seen.verdict).to_have_text("All is well")
    seen.page.clock.fast_forward(6000)
    expect(seen.card("db")).to_contain_text("All 1 are in use, and callers wait.")
    expect(seen.row("db")).to_contain_text("1 of 1")
    seen.page.get_by_role("button", name="Resize db").click()
    dialog = seen.dialog("Resize db")
    dialog.get_by_label("Most instances").fill("2")
    dialog.get_by_label("Reason").fill("they wait")
    dialog.get_by_role("button", name="Resize").click()
    expect(seen.card("db")).to_have_count(0)
    expect(seen.row("db")).to_contain_text("2 of 2")


def test_what_a_person_said_is_the_reason(world: PageWorld, visit: Visit) -> None:
    """Who isolated what was ill knows why: what was found before would only stand in the way of it."""
    world.add("vault", quarantine=OFF)
    world.find("vault", HealthStatus.unhealthy("sealed: answered 503"))
    seen = visit(world.url).is_live()
    expect(seen.card("vault").locator(".card-why")).to_have_text("sealed: answered 503")
    seen.row("vault").get_by_role("button").click()
    seen.page.get_by_role("button", name="Quarantine…").click()
    dialog = seen.dialog("Quarantine vault")
    dialog.get_by_label("Reason").fill("its disk is being replaced")
    dialog.get_by_label("Ends by itself after").fill("3600")
    dialog.get_by_role("button", name="Quarantine").click()
    expect(seen.card("vault").locator(".card-why")).to_have_text("its disk is being replaced")
    expect(seen.card("vault")).to_contain_text("ends in 59 min")
