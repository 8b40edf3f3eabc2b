"""Where the command `micro` begins; `python -m micro` is the same."""

from __future__ import annotations

import gc
import os
import signal

INTERRUPTED = 130


def main() -> None:
    """Load the command line and run it. Ctrl-C ends it with the exit code 130, while it is loaded, too."""
    # Next to nothing of what is loaded becomes garbage, and looking for it takes a tenth of the time. What has been
    # loaded is never looked at again.
    gc.disable()
    listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if listens:
        # There is nothing to clean up yet; and an exception in the middle of an import might not arrive as what it is.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from micro.cli import main as run  # noqa: PLC0415 - as said above

    if listens:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.freeze()
    gc.enable()
    try:
        run()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
