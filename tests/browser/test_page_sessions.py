"""Sessions in the browser: signing in, a session that ends in the middle of something, a key that may only look."""

from collections.abc import Callable, Generator

import httpx
import pytest
from playwright.sync_api import expect
from starlette.datastructures import Headers
from starlette.types import Scope

from nebula_resource.admin import Key, KeyList
from nebula_resource.admin.auth.authority import KeyAuthority
from nebula_resource.admin.guard import Guard
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.sse import stream
from nebula_resource.model.health import HealthStatus
from tests.browser.visitor import Visitor
from tests.browser.world import PageWorld

Visit = Callable[..., Visitor]

REFUSED = ("401", "403")
"""What Chromium itself writes on the console about an answer that the page deals with."""


MINTED = {role: Key.mint(role, name=f"a {role}") for role in ("viewer", "operator", "admin")}


@pytest.fixture
def keys() -> dict[str, str]:
    """The text of a key, by its role."""
    return {role: text for role, (text, _) in MINTED.items()}


@pytest.fixture
def world() -> Generator[PageWorld]:
    """A service that asks for a key, with one resource isolated."""
    with PageWorld(KeyList(key for _, key in MINTED.values())) as running:
        running.add("db")
        running.find("db", HealthStatus.unhealthy("gone"))
        yield running


def end_sessions(world: PageWorld) -> None:
    """Every session is over, as after half an hour of nothing."""
    authority = world.app.state.admin.authority
    assert isinstance(authority, KeyAuthority)
    world.call(authority.sessions._sessions.clear)  # the clock of the loop is not ours to move


def sign_in(seen: Visitor, text: str) -> None:
    """Answer the question for a key."""
    dialog = seen.dialog("Sign in")
    dialog.get_by_label("Key").fill(text)
    dialog.get_by_role("button", name="Sign in").click()


def test_a_key_opens_the_page(world: PageWorld, keys: dict[str, str], visit: Visit) -> None:
    """Nothing is shown before; a wrong key is told and asked for again; the right one is kept in no place of the page."""
    seen = visit(world.url, forgive=REFUSED)
    expect(seen.dialog("Sign in")).to_contain_text("This service asks for a key.")
    expect(seen.page.locator("tr.pool")).to_have_count(0)
    sign_in(seen, "nbk_wrong_wrong")
    expect(seen.dialog("Sign in").get_by_role("alert")).to_contain_text("no key of ours")
    text = keys["operator"]
    sign_in(seen, text)
    seen.is_live()
    expect(seen.card("db")).to_be_visible()
    expect(seen.page.locator("#process")).to_contain_text("a operator (operator)")
    expect(seen.page.locator("#local-banner")).to_be_hidden()
    assert seen.page.evaluate("document.cookie") == ""  # HttpOnly
    assert text not in seen.page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    assert text not in seen.page.content()


def test_a_session_that_ends_loses_nothing(world: PageWorld, keys: dict[str, str], visit: Visit) -> None:
    """Pressed with a session that is over: the page says so, asks for the key, and then does what was pressed."""
    seen = visit(world.url, forgive=REFUSED)
    sign_in(seen, keys["operator"])
    seen.is_live()
    seen.row("db").get_by_role("button").click()
    seen.page.get_by_role("button", name="Release db").click()
    dialog = seen.dialog("Release db")
    dialog.get_by_label("Force").check()
    dialog.get_by_label("Reason").fill("a long reason, typed at night")
    end_sessions(world)
    # Not by the pointer: whatever else the page asks for may have found out first, and then the sign-in lies over it.
    dialog.get_by_role("button", name="Release").dispatch_event("click")
    expect(seen.dialog("Sign in")).to_contain_text("Your session has ended.")
    sign_in(seen, keys["operator"])
    expect(seen.card("db")).to_have_count(0)
    expect(seen.page.get_by_role("dialog")).to_have_count(0)
    expect(seen.page.locator("tr.details")).to_be_visible()
    bearer = {"Authorization": f"Bearer {keys['admin']}"}
    audit = httpx.get(f"{world.url}/audit", headers=bearer).json()["items"]
    assert [each["reason"] for each in audit] == ["a long reason, typed at night"]


