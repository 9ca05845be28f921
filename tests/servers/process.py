"""Private process: one server of our own, with its folder, its port and its keeper."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT = 30.0  # seconds until a server must answer
POLL = 0.02  # seconds between two looks at a server that is starting or stopping
KEEPER = Path(__file__).with_name("keeper.py")
# Nothing of the caller's PG* or LC_* variables reaches a server, or it would not be the same everywhere.
CLEAN_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


class ServerUnavailable(Exception):
    """No server could be had; the message says what is missing and how to provide it."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user a server runs as; both None for our own."""

    user: int | None = None
    group: int | None = None

    @classmethod
    def named(cls, *names: str) -> "Account":
        """Our own account, unless we are root: then the first of `names` that exists, or nobody."""
        if os.geteuid() != 0:
            return cls()
        for name in (*names, "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid)
        raise ServerUnavailable(
            f"running as root, and none of the users {', '.join(names)}, nobody exists to run a server as; "
            "run the tests as an ordinary user"
        )

    def run(self, *command: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end as this user, output captured."""
        return subprocess.run(
            command,
            cwd=cwd,
            env=CLEAN_ENVIRONMENT,
            user=self.user,
            group=self.group,
            extra_groups=None if self.user is None else [],
            capture_output=True,
            text=True,
            check=False,
        )

    def make_folder(self, prefix: str) -> Path:
        """Make a folder that this user can really reach and write: a root-only parent is passed over."""
        tried = []
        for parent in _temporary_parents():
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            if self.user is not None and self.group is not None:
                os.chown(folder, self.user, self.group)
            if self._can_write(folder):
                return folder
            tried.append(str(parent))
            folder.rmdir()
        raise ServerUnavailable(
            f"no temporary folder that uid {self.user} can write (tried {', '.join(tried)})"
        )

    def _can_write(self, folder: Path) -> bool:
        # By its full path, as the server will: a working directory set while still root would prove nothing.
        script = 'cd "$1" && : >probe && rm probe'
        return self.run("/bin/sh", "-c", script, "probe", str(folder), cwd=Path("/")).returncode == 0


def _temporary_parents() -> Iterator[Path]:
    seen = set()
    for name in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        path = Path(name)
        if path not in seen and path.is_dir() and os.access(path, os.W_OK):
            seen.add(path)
            yield path


def free_port() -> int:
    """A loopback port nobody holds at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PrivateProcess:
    """One server process that can be stopped, killed and started again on the same port and folder."""

    def __init__(
        self,
        name: str,
        *,
        folder: Path,
        port: int,
        command: list[str],
        account: Account,
        stop_signal: signal.Signals,
        kill_signal: signal.Signals,
        is_ready: Callable[[], bool],
    ) -> None:
        self.name = name
        self.folder = folder
        self.port = port
        self._command = command
        self._account = account
        self._stop_signal = stop_signal
        self._kill_signal = kill_signal
        self._is_ready = is_ready
        self._keeper: subprocess.Popen[str] | None = None
        self._pid: int | None = None

    def __repr__(self) -> str:
        state = f"pid {self._pid}" if self.running else "stopped"
        return f"<PrivateProcess {self.name} on 127.0.0.1:{self.port}, {state}>"

    @property
    def running(self) -> bool:
        """Whether the server process is there."""
        return self._keeper is not None and self._keeper.poll() is None

    def start(self) -> None:
        """Start the server and return once it is ready; raises ServerUnavailable with its log if it is not."""
        if self.running:
            return
        account = (
            [str(self._account.user), str(self._account.group)]
            if self._account.user is not None
            else ["-", "-"]
        )
        self._keeper = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                str(KEEPER),
                str(self.folder),
                self._stop_signal.name,
                *account,
                *self._command,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=CLEAN_ENVIRONMENT,
            start_new_session=True,
        )
        assert self._keeper.stdout is not None
        first_line = self._keeper.stdout.readline()
        self._pid = int(first_line) if first_line.strip() else None
        if not self._wait_until(self._is_ready, START_TIMEOUT):
            log = self.log()
            self.close()
            raise ServerUnavailable(
                f"{self.name} did not become ready on port {self.port}; its log ends:\n{log}"
            )

    def stop(self) -> None:
        """Stop in good order: connections are closed, data is kept."""
        self._signal(self._stop_signal)

    def kill(self) -> None:
        """End at once, as in a crash: nobody is told, what was being written stays half written."""
        self._signal(self._kill_signal)

    def restart(self) -> None:
        """Stop, and start again on the same port with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop for good and remove the folder."""
        if self._keeper is not None:
            self._release_keeper()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self, lines: int = 20) -> str:
        """The last lines the server wrote."""
        try:
            return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(nothing)"

    def _signal(self, number: signal.Signals) -> None:
        if self._keeper is None or self._pid is None or not self.running:
            return
        os.kill(self._pid, number)
        self._keeper.wait(START_TIMEOUT)
        self._release_keeper()

    def _release_keeper(self) -> None:
        assert self._keeper is not None
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            if pipe is not None:
                pipe.close()
        self._keeper.wait(START_TIMEOUT)
        self._keeper = None

    def _wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.running and time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(POLL)
        return False


def find_binary(name: str) -> Path | None:
    """The path of a program on PATH, not resolved: some programs ask by what name they were called."""
    found = shutil.which(name)
    return None if found is None else Path(found)
