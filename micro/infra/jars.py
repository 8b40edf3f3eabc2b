"""Kafka's jars: downloaded once by their Maven coordinates, each checked against the digest in `kafka.jars`."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from micro.errors import MicroError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

AT_ONCE = 6
STEPS = 10
"""How often the progress is told, at most."""
TIMEOUT = 20
"""Seconds without a byte after which a download has failed."""


class DownloadFailed(MicroError):
    """A jar can't be had, or isn't the one that was pinned."""


class Jar(NamedTuple):
    """One line of `kafka.jars`."""

    sha256: str
    size: int
    coordinate: str
    """`group:artifact:version`."""

    @property
    def path(self) -> Path:
        """Where it lies in a cache: as in a Maven repository."""
        group, artifact, version = self.coordinate.split(":")
        return Path(*group.split("."), artifact, version, f"{artifact}-{version}.jar")

    def is_in(self, cache: Path) -> bool:
        """Whether the cache has it, whole and unchanged."""
        try:
            content = (cache / self.path).read_bytes()
        except FileNotFoundError:
            return False
        return len(content) == self.size and hashlib.sha256(content).hexdigest() == self.sha256


def pinned() -> list[Jar]:
    """What a broker of the pinned version consists of."""
    lines = Path(__file__).with_name("kafka.jars").read_text().splitlines()
    return [Jar(sha256, int(size), coordinate) for sha256, size, coordinate in map(str.split, lines)]


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where jars are kept for all stacks of a person: `$XDG_CACHE_HOME/micro/jars`, else below `~/.cache`."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "micro" / "jars"


def fetch(jars: Iterable[Jar], cache: Path, tell: Callable[[str], None]) -> list[Path]:
    """The paths of `jars`, those that are missing downloaded. Blocks.

    `tell` is given the progress in bytes. Raises `DownloadFailed` and `MissingExtra`.
    """
    jars = list(jars)
    missing = [jar for jar in jars if not jar.is_in(cache)]
    total, done = sum(jar.size for jar in missing), 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for jar in pool.map(lambda jar: _download(jar, cache), missing):
            before, done = done, done + jar.size
            if done * STEPS // total > before * STEPS // total:
                tell(f"downloading Kafka: {done / 1e6:.1f} of {total / 1e6:.1f} MB")
    return [cache / jar.path for jar in jars]


def _download(jar: Jar, cache: Path) -> Jar:
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415 # loaded when first used, once per machine
    except ImportError as error:
        raise MissingExtra("micro infra", "infra") from error
    fresh = cache / f"partial-{os.getpid()}"
    group, artifact, version = jar.coordinate.split(":")
    context = MavenContext(repo_cache=fresh, timeout=TIMEOUT)
    target = cache / jar.path
    try:
        found = Path(context.project(group, artifact).at_version(version).artifact().resolve())
    except (OSError, RuntimeError) as error:  # what requests raises is an OSError
        raise DownloadFailed(
            f"Kafka can't be downloaded ({jar.coordinate}: {error}); the first start needs the network, "
            "or an installed Kafka: set KAFKA_HOME"
        ) from error
    if not jar.is_in(fresh):
        found.unlink()
        raise DownloadFailed(f"{jar.coordinate} is not the file that was pinned: its SHA-256 differs")
    target.parent.mkdir(parents=True, exist_ok=True)
    found.replace(target)
    return jar
