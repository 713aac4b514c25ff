"""The config of a run: typed, closed (unknown keys are refused), and saved with the plan after all profiles are merged.

A config file may name profiles (``cluster: local``, ``model: smollm2-135m``); ``routenator.compose`` merges them.
This module is the schema, with units; ``docs/configuration.md`` explains it to users.
"""

# No `from __future__ import annotations`: pydantic would evaluate the text of every annotation, which takes a fifth of
# the time that this module needs, and each task imports it.
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from routenator.routes import ROUTES

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
if TYPE_CHECKING:
    RouteName = str
else:
    RouteName = Literal[tuple(ROUTES)]  # at run time, so that pydantic refuses unknown names and suggests the nearest


class Section(BaseModel):
    """A closed section of the config."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class DatasetConfig(Section):
    """Size and layout of the data set."""

    size: Positive = 1000  # accepted examples to end up with, both splits together
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    rows_per_file: Positive = 1_000_000  # larger sets are split into several files
    calls: dict[Annotated[int, Field(ge=0, le=4)], Annotated[float, Field(ge=0.0)]] | None = None
    # replaces the domain's shares of rows by their number of calls
    no_call: dict[Literal["topics", "near", "chat"], Annotated[float, Field(ge=0.0)]] | None = None
    # replaces the domain's shares of what rows without a call are


class SampleConfig(Section):
    """Graph traversal and routing."""

    shards: Positive = 1
    traversal: Literal["weighted", "coverage"] = (
        "weighted"  # coverage: walk each edge `coverage` times, then go by weight
    )
    coverage: Positive = 1  # with `traversal: coverage`: walks through each edge, per function and category
    tries: Positive = 24  # attempts to draw a heuristic query that fits its length bucket


class GenerateConfig(Section):
    """Generation of queries from requests."""

    shards: Positive = 1
    chunk_rows: Positive = 64  # rows between checkpoints of a shard
    oversample: dict[RouteName, Annotated[float, Field(ge=1.0)]] = {
        name: route.oversample for name, route in ROUTES.items()
    }  # requests per example of the quota, by route, until acceptance has been measured
    acceptance: str | None = (
        None  # use measured acceptance instead of `oversample`: a run, an acceptance.json or "auto"
    )
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = (
        0.9  # probability that a stratum's requests fill its quota in one go, with measured acceptance
    )
    oversample_limit: Annotated[float, Field(ge=1)] = (
        20.0  # at most this many requests per example of a stratum's quota, in one run
    )
    refill: Share = (
        0.25  # requests of a second round for short strata, at most, per request of the first; 0: no second round
    )
    routes: dict[RouteName, Annotated[float, Field(ge=0.0)]] | None = None
    # replaces the route shares of every function (for an ablation, or a cheaper run)
    examples: Annotated[int, Field(ge=0)] = 3  # few-shot examples available to a prompt


class ChecksConfig(Section):
    """Validation of candidates; see routenator/validation."""

    grounding: Share = 1.0  # share of an argument's words that the query must contain
    max_repetition: Annotated[int, Field(ge=1)] = 3  # one word repeated this many times in a row is degenerate
    length: bool = True  # reject queries outside their length bucket
    language: bool = True
    function: bool = True  # reject model-written queries that read like a request for another function
    judge: bool = (
        False  # ask the generator whether query and call agree, for model-written rows that pass the other checks
    )


def _off(value: object) -> object:
    """Restore ``off``: YAML reads a bare ``off`` as false."""
    return "off" if value is False else value


class MergeConfig(Section):
    """Selection of candidates for the data set."""

    backfill: bool = True  # fill a stratum's shortfall with surplus of the same function, category, length and language
    near_duplicates: Annotated[
        Literal["off", "bag", "minhash"],
        BeforeValidator(_off, json_schema_input_type=Literal["off", "bag", "minhash", False]),
    ] = "bag"
    # bag: drop queries of the same words in another order (normal form); minhash: also those above `near_threshold`
    near_threshold: Annotated[float, Field(gt=0, le=1)] = 0.8  # for minhash: Jaccard similarity of four-byte shingles
    ambiguity: Annotated[
        Literal["off"] | Annotated[float, Field(gt=0, le=1)],
        BeforeValidator(_off, json_schema_input_type=Literal["off", False] | Annotated[float, Field(gt=0, le=1)]),
    ] = "off"
    # drop a row if at least this share of its nearest queries (by `model.embedder`) belongs to another function
    ambiguity_neighbours: Positive = 10  # number of nearest queries to compare
    formats: list[Literal["openai", "openai_parquet", "axolotl", "llamafactory", "bfcl"]] = ["openai"]
    spill_dir: str | None = None  # a fast disk with room for the merge's spill files; null: next to the output


class TrainConfig(Section):
    """Fine-tuning. Defaults follow the paper where it gives them (docs/method.md)."""

    method: Literal["qlora", "lora", "prompt"] = "qlora"
    prompt: Literal["compact", "tools"] = "tools"  # compact: the query alone; tools: the API in the system message
    epochs: Annotated[float, Field(gt=0)] = 3.0
    max_steps: int = -1  # -1: decided by `epochs`
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: Share = 0.03
    batch_size: Positive = 8  # examples per process and forward pass
    gradient_accumulation: Positive = 1
    gradient_clip: Annotated[float, Field(gt=0)] = 0.3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    lora_r: Positive = 16
    lora_alpha: Positive = 32
    lora_dropout: Share = 0.05
    lora_targets: list[str] = Field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    prompt_tokens: Positive = 20  # virtual tokens, for `method: prompt`
    max_length: Positive = 1024  # tokens of prompt and reply; longer examples are an error, never truncated
    processes: Positive = 1  # per node
    nodes: Positive = 1
    deepspeed: bool = True
    zero_stage: Literal[0, 1, 2, 3] = 2
    bf16: bool = True
    gradient_checkpointing: bool = True
    save_steps: Positive = 50  # optimiser steps between checkpoints
    eval_steps: Annotated[int, Field(ge=0)] = 0  # 0: evaluate only at the end
    log_steps: Positive = 1
    tracker: Literal[
        "tensorboard", "wandb", "mlflow", "comet_ml", "clearml", "swanlab", "trackio", "dvclive", "none"
    ] = "tensorboard"


Dtype = Literal["auto", "bfloat16", "float16", "float32"]


class EvaluateConfig(Section):
    """Scoring on the golden set."""

    workers: Positive = 1  # Ray actors, each with its own engine
    engine: Literal["vllm", "transformers"] = "vllm"
    dtype: Dtype = "auto"  # of the weights; auto: as the base model's files have it
    limit: Annotated[int, Field(ge=0)] = 0  # score only this many golden queries, chosen by a keyed shuffle; 0: all
    max_new_tokens: Positive = 128
    bootstrap: Positive = 2000  # resamples for the 95% confidence intervals
    guided: bool = False  # also score the trained model with replies restricted to valid calls of the API, or to none
    match: Literal["own", "berkeley"] = "own"  # the rule for right values: this project's, or the leaderboard's
    before: bool = True  # also score the untrained model
    before_prompt: Literal["compact", "tools"] = "tools"  # an untrained model has to see the API
    baselines: bool = True  # also score majority, keywords and nearest neighbour; takes seconds


class EngineConfig(Section):
    """One language model and the engine that runs it."""

    model: str  # a hub id, a folder, or "package:NAME" (weights inside a Python package; routenator/models.py)
    engine: Literal["vllm", "transformers"] = "vllm"
    dtype: Dtype = "auto"
    tensor_parallel_size: Positive = 1  # GPUs per engine
    engines: Literal["auto"] | Positive = (
        "auto"  # engines of a generate task; auto: as many as fit on its GPUs, or one without GPUs
    )
    max_model_len: Positive = 4096
    enforce_eager: bool = False
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    max_num_seqs: Positive = 256
    kv_cache_gib: Annotated[float, Field(gt=0)] | None = None  # CPU only
    temperature: Annotated[float, Field(ge=0)] = 0.9
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Positive = 96
    guided: bool = True  # constrain replies to the slots' words where a template says `guide: slots`


class VisionConfig(Section):
    """The vision route. ``described`` needs no VLM: the text generator reads OCR, colours and layout as words."""

    kind: Literal["described", "vlm"] = "described"
    engine: EngineConfig | None = None  # for kind: vlm
    image_size: tuple[Positive, Positive] = (512, 512)  # pixels, width and height

    @model_validator(mode="after")
    def _engine_for_vlm(self) -> Self:
        if self.kind == "vlm" and self.engine is None:
            raise ValueError("kind: vlm needs `engine`")
        return self


class ModelConfig(Section):
    """The models of a run, by role."""

    generator: EngineConfig
    vision: VisionConfig = Field(default_factory=VisionConfig)
    trainee: str  # like EngineConfig.model
    embedder: str  # sentence-transformers model for subprompt similarity

    def engine_for(self, route: str) -> EngineConfig | None:
        """The engine that writes the queries of a route; None where the draft is the query."""
        writer = ROUTES[route].writer
        if writer == "draft":
            return None
        return self.vision.engine if writer == "vision" and self.vision.kind == "vlm" else self.generator


class Resources(Section):
    """Resources that one task of a stage requests from the cluster."""

    cpus: Positive = 4  # cores per task
    memory_gib: Annotated[float, Field(gt=0)] = 16
    gpus: Annotated[int, Field(ge=0)] = 0  # per node
    nodes: Positive = 1
    minutes: Positive = 60  # wall-clock limit
    partition: str | None = None  # replaces the cluster's
    shards_per_task: Positive | None = None  # slurm: shards per array task; null: chosen at submission
    extra: dict[str, str | int | bool] = Field(default_factory=dict)  # more sbatch options, by long name


StageName = Literal["sample", "generate", "shortfall", "refill", "merge", "train", "evaluate", "report"]


class ContainerConfig(Section):
    """The container image that tasks run in."""

    kind: Literal["apptainer", "pyxis"]
    image: str  # a file, or whatever the container runtime accepts (docker://..., or registry#image for pyxis)
    mounts: list[str] = Field(
        default_factory=list
    )  # SOURCE[:TARGET[:OPTIONS]]; root, run directory and cache are always mounted
    args: list[str] = Field(default_factory=list)  # more flags for `apptainer exec`, or for srun with pyxis


class ClusterConfig(Section):
    """Where and how tasks run."""

    kind: Literal["local", "slurm"] = "local"
    parallel: Positive = 1  # local: concurrent tasks of a stage
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None  # e.g. "gpu:a100:4"; replaces --gpus-per-node
    exclusive: bool = False
    array_parallelism: Positive = 64  # slurm: concurrent array tasks (%N)
    signal_delay_s: Positive = 120  # seconds between the warning signal and the time limit
    requeue: bool = True
    setup: list[str] = Field(default_factory=list)  # shell lines before the task (module load, conda activate)
    python: str | None = None  # interpreter on the nodes; default: the one used to submit
    container: ContainerConfig | None = None  # slurm only
    srun_args: list[str] = Field(default_factory=list)  # more flags for srun
    extra: dict[str, str | int | bool] = Field(default_factory=dict)  # more sbatch options, for every stage
    stages: dict[StageName, Resources] = Field(default_factory=dict)


class RunConfig(Section):
    """The whole config of a run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    domain: str  # a folder, or the name of one in configs/domains
    golden: str | None = None  # default: the domain's golden.jsonl
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    root: str = "runs"  # folder of runs and their shared stage store
    run_dir: str | None = None  # default: ROOT/NAME-FINGERPRINT
    # The group of ROOT's folder shares its runs: each member's code may then run as any other (docs/security.md).
    shared_group: bool = False
    cache: str = ".cache"  # prepared weights; the environment variable ROUTENATOR_CACHE takes precedence
    dataset: DatasetConfig = Field(default_factory=DatasetConfig)
    sample: SampleConfig = Field(default_factory=SampleConfig)
    generate: GenerateConfig = Field(default_factory=GenerateConfig)
    checks: ChecksConfig = Field(default_factory=ChecksConfig)
    merge: MergeConfig = Field(default_factory=MergeConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    model: ModelConfig
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
