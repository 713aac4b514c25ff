"""Serves Prometheus metrics of the queue and the runs: ``exporter``.

Slurm is queried at a fixed interval and every scrape gets the last answer, so more scrapers put no more load on the
controller. Names follow Prometheus' conventions: base units (seconds, ratios), ``_total`` for counters.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from routenator.errors import InputError
from routenator.terminal import put
from slurm.watching.cluster_queue import ClusterView
from slurm.watching.run_status import RUN_STATES, STATES
from slurm.watching.runs import RunEntry

_PARTITION = ("partition",)
_STAGE = ("run", "stage")


class Gatherer(Collector):
    """Queries the sources and holds their last answers for scrapes.

    Args:
        sources: name -> function that returns its metrics. While a source raises, its metrics are absent from the
            scrape and the error is counted.
    """

    def __init__(self, sources: dict[str, Callable[[], Iterable[Metric]]]) -> None:
        self._sources = sources
        self._answers: dict[str, list[Metric]] = {name: [] for name in sources}
        self._errors = dict.fromkeys(sources, 0)
        self._gathers = 0
        self._seconds = dict.fromkeys(sources, 0.0)
        self._success: dict[str, float] = {}
        self._lock = threading.Lock()

    def gather(self) -> None:
        """Query every source once."""
        for name, source in self._sources.items():
            started = time.monotonic()
            answer: list[Metric] = []
            try:
                answer = list(source())
                failed = False
            except Exception as error:  # whatever went wrong, log it and keep the exporter running
                put(f"{name}: {type(error).__name__}: {error}", err=True)
                failed = True
            with self._lock:
                self._answers[name] = answer
                self._seconds[name] = time.monotonic() - started
                self._errors[name] += failed
                if not failed:
                    self._success[name] = time.time()
        with self._lock:
            self._gathers += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the last gather, and those of the exporter itself."""
        with self._lock:
            yield from (metric for answer in self._answers.values() for metric in answer)
            yield _counter(
                "routenator_exporter_gathers", "Times that the sources were queried.", (), [((), self._gathers)]
            )
            by_source = ("source",)
            errors = [((name,), count) for name, count in self._errors.items()]
            yield _counter("routenator_exporter_errors", "Times that a source could not be read.", by_source, errors)
            seconds = [((name,), value) for name, value in self._seconds.items()]
            yield _gauge(
                "routenator_exporter_gather_duration_seconds",
                "How long the last query of a source took.",
                by_source,
                seconds,
            )
            success = [((name,), value) for name, value in self._success.items()]
            yield _gauge(
                "routenator_exporter_last_success_timestamp_seconds",
                "When a source was last read successfully.",
                by_source,
                success,
            )

    def describe(self) -> Iterable[Metric]:
        """Return nothing; otherwise registering would already query Slurm."""
        return ()


