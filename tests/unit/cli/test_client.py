"""AdminClient: pages are joined, problems are one line, a key is never shown."""

import ssl
from typing import Any

import httpx
import pytest

from nebula_resource.cli.client import AdminClient
from nebula_resource.cli.failure import ExitCode, Failure


def client_of(*answers: httpx.Response) -> AdminClient:
    """A client whose requests get these answers in turn."""
    waiting = iter(answers)
    client = AdminClient("http://it/base", "nbk_1_2")
    client._http = httpx.Client(
        base_url="http://it/base/", transport=httpx.MockTransport(lambda request: next(waiting))
    )
    return client


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9", "nothing listens there"),
        ("http://no.such.name.invalid", "nobody knows that name"),
    ],
)
def test_why_nobody_answers_is_said(url: str, why: str) -> None:
    """In words; the address is shown without what may be secret in it."""
    with AdminClient(url, None) as client, pytest.raises(Failure) as caught:
        client.get("pools")
    assert (caught.value.code, caught.value.message) == (
        ExitCode.UNREACHABLE,
        f"{url} cannot be reached: {why}",
    )


def test_pages_are_joined() -> None:
    """A list comes whole."""
    pages = ({"items": [1], "next_cursor": "c"}, {"items": [2], "next_cursor": None})
    with client_of(*(httpx.Response(200, json=page) for page in pages)) as client:
        assert client.items("pools") == {"items": [1, 2], "next_cursor": None}


def test_a_problem_is_one_line() -> None:
    """Title, detail, each violation, and when to come again."""
    body = {
        "title": "Not valid", "status": 422, "detail": "no", "errors": [{"pointer": "/max", "message": "too small"}],
    }  # fmt: skip  # one value
    with client_of(httpx.Response(422, json=body, headers={"Retry-After": "3"})) as client:
        with pytest.raises(Failure) as caught:
            client.get("pools")
    assert caught.value.message == "422 Not valid; no; /max too small; try again in 3 s"
    assert caught.value.code is ExitCode.REFUSED


def test_a_problem_says_what_helps() -> None:
    """The ids to choose from, what a probe found, and what a 404 may mean, which the service must not say."""
    many = {"title": "More than one fits", "code": "ambiguous_scope", "candidates": ["db~a", "db~b"]}
    ill = {"title": "Not well yet", "health": {"result": "unhealthy", "reason": "refused", "duration_s": 0.1}}
    gone = {"title": "Not found", "code": "not_found"}
    said = []
    for status, body in ((409, many), (409, ill), (404, gone)):
        with client_of(httpx.Response(status, json=body)) as client, pytest.raises(Failure) as caught:
            client.post("x", {}, missing="it is not quarantined")
        said.append(caught.value.message)
    assert said == [
        "409 More than one fits; say which: db~a, db~b",
        "409 Not well yet; unhealthy: refused",
        "404 Not found; it is not quarantined",
    ]


def test_a_pool_that_a_list_is_asked_for_may_be_unknown() -> None:
    """That is an answer of an admin API, where the list itself is there; and else there is none."""
    gone = httpx.Response(404, json={"title": "Not found", "code": "not_found"})
    with client_of(gone, httpx.Response(200, json={"items": []})) as client:
        with pytest.raises(Failure, match="none with this id") as caught:
            client.get("events", pool="nobody")
        assert caught.value.code is ExitCode.REFUSED
    with client_of(gone, gone) as client:
        with pytest.raises(Failure, match="no admin API at this path"):
            client.get("events", pool="nobody")


def test_an_admin_api_that_is_mounted_elsewhere_is_unreachable() -> None:
    """The application answers 404 in the same words; what every admin API has cannot be an unknown id."""
    gone = httpx.Response(404, json={"title": "Not found", "code": "not_found"})
    with client_of(gone, gone, gone) as client:
        for ask in (lambda: client.get("pools"), client.health):
            with pytest.raises(Failure, match="no admin API at this path") as caught:
                ask()
            assert caught.value.code is ExitCode.UNREACHABLE
        with pytest.raises(Failure, match="none with this id"):
            client.get("pools/db")


@pytest.mark.parametrize("text", ["<html>", "[]", ""])
def test_what_is_no_admin_api_is_said(text: str) -> None:
    """Somebody else answers there."""
    with (
        client_of(httpx.Response(200, text=text)) as client,
        pytest.raises(Failure, match="not as an admin API"),
    ):
        client.get("pools")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://x", "http://", "http://x?a=b", "http://x#y"])
def test_an_address_that_is_none_is_usage(url: str) -> None:
    """Said before anything is sent."""
    with pytest.raises(Failure) as caught:
        AdminClient(url, None)
    assert caught.value.code is ExitCode.USAGE


def test_a_key_that_cannot_be_sent_is_usage_and_not_shown() -> None:
    """Pasted with a dash that is none."""
    with pytest.raises(Failure) as caught:
        AdminClient("http://x", "nbk_–_–")
    assert (caught.value.code, "nbk" in caught.value.message) == (ExitCode.USAGE, False)


def test_who_is_trusted_is_read_only_where_somebody_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than the answer; where there is no TLS nobody at all is trusted, should there be any after all."""
    read: list[ssl.SSLContext] = []
    load = ssl.SSLContext.load_verify_locations

    def note(context: ssl.SSLContext, *arguments: Any, **options: Any) -> None:
        read.append(context)
        load(context, *arguments, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", note)
    with AdminClient("http://127.0.0.1:9", None):
        assert read == []
    with AdminClient("https://127.0.0.1:9", None):
        (context,) = read
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] > 0
