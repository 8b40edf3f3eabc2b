"""Does what a Markdown page shows, in the order of the page, as a person would.

A `console` block holds commands: a line that starts with `$ ` is one (with a backslash at its end it goes on in the next
line), what follows is its expected output, in which `…` stands for anything. Both output streams are compared, spaces
apart. A command that shows no output may print what it likes, but must succeed. All commands of one page share one shell,
so variables last. Besides:

- A command that keeps running (`micro up`) is started in the background and waited for.
- A command that only looks (`micro dlq list`, `micro call GET …`) is repeated until it prints what the page shows: what
  happens by events takes a moment.

A block whose language is followed by `title="shop/service.py"` is a file: it is written into the page's folder. Where it
replaces a file while a stack runs, the next step waits until the stack has said what it made of the edit.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = re.compile(r'^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
STAYS = re.compile(r"(micro up|make up|make prod|python -m micro up)\b(?!.*--detach)")
LOOKS = re.compile(r"micro (call GET|db shell|dlq (list|inspect)|events (list|stats|trace)|logs|ps)\b")
VERDICT = re.compile("reloaded|restart needed|in force|stay as they were")
"""What a stack says about an edit."""
MARK = "__end_of_command__"
DEADLINE = 180.0
PATIENCE = 15
"""Times that a command which only looks is run; each takes some tenths of a second."""


@dataclass
class File:
    """A file that the page shows."""

    path: str
    text: str


@dataclass
class Step:
    """One command and what the page says it prints."""

    command: str
    expected: list[str] = field(default_factory=list)

    @property
    def stays(self) -> bool:
        """Whether the command runs until it is stopped."""
        return STAYS.match(self.command) is not None

    @property
    def looks(self) -> bool:
        """Whether the command changes nothing."""
        return LOOKS.match(self.command) is not None

    def matches(self, output: str) -> bool:
        """Whether `output` is what the page shows, spaces apart; a page that shows nothing accepts anything."""
        pattern = r"\s+".join(
            r"\s*".join(re.escape(part) for part in word.split("…")).replace(r"\s*", ".*?")
            for word in " ".join(self.expected).split()
        )
        return not self.expected or re.fullmatch(rf"\s*{pattern}\s*", output, re.DOTALL) is not None


def parts(page: str) -> list[Step | File]:
    """The commands and files of a page, in order."""
    found: list[Step | File] = []
    for language, title, text in BLOCK.findall(page):
        if title:
            found.append(File(title, text))
        elif language == "console":
            found += steps(text)
    return found


def steps(block: str) -> list[Step]:
    """The commands of one block."""
    found: list[Step] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Step(line[2:]))
        elif found and found[-1].command.endswith("\\"):
            found[-1].command += "\n" + line
        elif found:
            found[-1].expected.append(line)
    return found


class Shell:
    """A bash in which the commands of one page run, with the stack they start."""

    def __init__(self, folder: Path, environment: dict[str, str], ports: dict[str, str]) -> None:
        self.folder, self.ports = folder, ports
        self.logs = folder.with_name(f"{folder.name}-up")  # not in the folder: the stack watches it
        self.logs.mkdir()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | environment | {"PATH": path, "NO_COLOR": "1"}
        self.background: list[subprocess.Popen[str]] = []
        self.bash = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder, env=self.environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def translate(self, text: str) -> str:
        """The page's well-known ports as the free ones that this run uses."""
        for shown, used in self.ports.items():
            text = re.sub(rf"\b{shown}\b", used, text)
        return text

    def check(self, step: Step) -> None:
        """Run a command. Raises `AssertionError` where it does not print what the page shows."""
        shown = Step(self.translate(step.command), [self.translate(line) for line in step.expected])
        output = self.run(shown)
        for _ in range(PATIENCE if shown.looks else 0):
            if shown.matches(output):
                break
            output = self.run(shown)
        expected = "\n".join(shown.expected)
        assert shown.matches(output), f"$ {shown.command}\n{output}\n--- the page shows:\n{expected}"

    def run(self, step: Step) -> str:
        """What a command printed."""
        if step.stays:
            return self.start(step.command)
        assert self.bash.stdin is not None
        self.bash.stdin.write(f"{step.command}\ncode=$?; echo; echo {MARK} $code\n")
        self.bash.stdin.flush()
        output, code = self._read(step.command)
        assert step.expected or code == 0, f"$ {step.command}\n{output}\n--- ended with {code}"
        return output

    def write(self, file: File) -> None:
        """Put a file where the page says."""
        path = self.folder / file.path
        runs = bool(self.background) and self.background[-1].poll() is None
        edited, before = runs and path.exists(), self._verdicts()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.translate(file.text))
        pause = threading.Event()
        for _ in range(int(DEADLINE / 0.05)):
            if not edited or self._verdicts() > before or self.background[-1].poll() is not None:
                return
            pause.wait(0.05)
        raise AssertionError(f"the stack did not notice the edit of {file.path}")

    def _verdicts(self) -> int:
        """How often the running stack has said what it made of an edit."""
        if not self.background:
            return 0
        return len(VERDICT.findall((self.logs / str(len(self.background) - 1)).read_text()))

    def _read(self, command: str) -> tuple[str, int]:
        """What the shell prints up to the mark, and the exit code beside it."""
        assert self.bash.stdout is not None
        patience = threading.Timer(DEADLINE, os.killpg, (self.bash.pid, signal.SIGKILL))
        patience.start()
        lines: list[str] = []
        try:
            for line in self.bash.stdout:
                if line.startswith(MARK):
                    return "".join(lines), int(line.split()[1])
                lines.append(line)
        finally:
            patience.cancel()
        raise AssertionError(f"the shell ended during: {command}\n{''.join(lines)}")

    def start(self, command: str) -> str:
        """Start a stack and wait until it is ready."""
        log = self.logs / str(len(self.background))
        with log.open("w") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder, env=self.environment, text=True, stdout=out, stderr=out,
            )  # fmt: skip
        self.background.append(process)
        waited = subprocess.run(
            ["micro", "wait", "--timeout", "30s"],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=DEADLINE,
        )  # fmt: skip
        assert waited.returncode == 0, f"{command}: {waited.stdout}{waited.stderr}\n{log.read_text()}"
        return log.read_text()

    def close(self) -> None:
        """End everything that was started."""
        for process in self.background:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.background:
            process.wait(60)
        os.killpg(self.bash.pid, signal.SIGTERM)  # with what a page left running in the background
        self.bash.communicate()
