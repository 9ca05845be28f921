"""Logs: one format for whatever writes to `logging`, and no values of variables in it."""

import io
import json
import logging

import pytest

from nebula_resource.service.logs import LogFormat, configure_logs


@pytest.mark.usefixtures("untouched")
def test_json_lines_hold_their_fields() -> None:
    """A constant message, the level, the time and every field of its own."""
    out = io.StringIO()
    configure_logs("json", "INFO", stream=out)
    log = logging.getLogger("nebula_resource")
    log.info("pool.registered", extra={"resource.id": "db"})
    log.debug("not this one")
    line = json.loads(out.getvalue())
    assert (line["event"], line["resource.id"], line["level"]) == ("pool.registered", "db", "info")
    assert line["logger"] == "nebula_resource"
    assert line["timestamp"].endswith("Z")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("form", ["console", "json"])
def test_tracebacks_show_no_variables(form: LogFormat) -> None:
    """A failure is told with its frames, and not with what was in them."""
    out = io.StringIO()
    configure_logs(form, stream=out)

    def fail() -> None:
        secret = "hunter2-" + "a" * 3
        raise LookupError(f"{len(secret)} characters")

    try:
        fail()
    except LookupError:
        logging.getLogger("it").exception("it failed")
    assert "LookupError" in out.getvalue()
    assert "test_logs.py" in out.getvalue()
    assert "hunter2-aaa" not in out.getvalue()


@pytest.mark.usefixtures("untouched")
def test_lines_for_people_and_chatty_libraries() -> None:
    """The console has one line per record; what libraries say of every request is left away."""
    out = io.StringIO()
    configure_logs("console", "INFO", stream=out)
    logging.getLogger("httpx").info("HTTP Request: GET ...")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    [line] = out.getvalue().splitlines()
    assert "Invalid HTTP request received." in line
    assert "warning" in line
