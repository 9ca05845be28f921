"""The page under hands: what a dialog does with a second press, where the focus goes, and which keys do what."""

from collections.abc import Callable

import httpx
from playwright.sync_api import Locator, Route, expect

from nebula_resource.model.health import HealthStatus
from nebula_resource.model.policy import OFF
from tests.browser.visitor import Visitor
from tests.browser.world import PageWorld

Visit = Callable[..., Visitor]


def opened(seen: Visitor, id: str) -> Locator:
    """The buttons of a pool, opened."""
    seen.row(id).get_by_role("button").click()
    return seen.page.locator("tr.details .actions")


def test_a_second_press_sends_nothing(world: PageWorld, visit: Visit) -> None:
    """While the answer is awaited the button is dead, by pointer and by Enter; what is done is done once."""
    world.add("db")
    seen = visit(world.url).is_live()
    sent: list[Route] = []

    def hold(route: Route) -> None:
        sent.append(route)

    seen.page.route("**/pools/db/*", hold)
    opened(seen, "db").get_by_role("button", name="Suspend…").click()
    dialog = seen.dialog("Suspend db")
    reason = dialog.get_by_label("Reason")
    expect(reason).to_be_focused()
    reason.fill("  a quiet hour ")
    reason.press("Enter")
    expect(dialog.get_by_role("button", name="Suspend")).to_be_disabled()
    reason.press("Enter")
    dialog.get_by_role("button", name="Suspend").dispatch_event("click")
    assert [(each.request.method, each.request.post_data_json) for each in sent] == [
        ("POST", {"reason": "a quiet hour"})
    ]
    sent[0].continue_()
    expect(dialog).to_have_count(0)
    expect(seen.row("db")).to_contain_text("held back")
    assert len(sent) == 1
    audit = httpx.get(f"{world.url}/audit").json()["items"]
    assert [(each["action"], each["reason"]) for each in audit] == [("pool.suspend", "a quiet hour")]


def test_every_verb_of_a_pool_is_one_dialog(world: PageWorld, visit: Visit) -> None:
    """Suspended, resumed, recycled and drained from the keyboard: the focus stays where it was, for the next press."""
    world.add("db")
    seen = visit(world.url).is_live()
    buttons = opened(seen, "db")
    row = seen.row("db")
    for verb, callers, then in (
        ("Suspend", "held back", "Resume…"),
        ("Resume", "served", "Suspend…"),
        ("Recycle", "served", "Recycle…"),
        ("Drain", "refused", "Resume…"),
    ):
        buttons.get_by_role("button", name=f"{verb}…").press("Enter")
        dialog = seen.dialog(f"{verb} db")
        dialog.get_by_label("Reason").fill("the night")
        dialog.get_by_label("Reason").press("Enter")
        expect(dialog).to_have_count(0)
        expect(row.locator("td").nth(2)).to_have_text(callers)
        expect(buttons.get_by_role("button", name=then)).to_be_focused()
    expect(buttons.get_by_role("button", name="Drain…")).to_be_hidden()
    assert httpx.get(f"{world.url}/pools/db").json()["generation"] == 1


def test_what_is_in_by_itself_may_be_left_alone_by_hand(world: PageWorld, visit: Visit) -> None:
    """Its probes hurt a server that is being repaired: a person takes it over, for as long as it takes, and lets it out."""
    world.add("vault")
    world.find("vault", HealthStatus.unhealthy("sealed"))
    seen = visit(world.url).is_live()
    card = seen.card("vault")
    expect(card).to_contain_text("next probe in")
    buttons = opened(seen, "vault")
    isolate, release = (buttons.get_by_role("button", name=name) for name in ("Quarantine…", "Release…"))
    isolate.press("Enter")
    dialog = seen.dialog("Quarantine vault")
    expect(dialog).to_contain_text("no more probes")
    dialog.get_by_label("Ends by itself after").fill("3600")
    dialog.get_by_label("Reason").fill("its disk is being replaced")
    dialog.get_by_label("Reason").press("Enter")
    expect(card).to_contain_text("its disk is being replaced")
    expect(card).to_contain_text("ends in 59 min")
    expect(isolate).to_be_hidden()
    expect(release).to_be_focused()
    release.press("Enter")
    dialog = seen.dialog("Release vault")
    dialog.get_by_label("Force").check()
    dialog.get_by_label("Reason").press("Enter")
    expect(seen.row("vault")).not_to_contain_text("quarantined")
    expect(release).to_be_hidden()
    expect(isolate).to_be_focused()


