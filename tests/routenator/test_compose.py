"""Configs: profiles, overrides, and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from routenator.compose import find_domain, load_config, write_config
from routenator.errors import InputError
from slurm.preflight.checks import check_engines
from tests.conftest import ROOT, TINY

MODEL = {"model": {"generator": {"model": "a"}, "trainee": "a", "embedder": "b"}, "train": {"epochs": 2, "lora_r": 4}}


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    root = tmp_path / "configs"
    for name, value in {
        "model/small": MODEL,
        "model/large": {"model": {**MODEL["model"], "trainee": "big"}},
        "cluster/local": {"cluster": {"kind": "local", "parallel": 2}},
        "cluster/slurm": {"cluster": {"kind": "slurm", "partition": "gpu"}},
        "run": {"name": "run", "domain": str(TINY), "model": "small", "cluster": "local", "train": {"epochs": 5}},
    }.items():
        file = root / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(value))
    return root


def test_overrides_take_precedence_over_the_config_and_the_config_over_profiles(configs):
    config = load_config("run", ["train.lora_r=32", "cluster=slurm", "cluster.partition=debug"], configs)
    assert (config.train.epochs, config.train.lora_r) == (5, 32)
    assert (config.cluster.kind, config.cluster.partition) == ("slurm", "debug")
    assert load_config("run", ["model=large"], configs).model.trainee == "big"


def test_the_model_profiles_compose_and_fit_their_tasks():
    for name in sorted(path.stem for path in (ROOT / "configs" / "model").glob("*.yaml")):
        config = load_config("creative", [f"model={name}"])
        check_engines(config)
        vision = config.model.vision
        assert (vision.kind == "vlm") == (name in ("llama-3.1-70b", "internvl-40b")) and (
            vision.kind == "described" or vision.engine
        )
    generic = load_config("creative", ["model=generic", "model.generator.model=/models/ours"])
    assert generic.model.generator.model == "/models/ours" and generic.model.generator.engines == "auto"
    assert load_config("creative", ["model=internvl-40b"]).model.vision.engine.tensor_parallel_size == 4


def test_a_mapping_on_the_command_line_replaces_the_configs(configs):
    overrides = ["generate.routes={heuristic: 1, text: 2}", "generate.routes.vision=3"]
    assert load_config("run", overrides, configs).generate.routes == {"heuristic": 1.0, "text": 2.0, "vision": 3.0}
    assert load_config("run", [*overrides, "generate.routes={text: 1}"], configs).generate.routes == {"text": 1.0}


def test_a_resolved_config_can_be_run_again_as_it_is(configs, tmp_path):
    config = load_config("run", ["seed=5"], configs)
    file = tmp_path / "again.yaml"
    file.write_text(write_config(config))
    assert load_config(file, [], configs) == config


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.lr=1"], ["unknown key", "train.lr", "run.yaml"]),
        (["train.epoch=1"], ["unknown key", "nearest:  epochs"]),
        (["trian.epochs=1"], ["unknown key", "nearest:  train"]),
        (["dataset.size=many"], ["dataset.size", "many", "integer"]),
        (["dataset.size=0"], ["dataset.size", "greater than or equal to 1"]),
        (["train.method=qlara"], ["train.method", "nearest:  qlora"]),
        (["cluster=slurn"], ["no such cluster profile", "nearest:  slurm"]),
        (["domain=creativ"], ["no such domain"]),
        (["cluster.stages.trian.cpus=2"], ["trian", "nearest:  train"]),
        (["cluster.stages.train.cpu=2"], ["unknown key", "nearest:  cpus"]),
        (["seed"], ["key=value"]),
        (["root=/data/x\ny"], ["line break", "root"]),
        (["generate.routes={heuristik: 1}"], ["heuristik", "nearest:  heuristic"]),
    ],
)
def test_bad_configs_are_refused(configs, overrides, expected):
    with pytest.raises(InputError) as error:
        load_config("run", overrides, configs)
    for part in expected:
        assert part in str(error.value)


def test_a_missing_config_is_refused(configs):
    with pytest.raises(InputError, match="no such config"):
        load_config("runn.yaml", [], configs)


def test_a_missing_config_is_sought_where_the_path_leads(configs, tmp_path):
    """``plan lib/runn.yaml`` proposed the configs of the package instead of lib/run.yaml."""
    (tmp_path / "lib").mkdir()
    for path in (tmp_path / "lib" / "runn.yaml", tmp_path / "lib"):
        with pytest.raises(InputError, match="a YAML file; here is none"):
            load_config(path, [], configs)
    (tmp_path / "lib" / "run.yaml").write_text("name: x\n")
    for path in (tmp_path / "lib" / "runn.yaml", tmp_path / "lib"):
        with pytest.raises(InputError, match="no such config") as caught:
            load_config(path, [], configs)
        assert caught.value.expected == f"one of {tmp_path / 'lib' / 'run.yaml'}"


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), ("just text", "text"), ("- a", "a list")])
def test_what_is_no_mapping_is_named_in_words_of_yaml(configs, text, found):
    """An empty config was refused with ``found: NoneType``."""
    (configs / "odd.yaml").write_text(text)
    with pytest.raises(InputError, match="not a config") as caught:
        load_config("odd", [], configs)
    assert caught.value.found == found


def test_every_shipped_config_is_valid():
    files = sorted((ROOT / "configs").glob("*.yaml"))
    assert files
    for file in files:
        for cluster in ("local", "slurm"):
            assert load_config(file, [f"cluster={cluster}"]).cluster.kind == cluster


def test_domains_are_found_by_name_and_by_path():
    assert find_domain(str(TINY)) == TINY
    with pytest.raises(InputError) as caught:
        find_domain("configs/domains/creativ")
    assert caught.value.nearest == "creative"


def test_a_domain_of_the_users_own_is_the_nearest_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pet").mkdir()
    (tmp_path / "pet" / "domain.yaml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such domain") as error:
        find_domain("pett")
    assert error.value.nearest == "pet"
