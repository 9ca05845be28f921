"""Curl: a curl line of ours, run by curl, or read and sent by httpx where curl is not installed."""

import shlex
import shutil
import subprocess
from typing import Any

import httpx

__all__ = ["run_line"]

_WITH_VALUE = {"-H", "-d", "-X", "--max-time"}
_WITHOUT = {"-s", "-i", "-N", "-sN"}


def run_line(line: str) -> tuple[int, str]:
    """Run one line; returns the status and the body."""
    if shutil.which("curl") is None:
        return _by_httpx(line)
    done = subprocess.run(
        ["sh", "-c", line + r" -w '\n%{http_code}'"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (line, done.stderr)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def _by_httpx(line: str) -> tuple[int, str]:
    words = iter(shlex.split(line))
    assert next(words) == "curl", line
    request: dict[str, Any] = {"headers": {}}
    method, url = None, None
    for word in words:
        if word in _WITH_VALUE:
            value = next(words)
            if word == "-H":
                name, _, text = value.partition(":")
                request["headers"][name] = text.strip()
            elif word == "-d":
                request["content"] = value
            elif word == "-X":
                method = value
        elif word not in _WITHOUT:
            assert url is None, f"two addresses, or an option the test does not know: {line}"
            url = word
    assert url is not None, line
    with httpx.Client(trust_env=False, timeout=30) as http:
        answer = http.request(method or ("POST" if "content" in request else "GET"), url, **request)
        return answer.status_code, answer.text
