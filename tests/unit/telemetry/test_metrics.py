"""Counters, gauges and histograms, and their text form."""

from __future__ import annotations

import math

import pytest

from micro.telemetry.metrics import OTHER, SECONDS, Metrics


def lines(metrics: Metrics) -> list[str]:
    return [line for line in metrics.render().splitlines() if not line.startswith("#")]


def test_nothing_renders_as_nothing():
    assert Metrics().render() == ""


def test_a_counter_without_labels_shows_zero_before_it_counts():
    metrics = Metrics()
    metrics.counter("jobs_total", "Jobs done.")
    assert metrics.render() == "# HELP jobs_total Jobs done.\n# TYPE jobs_total counter\njobs_total 0\n"


def test_a_counter_counts():
    metrics = Metrics()
    jobs = metrics.counter("jobs_total", "Jobs done.")
    jobs.inc()
    jobs.inc(2.5)
    assert lines(metrics) == ["jobs_total 3.5"]


def test_each_combination_of_labels_is_a_series():
    metrics = Metrics()
    requests = metrics.counter("requests_total", "Requests.", ("method", "status"))
    requests.labels("GET", "200").inc()
    requests.labels("GET", "200").inc()
    requests.labels("PUT", "404").inc()
    assert lines(metrics) == [
        'requests_total{method="GET",status="200"} 2',
        'requests_total{method="PUT",status="404"} 1',
    ]


def test_looking_a_series_up_twice_gives_the_same_one():
    requests = Metrics().counter("requests_total", "Requests.", ("method",))
    assert requests.labels("GET") is requests.labels("GET")


def test_label_values_and_help_are_escaped():
    metrics = Metrics()
    metrics.counter("odd_total", 'A "quoted"\nback\\slash.', ("path",)).labels('a"b\\c\nd').inc()
    assert '# HELP odd_total A "quoted"\\nback\\\\slash.' in metrics.render()
    assert 'odd_total{path="a\\"b\\\\c\\nd"} 1' in metrics.render()


def test_a_wrong_number_of_labels_is_refused():
    requests = Metrics().counter("requests_total", "Requests.", ("method",))
    with pytest.raises(ValueError, match="takes the labels method"):
        requests.labels("GET", "200")


def test_series_beyond_the_limit_are_counted_as_other():
    metrics = Metrics(max_series=2)
    requests = metrics.counter("requests_total", "Requests.", ("path",))
    for number in range(10):
        requests.labels(f"/{number}").inc()
    assert lines(metrics) == [
        'requests_total{path="/0"} 1',
        'requests_total{path="/1"} 1',
        f'requests_total{{path="{OTHER}"}} 8',
    ]


def test_a_gauge_goes_up_and_down():
    metrics = Metrics()
    gauge = metrics.gauge("open", "Open connections.")
    gauge.set(5)
    gauge.labels().inc()
    gauge.labels().dec(4)
    assert lines(metrics) == ["open 2"]
    assert gauge.labels().value == 2


def test_a_watched_gauge_asks_when_it_is_printed():
    metrics = Metrics()
    waiting = [1, 2]
    metrics.gauge("waiting", "Waiting.").labels().watch(lambda: len(waiting))
    assert lines(metrics) == ["waiting 2"]
    waiting.append(3)
    assert lines(metrics) == ["waiting 3"]


def test_a_histogram_is_cumulative_and_a_value_on_a_bound_belongs_below_it():
    metrics = Metrics()
    seconds = metrics.histogram("seconds", "Time.", buckets=(0.1, 1))
    for value in (0.05, 0.1, 0.5, 2):
        seconds.observe(value)
    assert lines(metrics) == [
        'seconds_bucket{le="0.1"} 2',
        'seconds_bucket{le="1"} 3',
        'seconds_bucket{le="+Inf"} 4',
        "seconds_sum 2.65",
        "seconds_count 4",
    ]
    assert seconds.labels().count == 4


def test_a_histogram_with_labels_puts_the_bound_last():
    metrics = Metrics()
    metrics.histogram("seconds", "Time.", ("service",), buckets=(1,)).labels("task").observe(0.5)
    assert lines(metrics)[0] == 'seconds_bucket{service="task",le="1"} 1'
    assert lines(metrics)[-1] == 'seconds_count{service="task"} 1'


def test_the_default_buckets_ascend():
    assert list(SECONDS) == sorted(set(SECONDS))


@pytest.mark.parametrize("buckets", [(), (1, 1), (2, 1)])
def test_buckets_that_do_not_ascend_are_refused(buckets):
    with pytest.raises(ValueError, match="must ascend"):
        Metrics().histogram("seconds", "Time.", buckets=buckets)


def test_asking_again_for_a_name_gives_the_same_metric():
    metrics = Metrics()
    metrics.counter("jobs_total", "Jobs.", ("kind",)).labels("a").inc()
    metrics.counter("jobs_total", "Jobs.", ("kind",)).labels("a").inc()
    assert lines(metrics) == ['jobs_total{kind="a"} 2']


def test_a_known_name_of_another_shape_is_refused():
    metrics = Metrics()
    metrics.counter("jobs", "Jobs.")
    with pytest.raises(ValueError, match="jobs exists as a counter"):
        metrics.gauge("jobs", "Jobs.")
    with pytest.raises(ValueError, match="jobs exists"):
        metrics.counter("jobs", "Jobs.", ("kind",))
    metrics.histogram("seconds", "Time.", buckets=(1,))
    with pytest.raises(ValueError, match="seconds exists"):
        metrics.histogram("seconds", "Time.", buckets=(2,))


@pytest.mark.parametrize("name", ["", "1st", "with space", "dash-ed", "ok\n"])
def test_a_bad_metric_name_is_refused(name):
    with pytest.raises(ValueError, match="is not a metric name"):
        Metrics().counter(name, "Help.")


@pytest.mark.parametrize("label", ["le", "__name__", "a-b", ""])
def test_a_bad_label_name_is_refused(label):
    with pytest.raises(ValueError, match="is not a label name"):
        Metrics().counter("jobs_total", "Jobs.", (label,))


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e20, "1e+20"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (-3.0, "-3"), (0.1, "0.1")],
)
def test_numbers_are_written_as_prometheus_reads_them(value, text):
    metrics = Metrics()
    metrics.gauge("value", "A value.").set(value)
    assert lines(metrics) == [f"value {text}"]
