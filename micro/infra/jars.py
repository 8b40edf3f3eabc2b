"""Kafka's jars: downloaded once by their Maven coordinates, each checked against the digest in `kafka.jars`."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from micro.errors import MicroError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

AT_ONCE = 6
STEPS = 10
"""How often the progress is told, at most, after the beginning."""
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
        except OSError:
            return False
        return len(content) == self.size and hashlib.sha256(content).hexdigest() == self.sha256


def pinned() -> list[Jar]:
    """What a broker of the pinned version consists of."""
    lines = Path(__file__).with_name("kafka.jars").read_text().splitlines()
    return [Jar(sha256, int(size), coordinate) for sha256, size, coordinate in map(str.split, lines)]


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where jars are kept for all stacks of a person: `$XDG_CACHE_HOME/micro/jars`, else below `~/.cache`."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "micro" / "jars"


def fetch(
    jars: Iterable[Jar], cache: Path, tell: Callable[[str], None], *, stop: Event | None = None
) -> list[Path]:
    """The paths of `jars`, those that are missing downloaded. Blocks; once `stop` is set, no longer than for a few bytes.

    `tell` is given the progress in bytes. Raises `DownloadFailed` and `MissingExtra`.
    """
    jars = list(jars)
    missing = [jar for jar in jars if not jar.is_in(cache)]
    if missing:
        try:
            _fill(cache, missing, tell, stop or Event())
        except OSError as error:
            raise DownloadFailed(f"Kafka can't be kept in {cache}: {error.strerror}") from error
    return [cache / jar.path for jar in jars]


def _fill(cache: Path, missing: Sequence[Jar], tell: Callable[[str], None], stop: Event) -> None:
    total, done = sum(jar.size for jar in missing), 0
    cache.mkdir(parents=True, exist_ok=True)
    tell(_progress(done, total))
    with TemporaryDirectory(prefix="partial-", dir=cache) as fresh, ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for jar in pool.map(lambda jar: _download(jar, cache, Path(fresh), stop), missing):
                before, done = done, done + jar.size
                if done * STEPS // total > before * STEPS // total:
                    tell(_progress(done, total))
        finally:
            stop.set()  # after a failure, what is under way is in vain


def _progress(done: int, total: int) -> str:
    return f"downloading Kafka: {done / 1e6:.1f} of {total / 1e6:.1f} MB"


def _download(jar: Jar, cache: Path, fresh: Path, stop: Event) -> Jar:
    try:
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 # loaded when first used, once per machine
    except ImportError as error:
        raise MissingExtra("micro infra", "infra") from error

    def go_on(_count: int = 0) -> None:
        if stop.is_set():
            raise DownloadFailed(f"Kafka isn't downloaded: stopped at {jar.coordinate}")

    @contextmanager
    def watched(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield go_on

    go_on()
    group, artifact, version = jar.coordinate.split(":")
    resolver = PythonResolver(progress_callback=watched)
    context = MavenContext(resolver=resolver, repo_cache=fresh, timeout=TIMEOUT)
    target = cache / jar.path
    try:
        found = Path(context.project(group, artifact).at_version(version).artifact().resolve())
    except (OSError, RuntimeError) as error:  # what requests raises is an OSError
        raise DownloadFailed(
            f"Kafka can't be downloaded ({jar.coordinate}: {error}); the first start needs the network, "
            "or an installed Kafka: set KAFKA_HOME"
        ) from error
    if not jar.is_in(fresh):
        raise DownloadFailed(f"{jar.coordinate} is not the file that was pinned: its SHA-256 differs")
    target.parent.mkdir(parents=True, exist_ok=True)
    found.replace(target)
    return jar
