"""What a run is told: typed, closed (unknown keys are refused), and saved in the plan as resolved.

A config file may name profiles (``cluster: local``, ``model: smollm2-135m``); ``routenator.compose`` merges them.
The schema, with units, is this module; ``docs/configuration.md`` explains it to users.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
RouteName = Literal["heuristic", "text", "vision"]


class Section(BaseModel):
    """A closed section of the config."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class DatasetConfig(Section):
    """What the data set shall be."""

    size: Positive = 1000  # accepted examples wanted, both splits together
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    rows_per_file: Positive = 1_000_000  # larger sets are written as several files


class SampleConfig(Section):
    """Graph traversal and routing."""

    shards: Positive = 1
    traversal: Literal["weighted", "coverage"] = "weighted"  # coverage: each edge `coverage` times, the rest by weight
    coverage: Positive = 1  # with traversal: coverage, walks through each edge of each function and category
    tries: Positive = 24  # draws of a heuristic query until it falls into its length bucket


class GenerateConfig(Section):
    """Queries from requests."""

    shards: Positive = 1
    chunk_rows: Positive = 64  # rows between two checkpoints inside a shard
    oversample: dict[RouteName, Annotated[float, Field(ge=1.0)]] = {
        "heuristic": 1.25,
        "text": 2.0,
        "vision": 2.0,
    }  # requests per wanted example, by route, where no acceptance is measured
    acceptance: str | None = None  # measured acceptance in place of `oversample`: a run, an acceptance.json, or "auto"
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = (
        0.9  # of a stratum's requests filling its quota at once, with measured acceptance
    )
    oversample_limit: Annotated[float, Field(ge=1)] = (
        20.0  # requests per example of a stratum's quota at most, in one run
    )
    routes: dict[RouteName, Annotated[float, Field(ge=0.0)]] | None = None
    # overrides the statistics' route shares for every function (an ablation, or a cheaper run)
    examples: Annotated[int, Field(ge=0)] = 3  # few-shot examples offered to a prompt


class ChecksConfig(Section):
    """Validation of candidates; see routenator/validation."""

    grounding: Share = 1.0  # share of an argument's words that the query must say
    max_repetition: Annotated[int, Field(ge=1)] = 3  # one word this often in a row, or more, is degenerate
    length: bool = True  # refuse queries outside their length bucket
    language: bool = True
    judge: bool = (
        False  # ask the generator whether query and call agree, for rows that a model wrote and the other checks accept
    )


def _off(value: object) -> object:
    """YAML reads a bare ``off`` as false."""
    return "off" if value is False else value


class MergeConfig(Section):
    """From candidates to the data set."""

    backfill: bool = True  # fill a stratum's deficit from surplus of the same function, category, length and language
    near_duplicates: Annotated[Literal["off", "bag", "minhash"], BeforeValidator(_off)] = "bag"
    # bag: drop queries equal but for case, punctuation and word order; minhash: also those alike by `near_threshold`
    near_threshold: Annotated[float, Field(gt=0, le=1)] = 0.8  # Jaccard similarity of runs of four bytes, for minhash
    ambiguity: Annotated[Literal["off"] | Annotated[float, Field(gt=0, le=1)], BeforeValidator(_off)] = "off"
    # drop a row if at least this share of its nearest queries by `model.embedder` is of another function
    ambiguity_neighbours: Positive = 10  # nearest queries looked at
    formats: list[Literal["openai", "openai_parquet", "axolotl", "llamafactory", "bfcl"]] = ["openai"]
    spill_dir: str | None = None  # a fast disk with room for the merge's spill; null: beside the output


class TrainConfig(Section):
    """Fine-tuning. Defaults are the paper's where it is known (docs/method.md)."""

    method: Literal["qlora", "lora", "prompt"] = "qlora"
    prompt: Literal["compact", "tools"] = "tools"  # compact: the query alone; tools: the API in the system message
    epochs: Annotated[float, Field(gt=0)] = 3.0
    max_steps: int = -1  # -1: by epochs
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: Share = 0.03
    batch_size: Positive = 8  # examples a process and forward pass
    gradient_accumulation: Positive = 1
    gradient_clip: Annotated[float, Field(gt=0)] = 0.3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    lora_r: Positive = 16
    lora_alpha: Positive = 32
    lora_dropout: Share = 0.05
    lora_targets: list[str] = Field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    prompt_tokens: Positive = 20  # virtual tokens, method: prompt
    max_length: Positive = 1024  # tokens of prompt and call; longer examples are refused, not cut
    processes: Positive = 1  # a node
    nodes: Positive = 1
    deepspeed: bool = True
    zero_stage: Literal[0, 1, 2, 3] = 2
    bf16: bool = True
    gradient_checkpointing: bool = True
    save_steps: Positive = 50  # optimiser steps between two checkpoints
    eval_steps: Annotated[int, Field(ge=0)] = 0  # 0: only at the end
    log_steps: Positive = 1
    tracker: Literal[
        "tensorboard", "wandb", "mlflow", "comet_ml", "clearml", "swanlab", "trackio", "dvclive", "none"
    ] = "tensorboard"


