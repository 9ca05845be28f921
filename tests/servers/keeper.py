"""Keeper: a small process that runs one server and ends it when whoever started the keeper is gone.

The test session holds the keeper's standard input open. Whatever happens to the session, SIGKILL included, the pipe
closes; the keeper then stops its server and removes the server's folder. It runs in a session of its own, so that a
Ctrl-C at the terminal meets pytest first. Its first line of output is the pid of the server.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import time

STOP_TIMEOUT = 10.0  # seconds a server has to stop when asked, before it is killed


def keep(
    folder: str, stop_signal: signal.Signals, user: int | None, group: int | None, command: list[str]
) -> int:
    """Run `command` until it ends or standard input closes; its output goes to `folder`/log."""
    with open(os.path.join(folder, "log"), "ab") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )
    print(server.pid, flush=True)
    # Linux tells when a process ends; elsewhere we look now and then.
    watched, poll = ([0, os.pidfd_open(server.pid)], None) if sys.platform == "linux" else ([0], 0.1)
    while server.poll() is None:
        ready, _, _ = select.select(watched, [], [], poll)
        if 0 in ready and not os.read(0, 1):
            stop(server, stop_signal)
            shutil.rmtree(folder, ignore_errors=True)
    return server.wait()


def stop(server: "subprocess.Popen[bytes]", stop_signal: signal.Signals) -> None:
    """Ask the server to stop, insist after STOP_TIMEOUT."""
    server.send_signal(stop_signal)
    deadline = time.monotonic() + STOP_TIMEOUT
    while server.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if server.poll() is None:
        server.kill()
        server.wait()


def main(arguments: list[str]) -> int:
    """Read folder, stop signal, uid and gid (`-`: our own) and the command."""
    folder, stop_signal, user, group, *command = arguments
    return keep(
        folder,
        signal.Signals[stop_signal],
        None if user == "-" else int(user),
        None if group == "-" else int(group),
        command,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
