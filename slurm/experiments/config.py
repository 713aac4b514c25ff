"""Schema of an experiment's config, configs/experiments/NAME.yaml. docs/experiments.md explains it to users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from routenator.authoring.derive import DeriveOptions
from routenator.compose import load_config, split_override
from routenator.config import RunConfig, Section
from routenator.errors import InputError, value_kind
from routenator.parsing import parse_model, read_yaml
from routenator.place import CONFIGS

Measure = Literal[
    "function_f1_macro",
    "function_f1_micro",
    "functions_right",
    "cta",
    "ss",
    "exact_match",
    "argument_f1",
    "unparsable",
    "false_call",
    "missed_call",
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
CEILING = "real"  # name used in place of an arm if there are none
# Keys of the experiment that the command line may change.
OWN = ("name", "golden", "fit", "seeds", "reference", "measures", "folds")
# Settings that the experiment itself sets for its runs.
_OURS = ("name", "seed", "golden", "run_dir")
_COMMON = (*_OURS, "root", "cluster")  # must be equal for all arms


class Arm(Section):
    """One way of making the model.

    Attributes:
        title: name in tables; default: the arm's key.
        derive: derive another domain from the base's, by the options of ``domain derive``.
        init: make the domain anew by ``domain init``, from the base's functions and statistics alone.
        set: settings of this arm's runs only, dotted keys.
    """

    title: str = ""
    derive: DeriveOptions | None = None
    init: bool = False
    set: dict[str, Any] = Field(default_factory=dict)


class Experiment(Section):
    """An experiment: a question, and the runs that answer it.

    Attributes:
        name: name of the folder of results, and part of the runs' names.
        kind: ``arms``: compare models; ``distribution``: compare data with the statistics, train nothing; ``ceiling``:
            train on real queries.
        question: what is asked, for people.
        base: the run config that all runs start from: a file, or the name of one in configs.
        set: settings of all runs, dotted keys.
        golden: golden file of all arms; default: as in the base.
        fit: for kind: distribution, a file of queries to which ``domain fit`` fits the statistics of all arms; the data
            are then compared with the queries of ``golden`` instead of the statistics.
        seeds: seeds; each arm is run once with each.
        arms: the ways to compare, by name.
        reference: the arm that the others are compared to.
        measures: measures in tables.
        curves: arms that a curve joins; default: all, over the number of functions, if they differ in it.
        folds: number of parts of the real queries, for kind: ceiling.
    """

    name: Name
    kind: Literal["arms", "ceiling", "distribution"] = "arms"
    question: str
    base: str
    set: dict[str, Any] = Field(default_factory=dict)
    golden: str | None = None
    fit: str | None = None
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [1, 2, 3]
    arms: dict[Name, Arm] = Field(default_factory=dict)
    reference: str | None = None
    measures: Annotated[list[Measure], Field(min_length=1)] = ["function_f1_macro", "cta", "ss", "exact_match"]
    curves: dict[Literal["functions", "rows"], list[Name]] = Field(default_factory=dict)
    folds: Annotated[int, Field(ge=2)] = 5

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        if (self.kind == "ceiling") != (not self.arms):
            raise ValueError("kind: ceiling has no arms, and every other kind needs some")
        if self.kind == "distribution" and self.reference is not None:
            raise ValueError("kind: distribution compares each arm with the population, so it has no reference")
        if self.fit is not None and (self.kind != "distribution" or self.golden is None):
            raise ValueError("fit: needs kind: distribution, and golden with the queries to compare with")
        if self.reference is not None and self.reference not in self.arms:
            raise ValueError(f"reference: {self.reference} is not one of the arms: {', '.join(self.arms)}")
        for name, arm in self.arms.items():
            if arm.init and arm.derive is not None:
                raise ValueError(f"arms.{name}: init and derive cannot be combined")
        if any(arm.derive is not None and arm.derive.golden is not None for arm in self.arms.values()):
            raise ValueError("an arm cannot set derive.golden; `golden` is the golden file of all arms")
        for axis, names in self.curves.items():
            for name in names:
                if name not in self.arms:
                    raise ValueError(f"curves.{axis}: {name} is not one of the arms: {', '.join(self.arms)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed occurs twice")
        for where, settings, kept in [
            ("set", self.set, _OURS),
            *((f"arms.{name}.set", arm.set, _COMMON) for name, arm in self.arms.items()),
        ]:
            for key in settings:
                if key.partition(".")[0] in kept:
                    raise ValueError(f"{where}: {key} cannot be set here; the experiment sets it")
        return self

    @property
    def rows(self) -> list[str]:
        """Names of the rows in tables."""
        return list(self.arms) or [CEILING]

    def title(self, arm: str) -> str:
        """Return an arm's name in tables."""
        return (self.arms[arm].title or arm) if self.arms else "trained on real queries"


def load_experiment(path: str, overrides: Sequence[str] = (), configs: Path = CONFIGS) -> Experiment:
    """Compose and validate an experiment.

    Args:
        path: a YAML file, or the name of one below ``configs/experiments``.
        overrides: ``key=value``; a key in ``OWN`` changes the experiment, any other is a setting of all its runs, as in
            ``set``.
        configs: the folder of configs.

    Raises:
        InputError / InputErrors: file, key, found, expected, nearest valid name.
    """
    file = _find(path, configs / "experiments")
    value = read_yaml(file, small=True)
    if not isinstance(value, dict):
        raise InputError("not an experiment", file=file, found=value_kind(value), expected="a mapping")
    for override in overrides:
        key, given = split_override(override)
        if key in OWN:
            value[key] = given
        elif key.partition(".")[0] in RunConfig.model_fields:
            value["set"] = {**(value.get("set") or {}), key: given}
        else:
            raise InputError(
                "neither a key of the experiment nor a setting of its runs",
                key=key,
                found=key.partition(".")[0],
                valid=[*OWN, *RunConfig.model_fields],
            )
    return parse_model(Experiment, value, str(file) + (" " + " ".join(overrides) if overrides else ""))


def run_config(experiment: Experiment, arm: str | None, changes: Mapping[str, Any]) -> tuple[RunConfig, list[str]]:
    """Return the config of one run, and the overrides that produce it from the experiment's base.

    Args:
        arm: the arm; None if the experiment has none.
        changes: settings from the experiment itself.
    """
    own = experiment.arms[arm].set if arm is not None else {}
    overrides = [f"{key}={_flow(value)}" for key, value in {**experiment.set, **own, **changes}.items()]
    return load_config(experiment.base, overrides), overrides


def _flow(value: Any) -> str:
    """Format a value as one line of YAML; JSON would write 1e-05, which YAML reads as a string."""
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("...\n").strip()


def _find(path: str, folder: Path) -> Path:
    for candidate in (Path(path), folder / path, folder / f"{path}.yaml"):
        if candidate.is_file():
            return candidate
    raise InputError(
        "no such experiment", file=path, found=Path(path).stem, valid=[file.stem for file in folder.glob("*.yaml")]
    )
