"""Answering: a service that gives prepared answers, to whoever asks."""

import http.server
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, ClassVar

__all__ = ["JSON", "Asked", "answering"]

JSON = {"Content-Type": "application/json"}


class Asked(list[str]):
    """What was asked, each as ``METHOD /path``; ``bodies``: the JSON that came along, in order; ``headers``: of the latest."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[Any] = []
        self.headers: dict[str, str] = {}


class Answering(http.server.BaseHTTPRequestHandler):
    """Gives each request the next answer, the last one again and again, and remembers what was asked."""

    answers: ClassVar[list[tuple[int, dict[str, str], bytes]]]
    asked: ClassVar[Asked]

    def do_GET(self) -> None:
        """Answer."""
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        self.asked.append(f"{self.command} {self.path}")
        self.asked.headers = {name.lower(): value for name, value in self.headers.items()}
        if sent:
            self.asked.bodies.append(json.loads(sent))
        status, headers, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  # the name that http.server calls

    def log_message(self, format: str, *args: Any) -> None:
        """Not here."""


@contextmanager
def answering(*answers: tuple[int, dict[str, str], bytes]) -> Generator[tuple[str, Asked]]:
    """A service that gives these; yields its address, and what it was asked."""

    class Handler(Answering):
        pass

    Handler.answers, Handler.asked = list(answers), Asked()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", Handler.asked
        finally:
            server.shutdown()
            thread.join()
