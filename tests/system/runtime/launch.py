"""Runs a stack as `micro up` does, and says on stdout, one JSON object a line, what its observer is told.

python launch.py FOLDER [--no-reload] [SERVICE…]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from micro.config.read import read_config
from micro.errors import MicroError
from micro.runtime.ending import leave
from micro.runtime.settings import Choice
from micro.runtime.up import UpOptions, up


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


class Observer:
    def ready(self, report: Any) -> None:
        say(ready=report.as_dict())

    def stopping(self) -> None:
        say(stopping=True)

    def notice(self, text: str) -> None:
        say(notice=text)


def main() -> int:
    folder, *rest = sys.argv[1:]

    def read() -> Any:
        return read_config(Path(folder), os.environ)

    names = tuple(word for word in rest if not word.startswith("--"))
    choice = Choice(names=names, depends="--no-deps" not in rest)
    options = UpOptions(choice=choice, reload="--no-reload" not in rest, read=read)
    try:
        config = read()
        up(config, config.profile(), observer=Observer(), options=options)
    except MicroError as error:
        say(error=str(error))
        return 2
    return 0


if __name__ == "__main__":
    code = main()
    leave(code)
    sys.exit(code)
