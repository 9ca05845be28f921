"""Curl: a curl line of ours, run by curl, or read and sent by httpx where curl is not installed."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

__all__ = ["run_line", "run_script"]

_WITH_VALUE = {"-H", "-d", "-X", "--max-time"}
_WITHOUT = {"-s", "-i", "-N", "-sN"}


def run_line(line: str) -> tuple[int, str]:
    """Run one line; returns the status and the body."""
    if shutil.which("curl") is None:
        return _by_httpx(shlex.split(line)[1:])
    done = subprocess.run(
        ["sh", "-c", line + r" -w '\n%{http_code}'"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (line, done.stderr)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def run_script(script: str, folder: Path) -> list[str]:
    """Run lines of a page in one shell; returns what they print. ``folder`` is for a stand-in where curl is missing."""
    path = os.environ["PATH"]
    if shutil.which("curl") is None:
        stand_in = folder / "curl"
        stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} "$@"\n')
        stand_in.chmod(0o755)
        path = f"{folder}:{path}"
    done = subprocess.run(
        ["sh", "-eu", "-c", script.replace("\ncurl ", "\necho; curl ")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PATH": path},
    )
    return [line for line in done.stdout.splitlines() if line]


def _by_httpx(arguments: list[str]) -> tuple[int, str]:
    words = iter(arguments)
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
            assert url is None, f"two addresses, or an option that is not known here: {arguments}"
            url = word
    assert url is not None, arguments
    with httpx.Client(trust_env=False, timeout=30) as http:
        answer = http.request(method or ("POST" if "content" in request else "GET"), url, **request)
        return answer.status_code, answer.text


if __name__ == "__main__":
    print(_by_httpx(sys.argv[1:])[1], end="")
