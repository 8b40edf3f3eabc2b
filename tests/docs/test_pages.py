"""Every command in README, docs and examples does what the page says."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from importlib import util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = util.spec_from_file_location("console", Path(__file__).with_name("console.py"))
assert SPEC is not None
assert SPEC.loader is not None
console = util.module_from_spec(SPEC)
sys.modules["console"] = console
SPEC.loader.exec_module(console)

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("README.md")),
]
WITH_COMMANDS = [page for page in PAGES if console.parts(page.read_text())]
WELL_KNOWN = range(8000, 8030)


def free_ports() -> dict[str, str]:
    """For each well-known port one that nothing listens on, in the same order without a gap.

    Below those that the kernel gives to clients: a service without a port of its own gets the one above the gateway's.
    """
    while True:
        shift = 12_000 + secrets.randbelow(12_000)
        with ExitStack() as probes:
            try:
                for port in WELL_KNOWN:
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port + shift))
            except OSError:
                continue
        return {str(port): str(port + shift) for port in WELL_KNOWN}


def prepare(page: Path, folder: Path, ports: dict[str, str]) -> None:
    """A copy of what the page's reader has in front of them, on ports that are free here."""
    if page.parent.parent == ROOT / "examples":
        shutil.copytree(page.parent, folder, dirs_exist_ok=True)
    else:
        shutil.copy(ROOT / "Makefile", folder)
        (folder / ".venv").mkdir()
        (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        (folder / "requirements").mkdir()
        for prerequisite in ("pyproject.toml", "requirements/dev.lock"):
            (folder / prerequisite).touch()
            os.utime(folder / prerequisite, (0, 0))
        (folder / ".venv" / "dev").touch()  # all is installed, says make, and what that needs is older
    for file in folder.rglob("service.py"):
        file.write_text(translated(file.read_text(), ports))
    file = folder / "micro.toml"
    file.write_text(configured(file.read_text() if file.exists() else "[stack]\nbuiltin = true\n", ports))


def configured(text: str, ports: dict[str, str]) -> str:
    """A `micro.toml` whose ports are free here, those included that it leaves to the defaults."""
    text = translated(text, ports)
    if "[gateway]" not in text:
        text += f"\n[gateway]\nport = {ports['8000']}\n"
    elif not re.search(r"^\[gateway\]\n([^\[]*\n)?port =", text, re.MULTILINE):
        text = text.replace("[gateway]\n", f"[gateway]\nport = {ports['8000']}\n")
    if "builtin = true" in text:
        for name, shown in (("user", "8001"), ("task", "8002"), ("notification", "8003")):
            text += f"\n[services.{name}]\nport = {ports[shown]}\n"
    return text


def translated(text: str, ports: dict[str, str]) -> str:
    """The page's ports as those of this run."""
    for shown, used in ports.items():
        for form in ("port = {}", "port={}", "127.0.0.1:{}"):
            text = text.replace(form.format(shown), form.format(used))
    return text


def marked(page: Path) -> object:
    """A page that starts servers is for where there are some."""
    marks = [pytest.mark.live] if "micro infra up" in page.read_text() else []
    return pytest.param(page, marks=marks, id=str(page.relative_to(ROOT)))


def follow(page: Path, folder: Path, parts: list[object]) -> None:
    """Do what the page says in the folder, in one shell, as a reader would type it."""
    ports = free_ports()
    prepare(page, folder, ports)
    shell = console.Shell(folder, {}, ports)
    try:
        for part in parts:
            if isinstance(part, console.Step):
                shell.check(part)
            else:
                text = configured(part.text, ports) if part.path == "micro.toml" else part.text
                shell.write(console.File(part.path, text))
    finally:
        shell.close()
        if (folder / ".micro" / "infra").exists():  # servers outlive the commands, and a page that fails
            subprocess.run([sys.executable, "-m", "micro", "infra", "down"], cwd=folder, check=True)


@pytest.mark.parametrize("page", [*map(marked, WITH_COMMANDS)])
def test_every_command_prints_what_the_page_shows(page, tmp_path):
    """The commands of a page run in order."""
    follow(page, tmp_path, console.parts(page.read_text()))


@pytest.mark.live
def test_the_tour_of_the_readme_is_the_same_in_many_processes_on_real_servers(tmp_path):
    """It is started as the README says for that, with pip and from a clone; every other command stays as it is."""
    page = ROOT / "README.md"
    parts = console.parts(page.read_text())
    starts = [part for part in parts if part.command == "micro up"]
    assert len(starts) == 2
    for start, command in zip(starts, ("micro up --prod --infra", "make prod"), strict=True):
        assert re.search(rf"^{command}(?=\s)", page.read_text(), re.MULTILINE)
        start.command = command
    follow(page, tmp_path, parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_compile(page):
    """A `python` block is at least Python; those that tell a whole program are examples, which run."""
    for language, _, text in console.BLOCK.findall(page.read_text()):
        if language == "python":
            compile(text, str(page), "exec", flags=0x2000)  # top-level await


def test_the_readme_names_commands_that_exist():
    """Every `make` target in the README is one."""
    known = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = {
        line.split()[1] for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("make ")
    }
    assert all(f"make {name}" in known for name in named)


HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ANCHOR = re.compile(r"\]\((?!\w+:)([^)#\s]*)#([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """What a link to one of its headings ends with: its words in lower case, with hyphens, without marks."""
    heads = HEADING.findall(console.BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_heading_that_a_link_names_is_there(page):
    links = ANCHOR.findall(page.read_text())
    assert [
        link for link in links if link[1] not in anchors(page.parent / link[0] if link[0] else page)
    ] == []


def test_an_environment_that_could_not_be_made_is_made_again_by_the_next_make(tmp_path):
    """Debian's Python without python3-venv leaves one that lacks pip, and says what to install."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nmkdir -p .venv/bin && touch .venv/bin/python; echo once more; exit 1\n")
    python.chmod(0o755)
    for _ in range(2):
        done = subprocess.run(
            ["make", ".venv/bin/python", f"PYTHON={python}"],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "once more" in done.stdout