class EvaluateConfig(Section):
    """Scoring on the golden set."""

    workers: Positive = 1  # Ray actors, one model engine each
    engine: Literal["vllm", "transformers"] = "vllm"
    limit: Annotated[int, Field(ge=0)] = 0  # first so many golden queries by a keyed shuffle; 0: all
    max_new_tokens: Positive = 128
    bootstrap: Positive = 2000  # resamples for the 95% intervals
    before: bool = True  # score the untrained model too
    before_prompt: Literal["compact", "tools"] = "tools"  # an untrained model must be shown the API
    baselines: bool = True  # score majority, keywords and nearest neighbour too; they cost seconds


class EngineConfig(Section):
    """One language model and what runs it."""

    model: str  # a hub id, a folder, or "package:NAME" (weights that come as a Python package; routenator/models.py)
    engine: Literal["vllm", "transformers"] = "vllm"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    tensor_parallel_size: Positive = 1  # GPUs an engine
    engines: Literal["auto"] | Positive = (
        "auto"  # at once in a generate task; auto: as many as its GPUs hold, without GPUs one
    )
    max_model_len: Positive = 4096
    enforce_eager: bool = False
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    max_num_seqs: Positive = 256
    kv_cache_gib: Annotated[float, Field(gt=0)] | None = None  # CPU only
    temperature: Annotated[float, Field(ge=0)] = 0.9
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Positive = 96
    guided: bool = (
        True  # hold replies to the slots' words where a template says `guide: slots`; a large model needs no such help
    )


class VisionConfig(Section):
    """The vision route. ``described`` is no VLM: OCR, colours and layout in words, then the text generator."""

    kind: Literal["described", "vlm"] = "described"
    engine: EngineConfig | None = None  # for kind: vlm
    image_size: tuple[Positive, Positive] = (512, 512)  # pixels, width and height

    @model_validator(mode="after")
    def _engine_for_vlm(self) -> VisionConfig:
        if self.kind == "vlm" and self.engine is None:
            raise ValueError("kind: vlm needs `engine`")
        return self


class ModelConfig(Section):
    """Which models play which part."""

    generator: EngineConfig
    vision: VisionConfig = Field(default_factory=VisionConfig)
    trainee: str  # like EngineConfig.model
    embedder: str  # sentence-transformers model for subprompt similarity

    def engine_for(self, route: str) -> EngineConfig | None:
        """What writes the queries of a route; None for the heuristic route."""
        if route == "heuristic":
            return None
        return self.vision.engine if route == "vision" and self.vision.kind == "vlm" else self.generator


class Resources(Section):
    """What one task of a stage asks the cluster for."""

    cpus: Positive = 4  # cores a task
    memory_gib: Annotated[float, Field(gt=0)] = 16
    gpus: Annotated[int, Field(ge=0)] = 0  # a node
    nodes: Positive = 1
    minutes: Positive = 60  # wall-clock limit
    partition: str | None = None  # overrides the cluster's
    shards_per_task: Positive | None = (
        None  # slurm: shards that one array task works through; null: chosen when submitted
    )
    extra: dict[str, str | int | bool] = Field(default_factory=dict)  # further sbatch options, long names


StageName = Literal["sample", "generate", "merge", "train", "evaluate", "report"]


class ContainerConfig(Section):
    """The image that tasks run in."""

    kind: Literal["apptainer", "pyxis"]
    image: str  # a file, or what the container's tool takes (docker://..., or registry#image of pyxis)
    mounts: list[str] = Field(
        default_factory=list
    )  # SOURCE[:TARGET[:OPTIONS]]; root, run directory and cache are mounted anyway
    args: list[str] = Field(default_factory=list)  # further flags: of `apptainer exec`, or of srun for pyxis


class ClusterConfig(Section):
    """Where and how tasks run."""

    kind: Literal["local", "slurm"] = "local"
    parallel: Positive = 1  # local: tasks of a stage at once
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None  # e.g. "gpu:a100:4"; instead of --gpus-per-node
    exclusive: bool = False
    array_parallelism: Positive = 64  # slurm: array tasks at once (%N)
    signal_delay_s: Positive = 120  # seconds between the warning signal and the end
    requeue: bool = True
    setup: list[str] = Field(default_factory=list)  # shell lines before the task (module load, conda activate)
    python: str | None = None  # interpreter on the nodes; default: the one that submits
    container: ContainerConfig | None = None  # slurm only
    srun_args: list[str] = Field(default_factory=list)  # further flags of srun
    extra: dict[str, str | int | bool] = Field(default_factory=dict)  # further sbatch options for every stage
    stages: dict[StageName, Resources] = Field(default_factory=dict)


class RunConfig(Section):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    domain: str  # a name below configs/domains, or a folder
    golden: str | None = None  # default: the domain's golden.jsonl
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    root: str = "runs"  # folder of runs and of the stage store they share
    run_dir: str | None = None  # default: ROOT/NAME-FINGERPRINT
    cache: str = ".cache"  # prepared weights; the variable ROUTENATOR_CACHE overrides it
    dataset: DatasetConfig = Field(default_factory=DatasetConfig)
    sample: SampleConfig = Field(default_factory=SampleConfig)
    generate: GenerateConfig = Field(default_factory=GenerateConfig)
    checks: ChecksConfig = Field(default_factory=ChecksConfig)
    merge: MergeConfig = Field(default_factory=MergeConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    model: ModelConfig
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
