"""Orders: what a customer of a tenant sees, and what nobody else does."""

import asyncio

import pytest

from tests.app.conftest import Running, as_tenant

CANARY = "hunter2-do-not-repeat-me"


async def test_an_order_is_placed_and_listed(running: Running) -> None:
    """What is ordered has an id and stands first in the list; the list is as long as was asked for."""
    for item in ("first", "second", "third"):
        assert len(await running.order("acme", item, 2)) == 32
    assert await running.items("acme") == ["third", "second", "first"]
    assert await running.items("acme", limit=2) == ["third", "second"]


async def test_a_tenant_sees_its_own_orders_alone(running: Running) -> None:
    """Each tenant has a list of its own."""
    for tenant in ("acme", "globex", "initech"):
        await running.order(tenant, f"for {tenant}")
    for tenant in ("acme", "globex", "initech"):
        assert await running.items(tenant) == [f"for {tenant}"]


async def test_a_foreign_order_looks_like_none(running: Running) -> None:
    """Charging another tenant's order and one that never was: the same 404, to the letter; it stays as it was."""
    order = await running.order("acme")
    foreign = await running.charge("globex", order)
    unknown = await running.charge("globex", "f" * 32)
    assert (foreign.status_code, foreign.text) == (404, unknown.text)
    assert foreign.headers["content-type"] == "application/problem+json"
    assert order not in foreign.text
    assert (await running.charge("acme", order)).json()["status"] == "charged"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Bearer demo-umbrella"}, id="unknown tenant"),
        pytest.param({"Authorization": f"Bearer {CANARY}"}, id="unknown token"),
        pytest.param({"Authorization": "Bearer " + "demo-acme" * 600}, id="5,400 characters"),
        pytest.param({"Authorization": "Basic demo-acme"}, id="another scheme"),
        pytest.param({"Authorization": "demo-acme"}, id="no scheme"),
        pytest.param({"Authorization": ""}, id="empty"),
        pytest.param({"Authorization": "Bearer demo-acme demo-globex"}, id="two tokens"),
        pytest.param({"X-Tenant": "acme"}, id="another header"),
    ],
)
async def test_who_shows_no_token_is_nobody(running: Running, headers: dict[str, str]) -> None:
    """A missing, unknown or odd token: 401 as a problem that repeats nothing of it."""
    for path in ("/demo/orders", "/demo/nothing/here"):
        answer = await running.http.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "unauthenticated"
        assert CANARY not in answer.text
        assert "demo-" not in answer.text


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        pytest.param({"item": "anvil"}, ["/body/quantity"], id="missing"),
        pytest.param({"item": 5, "quantity": "2"}, ["/body/item", "/body/quantity"], id="wrong types"),
        pytest.param({"item": "", "quantity": 0}, ["/body/item", "/body/quantity"], id="too little"),
        pytest.param({"item": "x" * 201, "quantity": 10**9}, ["/body/item", "/body/quantity"], id="too much"),
        pytest.param({"item": "anvil", "quantity": True}, ["/body/quantity"], id="a truth"),
        pytest.param(
            {"item": "anvil", "quantity": 1, "password": CANARY}, ["/body/*"], id="a secret too many"
        ),
        pytest.param({"item": "anvil", "quantity": CANARY}, ["/body/quantity"], id="a secret in a number"),
        pytest.param({"item": "anvil", "quantity": 1, CANARY: 1}, ["/body/*"], id="a secret as a name"),
        pytest.param([CANARY], ["/body"], id="a list"),
        pytest.param(None, ["/body"], id="null"),
    ],
)
async def test_a_wrong_body_is_refused(running: Running, body: object, pointers: list[str]) -> None:
    """422, with every field that is wrong, without what was in it, and nothing is ordered."""
    answer = await running.http.post("/demo/orders", json=body, headers=as_tenant("acme"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert sorted(each["pointer"] for each in answer.json()["errors"]) == pointers
    assert CANARY not in answer.text
    assert await running.items("acme") == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"item": ', b"\xff\xfe", b'{"item": "\\ud800", "quantity": 1}']
)
async def test_a_body_that_is_no_json_is_refused(running: Running, content: bytes) -> None:
    """Broken JSON, broken encodings and half characters: 422, never a 500."""
    answer = await running.http.post(
        "/demo/orders", content=content, headers={**as_tenant("acme"), "Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert await running.items("acme") == []


@pytest.mark.parametrize("limit", ["0", "101", "-1", "ten", "", "9" * 5000])
async def test_a_wrong_limit_is_refused(running: Running, limit: str) -> None:
    """A limit that is no number from 1 to 100: 422, and it is not repeated."""
    answer = await running.http.get("/demo/orders", params={"limit": limit}, headers=as_tenant("acme"))
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/query/limit"]
    assert "99999" not in answer.text


async def test_charging_an_order_runs_its_workflow(running: Running) -> None:
    """Reserve, charge, notify: the answer names the payment, the list shows it, and a second charge is a conflict."""
    order = await running.order("acme")
    charged = await running.charge("acme", order)
    assert charged.status_code == 200
    assert charged.json()["status"] == "charged"
    listed = (await running.http.get("/demo/orders", headers=as_tenant("acme"))).json()
    assert listed == [
        {
            "id": order,
            "item": "anvil",
            "quantity": 1,
            "status": "charged",
            "payment": charged.json()["payment"],
        }
    ]
    again = await running.charge("acme", order)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def test_a_charge_may_be_declined(running: Running) -> None:
    """The provider declines more than 100 units: the order says so."""
    order = await running.order("acme", quantity=101)
    assert (await running.charge("acme", order)).json() == {
        "id": order,
        "status": "declined",
        "payment": None,
    }


async def test_an_order_is_paid_once_however_often_it_is_charged_together(running: Running) -> None:
    """Charges of one order side by side all name one payment, or come too late."""
    order = await running.order("acme")
    answers = await asyncio.gather(*(running.charge("acme", order) for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.json()["payment"] for answer in answers if answer.status_code == 200}) == 1


async def test_charging_waits_for_better_times(running: Running) -> None:
    """With the payment provider quarantined a charge is 503, says when to come back, and works once it is released."""
    order = await running.order("acme")
    put_away = await running.http.post("/quarantine", json={"resource_id": "payments", "reason": "a test"})
    assert put_away.status_code == 201
    refused = await running.charge("acme", order)
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    assert await running.items("acme") == ["anvil"]
    released = await running.http.post("/quarantine/payments/release", json={"mode": "probe"})
    assert released.status_code == 200, released.text
    assert (await running.charge("acme", order)).json()["status"] == "charged"
    gone = await running.http.post("/quarantine/payments/release", json={})
    assert gone.status_code == 404
