"""Where the command `micro` begins; `python -m micro` is the same."""

from __future__ import annotations

import gc


def main() -> None:
    """Load the command line and run it. Ctrl-C while it is loaded is the exit code 130, too."""
    # Next to nothing of what is loaded becomes garbage, and looking for it takes a tenth of the time. What has been
    # loaded is never looked at again.
    gc.disable()
    try:
        from micro.cli import main as run  # noqa: PLC0415 - as said above
    except KeyboardInterrupt:
        raise SystemExit(130) from None

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