def test_the_key_may_be_withheld_and_given_later(
    world: PageWorld, keys: dict[str, str], visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream ends with its session; what is shown stays and is called old; one button signs in again."""
    monkeypatch.setattr(stream, "RECHECK", 0.0)
    seen = visit(world.url, forgive=REFUSED)
    sign_in(seen, keys["operator"])
    seen.is_live()
    end_sessions(world)
    world.find("db", HealthStatus.unhealthy("gone for good"))  # the stream looks up
    expect(seen.dialog("Sign in")).to_be_visible()
    seen.page.keyboard.press("Escape")
    expect(seen.verdict).to_have_text("You are signed out")
    expect(seen.page.locator("#verdict-more")).to_contain_text("What stands below is as of")
    expect(seen.card("db")).to_be_visible()
    expect(seen.link).to_have_attribute("data-state", "out")
    seen.page.locator("#sign-in").click()
    sign_in(seen, keys["operator"])
    seen.is_live()
    expect(seen.verdict).to_have_text("db is ill")
    expect(seen.page.locator("#signed-out")).to_be_hidden()


def test_another_tab_that_signs_in_anew_does_not_lock_this_one_out(
    world: PageWorld, keys: dict[str, str], visit: Visit
) -> None:
    """The cookie is the other tab's now, and with it the token that changes need: the page fetches it, and goes on."""
    seen = visit(world.url, forgive=REFUSED)
    sign_in(seen, keys["operator"])
    seen.is_live()
    again = seen.context.request.post(
        f"{world.url}/session", data={"key": keys["operator"]}, headers={"Origin": world.url}
    )
    assert again.status == 204
    seen.page.get_by_role("button", name="Release db").click()
    dialog = seen.dialog("Release db")
    dialog.get_by_label("Force").check()
    dialog.get_by_role("button", name="Release").click()
    expect(seen.card("db")).to_have_count(0)


def test_who_may_only_look_is_shown_no_button_that_works(
    world: PageWorld, keys: dict[str, str], visit: Visit
) -> None:
    """A viewer sees everything, and why there is nothing to press."""
    seen = visit(world.url, forgive=REFUSED)
    sign_in(seen, keys["viewer"])
    seen.is_live()
    expect(seen.page.get_by_role("button", name="Release db")).to_be_disabled()
    seen.row("db").get_by_role("button").click()
    actions = seen.page.locator("tr.details .actions")
    expect(actions).to_contain_text("Your key may look only.")
    assert actions.get_by_role("button").evaluate_all("all => all.every(each => each.disabled)")


def test_a_page_of_another_port_cannot_use_the_session(
    world: PageWorld, keys: dict[str, str], visit: Visit, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a browser it is the same site, so the cookie goes along: the origin is what is refused, and nothing changes."""
    seen = visit(world.url, forgive=REFUSED)
    sign_in(seen, keys["operator"])
    seen.is_live()
    admit = Guard._admit
    refused: list[tuple[str, bool, str | None]] = []

    def note(guard: Guard, scope: Scope) -> None:
        try:
            admit(guard, scope)
        except AdminProblem as error:
            sent = Headers(scope=scope)
            with_session = "nebula_session=" in sent.get("cookie", "")
            refused.append((error.problem.code, with_session, sent.get("sec-fetch-site")))
            raise

    monkeypatch.setattr(Guard, "_admit", note)
    other = seen.context.new_page()
    other.goto(elsewhere.replace("localhost", "127.0.0.1"))
    release = f"{world.url}/quarantine/db/release"
    press = "url => fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include'}).catch(() => 0)"
    other.evaluate(press, release)
    assert refused == [("cross_origin", True, "same-site")]
    read = "url => fetch(url, {credentials: 'include'}).then(answer => answer.text()).catch(() => null)"
    assert other.evaluate(read, f"{world.url}/quarantine") is None
    mine = {"Authorization": f"Bearer {keys['operator']}"}
    assert len(httpx.get(f"{world.url}/quarantine", headers=mine).json()["items"]) == 1