def test_who_was_overtaken_resizes_nothing(world: PageWorld, visit: Visit) -> None:
    """Somebody else moved the bounds while the dialog stood open: it says so, and keeps what was typed."""
    world.add("db")
    seen = visit(world.url, forgive=("412",)).is_live()
    opened(seen, "db").get_by_role("button", name="Resize…").click()
    dialog = seen.dialog("Resize db")
    most = dialog.get_by_label("Most instances")
    expect(most).to_have_value("4")
    moved = {"max": 9, "reason": "another operator"}
    httpx.post(f"{world.url}/pools/db/resize", json=moved, headers={"If-Match": "*"}).raise_for_status()
    most.fill("5")
    dialog.get_by_label("Reason").fill("they wait")
    dialog.get_by_role("button", name="Resize").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    expect(most).to_have_value("5")
    expect(dialog.get_by_role("button", name="Resize")).to_be_enabled()
    assert httpx.get(f"{world.url}/pools/db").json()["size"]["max"] == 9


def test_escape_leaves_everything_as_it_was(world: PageWorld, visit: Visit) -> None:
    """Nothing is sent, and the focus is where it came from; what was released leaves no focus behind in nowhere."""
    world.add("vault", "mail", quarantine=OFF)
    for name in ("vault", "mail"):
        order = {"resource_id": name, "reason": "an upgrade"}
        httpx.post(f"{world.url}/quarantine", json=order).raise_for_status()
    seen = visit(world.url).is_live()
    keyboard = seen.page.keyboard
    release = seen.page.get_by_role("button", name="Release vault")
    release.press("Enter")
    expect(seen.dialog("Release vault").get_by_label("Reason")).to_be_focused()
    keyboard.type("never mind")
    keyboard.press("Escape")
    expect(seen.dialog("Release vault")).to_have_count(0)
    expect(release).to_be_focused()
    assert len(httpx.get(f"{world.url}/quarantine").json()["items"]) == 2
    # What the focus stood on goes away with its card.
    release.press("Enter")
    dialog = seen.dialog("Release vault")
    dialog.get_by_label("Force").check()
    dialog.get_by_label("Reason").press("Enter")
    expect(seen.card("vault")).to_have_count(0)
    expect(dialog).to_have_count(0)
    expect(seen.page.locator("#verdict")).to_be_focused()
    # And while one is asked: somebody else was quicker.
    seen.page.get_by_role("button", name="Release mail").press("Enter")
    expect(seen.dialog("Release mail")).to_be_visible()
    httpx.post(f"{world.url}/quarantine/mail/release", json={"mode": "force"}).raise_for_status()
    expect(seen.card("mail")).to_have_count(0)
    keyboard.press("Escape")
    expect(seen.page.locator("#verdict")).to_be_focused()


def test_a_check_is_told_in_its_dialog(world: PageWorld, visit: Visit) -> None:
    """What it found and how long it took; Enter closes it."""
    world.add("mail", "news", quarantine=OFF)
    for name in ("mail", "news"):
        world.find(name, HealthStatus.unhealthy("no answer"))
    seen = visit(world.url).is_live()
    seen.page.get_by_role("button", name="Check mail").click()
    dialog = seen.dialog("Check of mail")
    expect(dialog).to_contain_text("unhealthy: no answer")
    expect(dialog).to_contain_text("ms")
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    seen.page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    world.pieces["news"].found = HealthStatus.healthy()
    seen.page.get_by_role("button", name="Check news").click()
    expect(seen.dialog("Check of news").locator("p").first).to_have_text("healthy")
    expect(seen.card("news")).to_have_count(0)


