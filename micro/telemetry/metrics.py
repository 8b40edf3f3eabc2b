"""Counters, gauges and histograms, printed in Prometheus' text format.

Each `Metrics` is its own registry: nothing is global, so a reloaded module can't register a name twice. The format is
the text exposition format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/).

On a hot path look a series up once (`labels`) and keep it; `inc`, `set` and `observe` are then a few machine words.
What even a call is too much for adds to `Series.amount`, `Distribution.counts` and `.total` itself.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of `Metrics.render`."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Default buckets of a histogram: upper bounds in seconds."""

OTHER = "other"
"""What every label says of the one series that takes what is beyond `max_series`."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_LABEL = re.compile(r"(?!__|le\Z)[a-zA-Z_][a-zA-Z0-9_]*\Z")
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Series:
    """One value: of a counter or a gauge."""

    __slots__ = ("_read", "amount")

    def __init__(self) -> None:
        self.amount = 0.0
        """What was counted, where it is no series that watches something: to be added to on a hot path."""
        self._read: Callable[[], float] | None = None

    @property
    def value(self) -> float:
        """What the series says now."""
        return self.amount if self._read is None else self._read()

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`, which is not negative for a counter."""
        self.amount += amount

    def dec(self, amount: float = 1.0) -> None:
        """Subtract `amount`; for gauges."""
        self.amount -= amount

    def set(self, value: float) -> None:
        """Make it `value`; for gauges."""
        self.amount = value

    def watch(self, read: Callable[[], float]) -> None:
        """Ask `read` whenever the value is printed, instead of keeping one; for gauges."""
        self._read = read

    def watches(self, read: Callable[[], float]) -> bool:
        """Whether `read` is what it asks."""
        return self._read is read

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """The sample as text."""
        yield f"{name}{_braces(labels)} {_number(self.value)}"


class Distribution:
    """One series of a histogram."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """How many values were in each bucket, those beyond all bounds last."""
        self.total = 0.0
        """Their sum."""

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Count `value` into the bucket whose bound is the first at or above it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """The buckets, cumulative, then sum and count."""
        count_so_far = 0
        separator = "," if labels else ""
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            count_so_far += count
            yield f'{name}_bucket{{{labels}{separator}le="{_number(bound)}"}} {count_so_far}'
        yield f"{name}_sum{_braces(labels)} {_number(self.total)}"
        yield f"{name}_count{_braces(labels)} {count_so_far}"


S = TypeVar("S", Series, Distribution)


class Metric(ABC, Generic[S]):
    """All series of one name. Made by `Metrics`, not by hand."""

    kind: ClassVar[str]

    def __init__(self, name: str, help: str, *, labels: tuple[str, ...], max_series: int) -> None:
        if not _NAME.match(name):
            raise ValueError(f"{name!r} is not a metric name")
        for label in labels:
            if not _LABEL.match(label):
                raise ValueError(f"{name}: {label!r} is not a label name")
        self.name, self.help, self.label_names = name, help, labels
        self._max_series = max_series
        self._series: dict[tuple[str, ...], S] = {}
        if not labels:
            self.labels()

    @property
    def shape(self) -> tuple[object, ...]:
        """What two metrics of one name must agree on."""
        return (self.kind, self.label_names)

    def labels(self, *values: str) -> S:
        """The series of these label values, in the order of the label names; kept, so look it up once.

        A name has at most `max_series` series. Whatever comes later is counted in one series that says `other`, so a
        stranger who invents label values can't fill the memory.
        """
        series = self._series.get(values)
        return self._add(values) if series is None else series

    def _add(self, values: tuple[str, ...]) -> S:
        if len(values) != len(self.label_names):
            raise ValueError(f"{self.name} takes the labels {', '.join(self.label_names) or '(none)'}")
        if len(self._series) >= self._max_series:
            values = (OTHER,) * len(values)
        return self._series.setdefault(values, self._new())

    @abstractmethod
    def _new(self) -> S:
        """A series that has counted nothing."""

    def lines(self) -> Iterator[str]:
        """HELP, TYPE and every sample."""
        yield f"# HELP {self.name} {self.help.translate(_HELP_ESCAPES)}"
        yield f"# TYPE {self.name} {self.kind}"
        for values, series in list(self._series.items()):
            pairs = zip(self.label_names, values, strict=True)
            labels = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs)
            yield from series.lines(self.name, labels)


class Counter(Metric[Series]):
    """A number that only grows."""

    kind = "counter"

    def _new(self) -> Series:
        return Series()

    def inc(self, amount: float = 1.0) -> None:
        """Count in the series without labels."""
        self.labels().inc(amount)


class Gauge(Metric[Series]):
    """A number that goes up and down."""

    kind = "gauge"

    def _new(self) -> Series:
        return Series()

    def set(self, value: float) -> None:
        """Set the series without labels."""
        self.labels().set(value)

    def forget(self, *values: str, read: Callable[[], float]) -> None:
        """Print the series of these label values no longer, because what it told of is gone.

        Unless it does not watch `read` any more: whoever came after has taken it over.
        """
        series = self._series.get(values)
        if series is not None and series.watches(read):
            del self._series[values]


class Histogram(Metric[Distribution]):
    """How values spread over fixed buckets."""

    kind = "histogram"

    def __init__(
        self, name: str, help: str, *, labels: tuple[str, ...], max_series: int, bounds: tuple[float, ...]
    ) -> None:
        if not bounds or any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(f"{name}: buckets must ascend")
        self.bounds = bounds
        super().__init__(name, help, labels=labels, max_series=max_series)

    @property
    def shape(self) -> tuple[object, ...]:
        """Kind, labels and buckets."""
        return (*super().shape, self.bounds)

    def _new(self) -> Distribution:
        return Distribution(self.bounds)

    def observe(self, value: float) -> None:
        """Count in the series without labels."""
        self.labels().observe(value)


M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """A set of metrics. To ask for a known name again returns the same metric."""

    def __init__(self, *, max_series: int = 1000) -> None:
        self._max_series = max_series
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        """The counter of that name (by custom ending in `_total`).

        Raises `ValueError` for a bad name, and for a known one of another kind or with other labels.
        """
        return self._keep(Counter(name, help, labels=tuple(labels), max_series=self._max_series))

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
        """The gauge of that name. Raises `ValueError` as `counter` does."""
        return self._keep(Gauge(name, help, labels=tuple(labels), max_series=self._max_series))

    def histogram(
        self, name: str, help: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = SECONDS
    ) -> Histogram:
        """The histogram of that name; `buckets` are upper bounds in ascending order, the last (infinity) implied.

        Raises `ValueError` as `counter` does, and for buckets that do not ascend or differ from the known ones.
        """
        bounds = tuple(float(bound) for bound in buckets)
        return self._keep(
            Histogram(name, help, labels=tuple(labels), max_series=self._max_series, bounds=bounds)
        )

    def render(self) -> str:
        """Everything, as text of `CONTENT_TYPE`."""
        lines = [line for metric in list(self._metrics.values()) for line in metric.lines()]
        return "\n".join(lines) + "\n" if lines else ""

    def _keep(self, metric: M) -> M:
        known = self._metrics.setdefault(metric.name, metric)
        if known.shape != metric.shape:
            raise ValueError(f"{metric.name} exists as a {known.kind} of another shape: {known.shape}")
        return cast("M", known)


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _number(value: float) -> str:
    if not isfinite(value):
        return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}[str(float(value))]
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
