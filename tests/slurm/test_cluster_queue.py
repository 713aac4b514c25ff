"""sinfo, squeue and sshare as captured from Slurm 22.05; the real cluster is in tests/cluster/test_watch.py."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from routenator.errors import InputError
from slurm.submission.queue import parse_sacct
from slurm.watching.cluster_queue import (
    ClusterError,
    ClusterView,
    count_jobs,
    node_state,
    parse_sinfo,
    parse_sshare,
    read_cluster,
)
from slurm.watching.cluster_view import cluster_tables
from slurm.watching.exporter import cluster_metrics

SINFO = """\
n1|mixed|gpu:a100:4(S:0-1)|gpu:a100:3(IDX:0-2)|gpu|2/6/0/8|1-00:00:00|up|
n1|mixed|gpu:a100:4(S:0-1)|gpu:a100:3(IDX:0-2)|main*|2/6/0/8|infinite|up|
n2|idle|gpu:a100:2,gpu:h100:2|gpu:a100:0(IDX:N/A),gpu:h100:0(IDX:N/A)|main*|0/8/0/8|infinite|up|
n3|mixed+drain|gpu:4|gpu:1(IDX:0)|main*|4/0/4/8|infinite|up|
n4|down+not_responding|(null)|gpu:0|main*|0/0/8/8|infinite|up|
n5|allocated|(null)|gpu:0|old|8/0/0/8|infinite|inactive|
"""
SQUEUE = """\
12_[2-3,5%2]|main|PENDING|ann|Priority|N/A|2|cpu=1,mem=100M,node=1,billing=1|gres:gpu:2|N/A|run.generate|
12_0|main|RUNNING|ann|None|1795530268|2|cpu=2,mem=100M,node=2,billing=2,gres/gpu=4,\
gres/gpu:a100=4|gres:gpu:2|N/A|run.generate|
13|main,gpu|PENDING|bob|Resources|1795530900|1|cpu=1|N/A|gres:gpu:3|a|name|
14|gpu|PENDING|bob|ReqNodeNotAvail, UnavailableNodes:n4|1795530300|1|cpu=1|gres:gpu:a100:1|N/A|x|
15|main|COMPLETING|bob|None|1795530268|1|cpu=1|N/A|N/A|y|
"""


@pytest.fixture
def view() -> ClusterView:
    seen = ClusterView(1795530200.0, list(parse_sinfo(SINFO).values()), [], {}, [], [])
    count_jobs(SQUEUE, seen)
    return seen


def test_partitions_add_up_their_nodes() -> None:
    partitions = parse_sinfo(SINFO)
    assert list(partitions) == ["main", "gpu", "old"], "the default first"
    main = partitions["main"]
    assert main.default and main.time_limit == "infinite"
    assert {state: count for state, count in main.nodes.items() if count} == {
        "mixed": 1,
        "idle": 1,
        "drained": 1,
        "down": 1,
    }
    assert (main.cpus_total, main.cpus_free) == (32, 14), "drained and down nodes have nothing free"
    assert main.gpus_total == {"a100": 6, "h100": 2, "gpu": 4}
    assert main.gpus_free == {"a100": 3, "h100": 2, "gpu": 0}
    assert (
        partitions["gpu"].nodes["mixed"] == 1
        and partitions["gpu"].gpus_free == {"a100": 1}
        and partitions["old"].state == "inactive"
    )


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("idle", "idle"),
        ("IDLE+PLANNED", "idle"),
        ("mixed", "mixed"),
        ("allocated+completing", "allocated"),
        ("idle+drain", "drained"),
        ("down+drain", "down"),
        ("idle+not_responding", "down"),
        ("idle*", "down"),
        ("idle+reserved", "other"),
        ("idle+maint", "other"),
        ("idle+power_down", "other"),
    ],
)
def test_states_of_nodes(state: str, word: str) -> None:
    assert node_state(state) == word


def test_jobs_are_counted_by_task(view: ClusterView) -> None:
    ann, bob = view.users
    assert (ann.user, ann.tasks, ann.nodes, ann.gpus, ann.gpus_pending) == (
        "ann",
        {"pending": 3, "running": 1},
        2,
        4,
        12,
    )
    assert (bob.tasks, bob.gpus_pending) == ({"pending": 2, "completing": 1}, 4)
    assert view.reasons == {"Priority": 3, "Resources": 1, "ReqNodeNotAvail": 1}
    main, gpu, _ = view.partitions
    assert (main.running, main.pending, gpu.pending) == (1, 4, 2), "a task submitted to two partitions counts in both"
    assert [(start.job, start.name) for start in view.starts] == [("14", "x"), ("13", "a|name")]


# Each line is one of Slurm's: only the type and the number of GPUs are those of other sites.
DIGITS = """\
n1|mixed|gpu:3090:4(S:0-1)|gpu:3090:3(IDX:0-2)|main*|2/6/0/8|infinite|up|
n2|idle|gpu:1g.10gb:7,gpu:2080ti:4|gpu:1g.10gb:2(IDX:0,3),gpu:2080ti:0(IDX:N/A)|main*|0/8/0/8|infinite|up|
"""
OFF = """\
n1|idle+cloud+powered_down|gpu:fake:4|gpu:fake:0(IDX:N/A)|main*|0/8/0/8|infinite|up|
n2|idle+not_responding+powering_up|gpu:fake:4|gpu:fake:0(IDX:N/A)|main*|0/8/0/8|infinite|up|
n3|idle+powering_down|gpu:fake:4|gpu:fake:0(IDX:N/A)|main*|0/8/0/8|infinite|up|
n4|down+not_responding+powered_down|gpu:fake:4|gpu:fake:0(IDX:N/A)|main*|0/0/8/8|infinite|up|
"""


def exported(sinfo: str) -> dict[tuple[str, ...], float]:
    seen = ClusterView(1795530200.0, list(parse_sinfo(sinfo).values()), [], {}, [], [])
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in cluster_metrics(seen)
        for sample in family.samples
    }


def test_F1_a_gpu_type_may_begin_with_a_digit() -> None:
    """``gpu:3090:4`` was read as 3,090 GPUs, ``1g.10gb:7`` as 1, ``2080ti:4`` as 2080."""
    (main,) = parse_sinfo(DIGITS).values()
    assert main.gpus_total == {"3090": 4, "1g.10gb": 7, "2080ti": 4}
    assert main.gpus_free == {"3090": 1, "1g.10gb": 5, "2080ti": 4}
    metrics = exported(DIGITS)
    assert metrics["routenator_partition_gpus", "main", "3090"] == 4
    assert metrics["routenator_partition_gpus_free", "main", "1g.10gb"] == 5


@pytest.mark.parametrize(
    ("alloc", "per_node", "per_job", "gpus"),
    [
        ("cpu=1,mem=100M,node=2,billing=1", "gres:gpu:3090:4", "N/A", 8),
        ("cpu=1,mem=100M,node=2,billing=1", "gres/gpu:1g.10gb:7", "N/A", 14),
        ("cpu=1,mem=100M,node=2,billing=1", "gres:gpu:a100", "N/A", 2),
        ("cpu=1,mem=100M,node=2,billing=1", "N/A", "gres:gpu:2080ti:3", 3),
        ("cpu=2,node=2,gres/gpu=4,gres/gpu:3090=4", "gres:gpu:3090:2", "N/A", 4),
        ("cpu=2,node=2,gres/gpu:3090=4", "gres:gpu:3090:2", "N/A", 4),
    ],
)
def test_F1_a_request_for_such_a_type_is_counted(alloc: str, per_node: str, per_job: str, gpus: int) -> None:
    """In squeue's forms, of old and new versions; the last cluster accounts for GPUs by type only."""
    seen = ClusterView(0.0, [], [], {}, [], [])
    count_jobs(f"12|main|PENDING|ann|Priority|N/A|2|{alloc}|{per_node}|{per_job}|name|\n", seen)
    assert seen.users[0].gpus_pending == gpus


