"""What a start may load: first answers must not wait for what only later ones need."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 60.0
HEAVY = {
    *("argon2", "cryptography", "fastapi", "httpx", "jwt", "pydantic", "rich", "aiosmtplib"),
    *("email.headerregistry", "html.entities", "micro.bus.replay"),
    *("micro.gateway.upstream.cluster", "micro.gateway.upstream.network", "micro.runtime.programs.process"),
}
"""Each takes milliseconds, and is for a sign-in, a token, a terminal, an e-mail, a page, an operation, or another kind of
member."""
PROGRAM = """
import json, os, sys
from pathlib import Path
from micro.config.read import read_config
from micro.runtime.single import SingleRunner
from micro.runtime.up import UpOptions, up

class Observer:
    def ready(self, report): os.kill(os.getpid(), 15)
    def stopping(self): pass
    def notice(self, text): pass

loaded = []
appear = SingleRunner._appear

async def note(self):  # every port answers from here on
    loaded.append(sorted(sys.modules))
    await appear(self)

SingleRunner._appear = note
config = read_config(Path(sys.argv[1]), os.environ)
up(config, config.profile(), observer=Observer(), options=UpOptions(reload=True, console=False))
print(json.dumps(loaded))
"""


def loaded_before_ready(folder: Path) -> set[str]:
    """The modules of a process at the moment in which its ports begin to answer."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr
    (modules,) = json.loads(done.stdout)
    return set(modules)


def test_the_built_in_stack_answers_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    lines = ["[stack]", "builtin = true", "[gateway]", "port = 0"]
    (tmp_path / "micro.toml").write_text("\n".join(lines), encoding="utf-8")
    loaded_before_ready(tmp_path)  # the very first start may, to make keys
    again = loaded_before_ready(tmp_path)
    assert "micro.services.user.api" in again
    assert again & HEAVY == set()
