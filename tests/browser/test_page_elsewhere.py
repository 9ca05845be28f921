"""Pages of others, and texts of others: what a browser is tricked into changes nothing and runs nothing."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from nebula_resource.model.health import HealthStatus
from tests.browser.visitor import Visitor
from tests.browser.world import PageWorld

Visit = Callable[..., Visitor]

EVIL = '<img src=x onerror="window.pwned=1"> "\'`{{7*7}}<script>window.pwned=1</script>'
FORMS = {
    "json": "{headers: {'Content-Type': 'application/json'}, ",
    "simple": "{mode: 'no-cors', headers: {'Content-Type': 'text/plain'}, ",
    "with credentials": "{mode: 'no-cors', credentials: 'include', ",
}


@pytest.fixture
def isolated(world: PageWorld) -> PageWorld:
    """A world with one resource isolated by hand."""
    world.add("db")
    world.call(lambda: world.manager.quarantine("db", "stays", by="a test"))
    return world


def test_a_page_elsewhere_cannot_press_the_button(
    browser: Browser, isolated: PageWorld, elsewhere: str
) -> None:
    """Another origin's POST, simple or not, changes nothing, and reads nothing."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(elsewhere)
    for form in FORMS.values():
        page.evaluate(
            f"url => fetch(url, {form} method: 'POST', body: '{{\"mode\": \"force\"}}'}}).catch(() => 0)",
            f"{isolated.url}/quarantine/db/release",
        )
    # The simplest of all: no body asks for a probe, which would pass.
    page.evaluate(
        "url => fetch(url, {mode: 'no-cors', method: 'POST'}).catch(() => 0)",
        f"{isolated.url}/quarantine/db/release",
    )
    read = page.evaluate(
        "url => fetch(url).then(answer => answer.text()).catch(() => null)", f"{isolated.url}/pools"
    )
    context.close()
    assert read is None
    assert len(httpx.get(f"{isolated.url}/quarantine").json()["items"]) == 1


def test_a_name_that_was_pointed_here_is_refused(browser: Browser, isolated: PageWorld) -> None:
    """DNS rebinding: the browser takes evil.example for this machine, and neither page nor data nor button is to be had."""
    context = browser.new_context()
    page = context.new_page()
    rebound = isolated.url.replace("127.0.0.1", "evil.example")
    answer = page.goto(f"{rebound}/")
    assert answer is not None
    assert (answer.status, answer.json()["code"]) == (400, "unknown_host")
    for path, options in (("pools", "{}"), ("quarantine/db/release", "{method: 'POST'}")):
        status = page.evaluate(
            f"url => fetch(url, {options}).then(answer => answer.status)", f"{rebound}/{path}"
        )
        assert status == 400
    context.close()
    assert len(httpx.get(f"{isolated.url}/quarantine").json()["items"]) == 1


def test_a_page_elsewhere_cannot_frame_it(browser: Browser, isolated: PageWorld, elsewhere: str) -> None:
    """No click can be stolen through a frame."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(elsewhere)
    with page.expect_event("framenavigated", lambda frame: frame.parent_frame is not None) as gone_to:
        page.evaluate(
            """url => {
                const frame = Object.assign(document.createElement('iframe'), {src: url});
                document.body.append(frame);
            }""",
            f"{isolated.url}/",
        )
    assert gone_to.value.url == "chrome-error://chromewebdata/"
    context.close()


def test_reasons_of_others_are_text(world: PageWorld, visit: Visit) -> None:
    """Whatever a tenant, a check or a person wrote, through the real service: it is read, never run."""
    world.add("db")
    world.add("pay", tenant=EVIL)
    world.find("db", HealthStatus.unhealthy(EVIL))
    seen = visit(world.url).is_live()
    expect(seen.card("db")).to_contain_text(EVIL)
    expect(seen.page.locator("#events")).to_contain_text(EVIL)
    pay = seen.page.locator("tr.pool", has_text="pay")
    expect(pay).to_contain_text(EVIL)
    httpx.post(f"{world.url}/quarantine/db/release", json={"mode": "force"}).raise_for_status()
    seen.row("db").get_by_role("button").click()
    seen.page.get_by_role("button", name="Quarantine…").click()
    dialog = seen.dialog("Quarantine db")
    dialog.get_by_label("Reason").fill(EVIL)
    dialog.get_by_role("button", name="Quarantine").click()
    expect(seen.card("db")).to_contain_text(EVIL)
    seen.page.get_by_role("button", name="Release db").click()
    expect(seen.dialog("Release db")).to_contain_text(EVIL)
    assert seen.page.locator("main img, main script, dialog img").count() == 0


def test_ids_of_any_kind_are_text(world: PageWorld, visit: Visit) -> None:
    """Even ids that the service would never let in: each text of every answer is replaced, and nothing runs."""
    world.add("vault")
    world.add("db", needs=["vault"])
    world.find("vault", HealthStatus.unhealthy("sealed"))
    world.find("db", HealthStatus.degraded("slow"))
    paths = ("pools", "quarantine", "dependencies", "events", "resources/vault")
    answers = {path: poisoned(httpx.get(f"{world.url}/{path}").json()) for path in paths}
    seen = visit(
        world.url,
        before=lambda page: page.route(
            re.compile(r"//[^/]+/(pools|quarantine|dependencies|events|resources)\b"), hostile(answers)
        ),
    )
    expect(seen.page.locator(".card-name").first).to_contain_text(EVIL)
    expect(seen.page.locator("#graph [data-id]").first).to_have_attribute("aria-label", re.compile("img src"))
    expect(seen.page.locator("#events")).to_contain_text(EVIL)
    seen.page.locator(".pool-name").first.click()
    expect(seen.page.locator("tr.details")).to_contain_text(f"db{EVIL}")
    seen.page.locator(".card button", has_text="Release").first.click()
    expect(seen.page.get_by_role("dialog")).to_contain_text(EVIL)
    assert seen.page.locator("main img, main script, dialog img").count() == 0


PLAIN = {
    "ts", "at", "since", "last_check", "registered_at", "next_attempt_at", "expires_at", "severity", "state", "own",
    "effective", "old", "new", "phase", "mode", "next_cursor", "as_of", "type",
}  # fmt: skip  # what the page computes with: times, and words of closed lists


def poisoned(value: Any, name: str = "") -> Any:
    """The same with every free text made evil; texts that were different stay different."""
    if isinstance(value, dict):
        return {key: poisoned(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each, name) for each in value]
    return f"{value}{EVIL}" if isinstance(value, str) and name not in PLAIN else value


def hostile(answers: dict[str, Any]) -> Callable[[Route], None]:
    """Answers with these; as a stream with a snapshot made of them."""
    snapshot = {name: answers[name]["items"] for name in ("pools", "quarantine")}
    stream = f"event: snapshot\ndata: {json.dumps(snapshot)}\n\n"

    def fulfil(route: Route) -> None:
        path = urlsplit(route.request.url).path.lstrip("/")
        if route.request.headers["accept"] == "text/event-stream":
            route.fulfill(content_type="text/event-stream", body=stream)
        else:
            answer = answers[path if path in answers else "resources/vault"]
            route.fulfill(content_type="application/json", body=json.dumps(answer))

    return fulfil
