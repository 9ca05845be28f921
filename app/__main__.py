"""Entry: ``python -m app`` runs the service."""

import gc
import signal

# Until it serves, Ctrl-C ends it there and then, without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from app.run import run  # noqa: E402  # the second of imports is what the line above is for

code = run()
# The interpreter would look through all that was ever imported once more: half a second that nobody has who waits for the end.
gc.freeze()
raise SystemExit(code)
