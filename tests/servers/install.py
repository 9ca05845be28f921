"""Installing what is missing: Debian and Ubuntu packages, as root, without starting a system service."""

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.process import ServerUnavailable

POLICY = Path("/usr/sbin/policy-rc.d")  # Debian asks it before a package starts a service; 101 means: do not


def install(package: str, *, program: str, variable: str) -> None:
    """Install a server's Debian package; where that is not possible, say exactly what is missing and how to provide it."""
    install_package(
        package,
        program,
        f"no {program} was found on PATH{' or in /usr/lib/postgresql' if program == 'postgres' else ''}, "
        f"and {variable} names no server. Provide one of: {variable}=<url of a server the tests may write to>; "
        f"the program itself (Debian, Ubuntu: apt-get install {package}; macOS: brew install "
        f"{'redis' if program == 'redis-server' else 'postgresql'}); or run the tests as root on Debian, where they install it",
    )


def install_package(package: str, program: str, help_text: str) -> None:
    """Install a Debian package as root; elsewhere, and when that fails, raise `ServerUnavailable(help_text)`."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ServerUnavailable(help_text)
    print(f"installing {package} for {program}", flush=True)
    with _no_services_started():
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-qq", "-y", "--no-install-recommends", package],
        ):
            done = subprocess.run(
                command,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                ending = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
                raise ServerUnavailable(
                    f"{help_text}. That was tried: `{' '.join(command)}` failed:\n{ending}"
                )


@contextmanager
def _no_services_started() -> Generator[None, None, None]:
    if POLICY.exists():  # somebody has decided already
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
