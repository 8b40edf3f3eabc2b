"""What becomes of a profile: its runner. What that does is seen in tests/system/runtime."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from micro.clock import SystemClock
from micro.config.read import read_config
from micro.runtime.options import RunnerOptions
from micro.runtime.single import SingleRunner
from micro.runtime.state import StateFolder, lasting_name
from micro.runtime.up import _runner

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stack_in_one_process_comes_back_under_the_name_that_it_had(tmp_path: Path) -> None:
    """So what it left in the outbox on a server is its own again at once, rather than when a lease has run out."""
    (tmp_path / "micro.toml").write_text('[services.far]\nurl = "http://127.0.0.1:9"\nroutes = ["/far"]\n')
    config = read_config(tmp_path, {})
    nobody: Any = SimpleNamespace(notice=print)
    options = RunnerOptions(folder=StateFolder(tmp_path), observer=nobody, stop=nobody, began=0.0)
    runners = [_runner(config, config.profile(), options, SystemClock()) for _ in range(2)]
    names = {each._system.shared.process for each in runners if isinstance(each, SingleRunner)}
    assert names == {lasting_name("stack", tmp_path)}