def test_F1_accounting_by_type_only_counts_too() -> None:
    """Where ``AccountingStorageTRES`` names a type only, the GPU-hours of a run were guessed from its profile."""
    line = "5|COMPLETED|0:0|n1|100|100|160|60|1|billing=1,cpu=1,gres/gpu:3090=4,mem=1M,node=1|name\n"
    (attempt,) = parse_sacct(line)[1]["5", "name"]
    assert attempt.gpus == 4


def test_F2_nodes_that_slurm_switches_off_are_not_down() -> None:
    """An auto-scaling site looked dead: ``idle+cloud+powered_down`` was called down."""
    (main,) = parse_sinfo(OFF).values()
    assert {state: count for state, count in main.nodes.items() if count} == {"idle": 2, "other": 1, "down": 1}
    assert (main.cpus_free, main.gpus_free) == (16, {"fake": 8})
    metrics = exported(OFF)
    assert metrics["routenator_partition_nodes", "main", "idle"] == 2
    assert metrics["routenator_partition_cores_free", "main"] == 16


@pytest.mark.parametrize("state", ["down", "drain", "inactive"])
def test_F3_nothing_is_free_in_a_partition_that_is_not_up(state: str) -> None:
    """A partition that is down showed its cores as free."""
    text = f"n1|idle|gpu:fake:4|gpu:fake:0(IDX:N/A)|main*|0/8/0/8|infinite|{state}|\n"
    (main,) = parse_sinfo(text).values()
    assert (main.cpus_total, main.cpus_free, main.gpus_total, main.gpus_free) == (8, 0, {"fake": 4}, {"fake": 0})
    metrics = exported(text)
    assert metrics["routenator_partition_cores_free", "main"] == metrics["routenator_partition_up", "main"] == 0