def test_keys_lead_through_lists(world: PageWorld, visit: Visit) -> None:
    """Up and down from pool to pool, left and right from node to node, never past an end; letters are letters where one types."""
    world.add("a-vault")
    world.add("b-orders", "c-stock", needs=["a-vault"])
    world.check_all()
    seen = visit(world.url).is_live()
    keyboard = seen.page.keyboard
    names = seen.page.locator(".pool-name")
    expect(names).to_have_count(3)
    names.first.focus()
    for key, place in (
        ("ArrowDown", 1),
        ("ArrowDown", 2),
        ("ArrowDown", 2),
        ("ArrowUp", 1),
        ("ArrowUp", 0),
        ("ArrowUp", 0),
    ):
        keyboard.press(key)
        expect(names.nth(place)).to_be_focused()
    nodes = seen.page.locator("#graph [data-id]")
    expect(nodes).to_have_count(3)
    nodes.first.focus()
    for key, place in (
        ("ArrowRight", 1),
        ("ArrowDown", 2),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("ArrowUp", 0),
    ):
        keyboard.press(key)
        expect(nodes.nth(place)).to_be_focused()
    # What is drawn anew under the focus keeps it.
    keyboard.press("ArrowRight")
    focused = seen.page.evaluate("document.activeElement.dataset.id")
    world.find("a-vault", HealthStatus.degraded("slow"))
    expect(seen.page.locator("#graph [data-id=a-vault]")).to_have_attribute("data-kind", "degraded")
    assert seen.page.evaluate("document.activeElement.dataset.id") == focused
    keyboard.press(" ")
    expect(seen.page.locator("tr.details")).to_be_visible()
    expect(seen.row(focused).locator(".pool-name")).to_be_focused()

    keyboard.press("/")
    keyboard.type("pt/?")
    expect(seen.page.locator("#pool-filter")).to_have_value("pt/?")
    expect(seen.page.locator("#pools-empty")).to_have_text("No pool fits.")
    expect(seen.page.locator("#events-pause")).to_have_attribute("aria-pressed", "false")
    expect(seen.page.get_by_role("dialog")).to_have_count(0)


def test_colours_are_chosen_and_kept(world: PageWorld, visit: Visit) -> None:
    """The system's, light, dark and round again; chosen ones stand when the page comes back."""
    seen = visit(world.url, scheme="dark").is_live()
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = seen.page.evaluate(ground)
    button = seen.page.locator("#theme")
    expect(button).to_have_text("Colours: auto")
    seen.page.keyboard.press("t")
    expect(button).to_have_text("Colours: light")
    assert seen.page.evaluate(ground) != dark
    seen.page.reload()
    seen.is_live()
    expect(button).to_have_text("Colours: light")
    assert seen.page.evaluate(ground) != dark
    for said in ("dark", "auto"):
        seen.page.keyboard.press("t")
        expect(button).to_have_text(f"Colours: {said}")
        assert seen.page.evaluate(ground) == dark


def test_single_letters_can_be_turned_off(world: PageWorld, visit: Visit) -> None:
    """Who speaks to a computer says them without meaning the page (WCAG 2.1.4); the list stays behind its button."""
    seen = visit(world.url, width=360).is_live()
    keyboard = seen.page.keyboard

    def set_letters(on: bool) -> None:
        seen.page.locator("#help-open").click()
        switch = seen.dialog("Keys").get_by_role("checkbox", name="Single letters")
        expect(switch).to_be_checked(checked=not on)
        switch.set_checked(on)
        keyboard.press("Escape")
        expect(seen.dialog("Keys")).to_have_count(0)

    colours = seen.page.locator("#theme")
    set_letters(False)
    for _ in range(2):
        keyboard.press("t")
        keyboard.press("?")
        expect(colours).to_have_text("Colours: auto")
        expect(seen.dialog("Keys")).to_have_count(0)
        seen.page.reload()
        seen.is_live()
    set_letters(True)
    keyboard.press("t")
    expect(colours).to_have_text("Colours: light")
