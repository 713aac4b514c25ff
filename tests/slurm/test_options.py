from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from routenator.compose import load_config
from routenator.config import RunConfig
from routenator.errors import InputError, InputErrors
from slurm.devcluster.config import CORES, MEMORY_MB
from slurm.submission.options import (
    MANAGED_OPTIONS,
    SBATCH_OPTIONS,
    check_resources,
    node_hours,
    resources,
    sbatch_parameters,
)
from tests.slurm.conftest import make_config


def config(tmp_path: Path, stages: dict[str, Any] | None = None, **cluster: Any) -> Any:
    return make_config(tmp_path, cluster={"kind": "slurm", **cluster, "stages": stages or {}})


def test_resources_become_options(tmp_path: Path) -> None:
    stages = {
        "generate": {"cpus": 8, "memory_gib": 1.5, "gpus": 2, "minutes": 90, "partition": "a100", "extra": {"nice": 5}}
    }
    value = sbatch_parameters(
        config(tmp_path, stages, partition="main", account="team", exclusive=True, requeue=False), "generate"
    )
    assert value["partition"] == "a100" and value["account"] == "team"
    assert (value["cpus_per_task"], value["mem"], value["gpus_per_node"], value["time"]) == (8, "1536M", 2, 90)
    assert value["exclusive"] is True and "qos" not in value
    assert value["additional_parameters"] == {"kill-on-invalid-dep": "yes", "no-requeue": True, "nice": 5}


def test_gres_replaces_gpus_only_where_gpus_are_asked_for(tmp_path: Path) -> None:
    both = config(tmp_path, {"train": {"gpus": 4}}, gres="gpu:a100:4")
    assert sbatch_parameters(both, "train")["gres"] == "gpu:a100:4" and "gpus_per_node" not in sbatch_parameters(
        both, "train"
    )
    assert "gres" not in sbatch_parameters(both, "merge")


def test_extra_may_replace_a_generic_option_and_false_leaves_out(tmp_path: Path) -> None:
    value = sbatch_parameters(config(tmp_path, extra={"mem": 0, "mail_type": "FAIL", "hold": False}), "merge")
    assert "mem" not in value
    assert value["additional_parameters"]["mem"] == 0 and value["additional_parameters"]["mail-type"] == "FAIL"
    assert "hold" not in value["additional_parameters"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"extra": {"mail-typ": "END"}}, "nearest:  mail-type"),
        ({"extra": {"mail-typ": "END"}}, "account, acctg-freq"),
        ({"extra": {"array": "0-9"}}, "cluster.array_parallelism"),
        ({"stages": {"merge": {"extra": {"reservatoin": "x"}}}}, "cluster.stages.merge.extra.reservatoin"),
        ({"stages": {"generate": {"nodes": 2}}}, "generate.shards"),
        ({"stages": {"train": {"nodes": 2}}}, "train.nodes"),
        ({"stages": {"report": {"minutes": 2}}}, "signal_delay_s"),
    ],
)
def test_impossible_resources_are_refused(tmp_path: Path, bad: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_resources(config(tmp_path, **bad))
    assert said in str(caught.value)


def test_several_mistakes_are_shown_together(tmp_path: Path) -> None:
    with pytest.raises(InputErrors) as caught:
        check_resources(config(tmp_path, extra={"foo": 1, "bar": 2}))
    assert len(caught.value.errors) == 2


def test_nothing_is_both_free_and_managed() -> None:
    assert not SBATCH_OPTIONS & set(MANAGED_OPTIONS)


def test_node_hours_are_an_upper_bound(tmp_path: Path) -> None:
    cluster = config(tmp_path, {"generate": {"minutes": 90}}).cluster
    assert node_hours(cluster, "generate", 4) == 6.0


def test_a_second_round_has_the_resources_of_the_first(tmp_path: Path) -> None:
    """A profile written before there was one must not send a model's task to a node without GPUs."""
    profile = {"generate": {"gpus": 4, "minutes": 90, "partition": "gpu"}, "merge": {"memory_gib": 64}}
    one = config(tmp_path, {**profile, "refill": {"minutes": 30}})
    assert resources(one, "refill") == resources(one, "generate").model_copy(update={"minutes": 30})
    assert resources(one, "shortfall") == resources(one, "merge")
    assert node_hours(one.cluster, "refill", 4) == 2.0
    again = RunConfig.model_validate(one.model_dump())
    assert resources(again, "refill") == resources(one, "refill"), "a plan's config says the same"


def test_the_test_clusters_profile_fits_its_nodes() -> None:
    cluster = load_config("quickstart", ["cluster=devcluster"]).cluster
    assert len(cluster.stages) == 6
    for asked in cluster.stages.values():
        assert asked.cpus <= CORES and asked.memory_gib * 1024 <= MEMORY_MB and not asked.gpus, "its GPUs are not real"


def test_other_versions_options_of_slurm_26_05_are_allowed(tmp_path: Path) -> None:
    """``container-type`` and ``spread-segments`` were refused as unknown."""
    check_resources(config(tmp_path, extra={"container-type": "docker", "spread-segments": True}))