def test_fair_share_is_left_out_where_there_is_none() -> None:
    assert parse_sshare("root|root|1||0.000000|0.000000\nphysics|||1.0|0.2|\n") == []
    (share,) = parse_sshare("physics||10|0.500000|0.250000|\nphysics|ann|1|0.100000|0.250000|0.176777\n")
    assert (share.account, share.user, share.shares, share.usage, share.fair_share) == (
        "physics",
        "ann",
        0.1,
        0.25,
        0.176777,
    )


@pytest.mark.parametrize("name", ["sinfo", "squeue", "sshare"])
def test_A5_an_answer_of_unexpected_width_is_said(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its lines were dropped, and the cluster seemed to have fewer nodes and jobs. Stand-ins for the three commands."""
    answers = {"sinfo": SINFO, "squeue": SQUEUE, "sshare": "physics|ann|1|0.1|0.2|0.3\n"}
    for command, text in (answers | {name: answers[name] + "a|line\n"}).items():
        (tmp_path / f"{command}.txt").write_text(text)
        (tmp_path / command).write_text(f"#!/bin/sh\n/bin/cat {tmp_path}/{command}.txt\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=rf"^{name}: unreadable answer: a\|line$"):
        read_cluster()
    (tmp_path / f"{name}.txt").write_text(answers[name])
    assert read_cluster().fair_share[0].account == "physics"


def test_it_fits_80_columns_and_is_json(view: ClusterView) -> None:
    view.fair_share = parse_sshare("physics|ann|1|0.100000|0.250000|0.176777\n")
    out = StringIO()
    Console(file=out, width=80).print(cluster_tables(view))
    text = out.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    for said in (
        "main*",
        "old (inactive)",
        "a100 3/6",
        "jobs with higher priority are ahead (Priority)",
        "11m40s",
        "fair share of ann in physics: 0.177",
    ):
        assert said in text, text
    assert json.loads(json.dumps(view.as_dict()))["partitions"][0]["gpus_free"]["a100"] == 3


def test_without_slurm_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="there is no Slurm on this machine"):
        read_cluster()
