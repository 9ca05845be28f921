"""Prometheus for the tests: a private one that scrapes one target each second, and its checker of metrics."""

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

from tests.servers.process import Account, PrivateProcess, ServerUnavailable, free_port
from tests.servers.programs import ensure_program

__all__ = ["PrometheusServer", "check_metrics", "private_prometheus"]

ATTEMPTS = 5  # another process may take the free port first
TIMEOUT = 10.0  # seconds for one answer

_CONFIGURATION = """\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files: {rules}
scrape_configs:
  - job_name: nebula
    static_configs:
      - targets: ["{target}"]
"""


Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Sorted, without the name, the job and the instance."""


class PrometheusServer:
    """A Prometheus of our own, to be asked in PromQL."""

    def __init__(self, process: PrivateProcess) -> None:
        self.process = process

    def query(self, promql: str, *, at: float | None = None) -> dict[Labels, float]:
        """The values of an instant query (``at`` a Unix time, or now) by their labels."""
        when = {} if at is None else {"time": repr(at)}
        result = self.ask("query", query=promql, **when)["result"]
        return {_labels(each["metric"]): float(each["value"][1]) for each in result}

    def course(
        self, promql: str, *, start: float, end: float, step: float
    ) -> dict[Labels, list[tuple[float, float]]]:
        """The points (Unix time, value) of a range query by their labels, the oldest first."""
        result = self.ask("query_range", query=promql, start=repr(start), end=repr(end), step=repr(step))[
            "result"
        ]
        return {
            _labels(each["metric"]): [(float(at), float(value)) for at, value in each["values"]]
            for each in result
        }

    def value(self, promql: str) -> float | None:
        """The one value of an instant query; None: it has no sample."""
        found = self.query(promql)
        if not found:
            return None
        (value,) = found.values()
        return value

    def ask(self, what: str, **parameters: str) -> Any:
        """What the HTTP API answers, which is no error or the test ends."""
        url = f"http://127.0.0.1:{self.process.port}/api/v1/{what}?{urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
                body = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{what} {parameters}: {error.read().decode()}") from error
        assert body["status"] == "success"
        return body["data"]

    def close(self) -> None:
        """End it and remove its folder."""
        self.process.close()


def private_prometheus(target: str, *, rules: Sequence[Path] = ()) -> PrometheusServer:
    """Start a Prometheus that scrapes ``target`` (host:port) and goes through the rules each second."""
    binary = ensure_program("prometheus")
    for attempt in range(ATTEMPTS):
        try:
            return _start(binary, target, rules)
        except ServerUnavailable as error:
            if "address already in use" not in str(error) or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the loop returns or raises")


def _labels(metric: dict[str, str]) -> Labels:
    return tuple(sorted((k, v) for k, v in metric.items() if k not in {"__name__", "job", "instance"}))


def check_metrics(text: bytes) -> str:
    """Everything that ``promtool check metrics`` says about a scrape; empty: it finds nothing wrong."""
    done = subprocess.run(
        [ensure_program("promtool"), "check", "metrics"], input=text, capture_output=True, timeout=60, check=False
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode()
    assert bool(said) == bool(done.returncode), f"exit code {done.returncode}: {said}"
    return said


def _start(binary: Path, target: str, rules: Sequence[Path]) -> PrometheusServer:
    account, port = Account.named("prometheus"), free_port()
    folder = account.make_folder("nebula-prometheus-")
    configuration = folder / "prometheus.yml"
    copies = [folder / rule.name for rule in rules]  # where its account may read them
    for rule, copy in zip(rules, copies, strict=True):
        copy.write_bytes(rule.read_bytes())
    configuration.write_text(_CONFIGURATION.format(target=target, rules=[str(copy) for copy in copies]))
    for file in (configuration, *copies):
        file.chmod(0o644)
    process = PrivateProcess(
        "prometheus",
        folder=folder,
        port=port,
        command=[
            str(binary),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        account=account,
        stop_signal=signal.SIGTERM,
        kill_signal=signal.SIGKILL,
        is_ready=lambda: _answers(port),
    )
    process.start()
    return PrometheusServer(process)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1.0) as response:
            return bool(response.status == 200)
    except OSError:
        return False
