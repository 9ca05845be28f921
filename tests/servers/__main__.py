"""`python -m tests.servers`: see that the tests will find their servers and programs, before any test runs.

Prints what will be used. Exits with 1 and the reason if one is missing and cannot be installed.
"""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers import postgres, redis
from tests.servers.install import install
from tests.servers.process import ServerUnavailable
from tests.servers.programs import PACKAGES, ensure_program


def main() -> int:
    """Look for servers and programs; a private server is only started by the test that needs it."""
    try:
        _report("PostgreSQL", postgres.VARIABLE, _postgres())
        _report("Redis", redis.VARIABLE, _redis())
        for name in PACKAGES:
            print(f"{name}: {ensure_program(name)}")
    except ServerUnavailable as error:
        print(f"Something the tests need is missing: {error}", file=sys.stderr)
        return 1
    return 0


def _postgres() -> Path | None:
    if url := os.environ.get(postgres.VARIABLE):
        postgres.named_server(url).close()
    folder = postgres.find_binaries()
    if folder is None and not url:
        install("postgresql", program="postgres", variable=postgres.VARIABLE)
        folder = postgres.find_binaries()
    return folder / "postgres" if folder else None


def _redis() -> Path | None:
    if url := os.environ.get(redis.VARIABLE):
        redis.named_server(url).close()
    if redis.find_server() is None and not url:
        install("redis-server", program="redis-server", variable=redis.VARIABLE)
    return redis.find_server()


def _report(name: str, variable: str, binary: Path | None) -> None:
    if url := os.environ.get(variable):
        print(f"{name}: {urlsplit(url).hostname} ({variable})")
    if binary is not None:
        version = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True)
        print(f"{name}: private servers from {binary}: {version.stdout.strip()}")


if __name__ == "__main__":
    sys.exit(main())