def serve(gatherer: Gatherer, host: str, port: int, every_s: float, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        host: address to listen on.
        port: port to listen on; 0: any free one.
        every_s: seconds between gathers.
        ready: called with the port once the first gather is done and the port is open.

    Raises:
        InputError: the port cannot be opened.
    """
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        registry = CollectorRegistry()
        registry.register(gatherer)
        gatherer.gather()
        try:
            server, thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise InputError(
                "cannot listen on this address",
                key="--host, --port",
                found=f"{host}:{port}",
                expected=f"a free port ({error})",
            ) from None
        ready(server.server_port)
        while not stop.wait(every_s):
            gatherer.gather()
        server.shutdown()
        server.server_close()
        thread.join()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def cluster_metrics(view: ClusterView) -> Iterator[Metric]:
    """Yield the cluster's metrics: partitions, users, reasons, fair share."""
    parts = view.partitions
    nodes = [((item.name, state), count) for item in parts for state, count in item.nodes.items()]
    yield _gauge("routenator_partition_nodes", "Nodes of a partition by state.", ("partition", "state"), nodes)
    up = [((item.name,), float(item.state == "up")) for item in parts]
    yield _gauge("routenator_partition_up", "1 if the partition accepts and starts jobs.", _PARTITION, up)
    cores = [((item.name,), item.cpus_total) for item in parts]
    yield _gauge("routenator_partition_cores", "Cores of a partition.", _PARTITION, cores)
    free = [((item.name,), item.cpus_free) for item in parts]
    yield _gauge("routenator_partition_cores_free", "Free cores on nodes that accept jobs.", _PARTITION, free)
    by_type = ("partition", "type")
    gpus = [((item.name, kind), count) for item in parts for kind, count in item.gpus_total.items()]
    yield _gauge("routenator_partition_gpus", "GPUs of a partition.", by_type, gpus)
    gpus_free = [((item.name, kind), count) for item in parts for kind, count in item.gpus_free.items()]
    yield _gauge("routenator_partition_gpus_free", "Free GPUs on nodes that accept jobs.", by_type, gpus_free)
    tasks = [((item.name, state), getattr(item, state)) for item in parts for state in ("running", "pending")]
    yield _gauge(
        "routenator_partition_tasks", "Tasks of all users by partition and state.", ("partition", "state"), tasks
    )
    of_user = [((user.user, state), count) for user in view.users for state, count in user.tasks.items()]
    yield _gauge("routenator_user_tasks", "Tasks of a user by state.", ("user", "state"), of_user)
    user_gpus = [((user.user,), user.gpus) for user in view.users]
    yield _gauge("routenator_user_gpus", "GPUs of a user's running tasks.", ("user",), user_gpus)
    reasons = [((reason,), count) for reason, count in view.reasons.items()]
    yield _gauge("routenator_pending_tasks", "Pending tasks of all users by Slurm's reason.", ("reason",), reasons)
    shares = [((share.account, share.user), share.fair_share) for share in view.fair_share]
    yield _gauge(
        "routenator_fair_share_ratio", "Fair-share factor of the exporter's user, 0 to 1.", ("account", "user"), shares
    )


def run_metrics(entries: list[RunEntry]) -> Iterator[Metric]:
    """Yield the runs' metrics: states, shards, rows, throughput, ETA, resources used and wasted."""
    states = [
        ((entry.dir, state), float(entry.state == state)) for entry in entries for state in (*RUN_STATES, "unreadable")
    ]
    yield _gauge(
        "routenator_run_state", "1 for the current state of a run, 0 for the others.", ("run", "state"), states
    )
    created = [((entry.dir,), entry.created) for entry in entries]
    yield _gauge("routenator_run_created_timestamp_seconds", "When a run was planned.", ("run",), created)
    stages = [((entry.dir, stage.stage), stage) for entry in entries if entry.status for stage in entry.status.stages]
    shards = [((*key, state), getattr(stage, state)) for key, stage in stages for state in STATES]
    yield _gauge("routenator_stage_shards", "Shards of a stage by state.", (*_STAGE, "state"), shards)
    yield _gauge(
        "routenator_stage_rows",
        "Rows that a stage has produced so far.",
        _STAGE,
        [(key, stage.rows) for key, stage in stages],
    )
    progress = [(key, stage.fraction) for key, stage in stages]
    yield _gauge("routenator_stage_progress_ratio", "Fraction of a stage that is done, 0 to 1.", _STAGE, progress)
    rates = [((*key, stage.unit), stage.rate) for key, stage in stages if stage.running and stage.rate is not None]
    yield _gauge(
        "routenator_stage_units_per_second",
        "Rows, steps or queries per second, all running tasks together.",
        (*_STAGE, "unit"),
        rates,
    )
    tokens = [
        (key, stage.tokens_per_second) for key, stage in stages if stage.running and stage.tokens_per_second is not None
    ]
    yield _gauge("routenator_stage_tokens_per_second", "Tokens per second, all running tasks together.", _STAGE, tokens)
    eta = [(key, stage.eta_s) for key, stage in stages if stage.eta_s is not None]
    yield _gauge("routenator_stage_eta_seconds", "Estimated seconds to completion at the current rate.", _STAGE, eta)
    used = [(key, stage.usage) for key, stage in stages if stage.usage.attempts]
    attempts = [(key, usage.attempts) for key, usage in used]
    yield _counter("routenator_stage_attempts", "Times that tasks of a stage were started.", _STAGE, attempts)
    requeues = [(key, usage.requeued) for key, usage in used]
    yield _counter("routenator_stage_requeues", "Times that Slurm requeued tasks of a stage.", _STAGE, requeues)
    node_seconds = [(key, usage.node_hours * 3600) for key, usage in used]
    yield _counter("routenator_stage_node_seconds", "Node-seconds of all attempts.", _STAGE, node_seconds)
    gpu_seconds = [(key, usage.gpu_hours * 3600) for key, usage in used]
    yield _counter("routenator_stage_gpu_seconds", "GPU-seconds of all attempts.", _STAGE, gpu_seconds)
    known = [
        (key, usage)
        for key, usage in used
        if usage.wasted_node_hours is not None and usage.wasted_gpu_hours is not None
    ]
    wasted = [(key, (usage.wasted_node_hours or 0.0) * 3600) for key, usage in known]
    yield _counter(
        "routenator_stage_wasted_node_seconds", "Node-seconds of attempts that committed nothing.", _STAGE, wasted
    )
    wasted = [(key, (usage.wasted_gpu_hours or 0.0) * 3600) for key, usage in known]
    yield _counter(
        "routenator_stage_wasted_gpu_seconds", "GPU-seconds of attempts that committed nothing.", _STAGE, wasted
    )


Samples = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=labels)
    for values, number in samples:
        metric.add_metric(values, number)
    return metric


def _counter(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    metric = CounterMetricFamily(name, text, labels=labels)
    for values, number in samples:
        metric.add_metric(values, number)
    return metric
