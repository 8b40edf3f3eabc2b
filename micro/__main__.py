"""Where the command `micro` begins; `python -m micro` is the same."""

from __future__ import annotations

import gc


def main() -> None:
    """Load the command line and run it."""
    # Next to nothing of what is loaded becomes garbage, and looking for it takes a tenth of the time. What has been
    # loaded is never looked at again.
    gc.disable()
    from micro.cli import main as run  # noqa: PLC0415 - as said above

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
