"""`python -m micro`: the same as the command `micro`."""

from __future__ import annotations

from micro.cli import main

if __name__ == "__main__":
    main()
