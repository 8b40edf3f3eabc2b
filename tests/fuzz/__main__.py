"""Fuzz: `python tests/fuzz [TARGET [OPTIONS]]`, all targets without one, the options being libFuzzer's.

With atheris, which follows the branches that its bytes take; where there is none for this machine or this Python, with
hypothesis and many more examples than a test run takes.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 60
"""For each target, where the options don't say otherwise."""
EXAMPLES = "3000"
"""For each property, without atheris."""


def main() -> None:
    """Fuzz until something is found, or the time is over."""
    name, *options = sys.argv[1:] or [""]
    if importlib.util.find_spec("atheris") is None:
        _with_hypothesis()
    elif name:
        _with_atheris(name, options)
    else:
        for each in ("heads", "bodies", "answers", "fields", "frames"):
            print(f"fuzzing {each} for {SECONDS} seconds", flush=True)
            subprocess.run([sys.executable, HERE, each, f"-max_total_time={SECONDS}"], check=True)


def _with_atheris(name: str, options: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["micro.web.server", "micro.gateway"]):
        from targets import SEEDS, TARGETS
    if name not in TARGETS:
        raise SystemExit(f"which of {', '.join(TARGETS)}?")
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS[name]):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, "-max_len=600", "-verbosity=0", *options], TARGETS[name])
        atheris.Fuzz()


def _with_hypothesis() -> None:
    print("atheris is not installed here: hypothesis looks in its place", flush=True)
    tests = [HERE, HERE.parent / "system" / "rules" / "test_fuzz.py"]
    environ = {**os.environ, "FUZZ_EXAMPLES": EXAMPLES}
    subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], check=True, env=environ)


main()
