"""The transformers Trainer, adapted to this task.

Loss on answers alone, length-grouped order, checkpoints on request, and a line of metrics per logged step.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from transformers import (
    AutoTokenizer,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.utils.logging import disable_progress_bar

from routenator.chat.prompts import PromptFormat
from routenator.chat.templates import tool_parser
from routenator.config import TrainConfig
from routenator.files import read_json, write_json
from routenator.models import weights_identity
from routenator.training import checkpoints
from routenator.training.adapter import AdapterCard
from routenator.training.arguments import training_arguments
from routenator.training.group import join_group
from routenator.training.job import LAUNCHER_VARIABLE, TrainingJob, TrainingResult
from routenator.training.model import attach_adapter, load_base
from routenator.training.tokens import IGNORED, LengthGrouped, TokenSet, collate, has_several, read_tokens, write_tokens
from routenator.training.trackers import add_tracker

# Keys that a line of the metrics file may have, besides step, epoch and time.
_STEP = ("loss", "grad_norm", "learning_rate", "tokens", "tokens_per_second")
_HELD_OUT = ("eval_loss", "eval_token_accuracy", "eval_exact")


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def answer_logits(model: Any, inputs: dict[str, torch.Tensor], keeps: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the model's logits at the answers' tokens, and the tokens that it should predict there.

    The head, a large share of a small model's work, runs only from the first position at which any answer starts. No
    mask is passed: in a causal model no token attends to padding on its right, and attention without a mask is faster.

    Args:
        model: a causal language model.
        inputs: of shape (rows, positions), padded on the right.
        keeps: True if the model accepts ``logits_to_keep``.

    Returns:
        Logits of shape (rows, kept positions, vocabulary); token ids of shape (rows, kept positions), ``IGNORED``
        outside the answers.
    """
    labels = inputs["labels"]
    first = int((labels != IGNORED).any(dim=0).nonzero()[0])
    keep = labels.shape[1] - first + 1
    more = {"logits_to_keep": keep} if keeps else {}
    logits = model(input_ids=inputs["input_ids"], **more).logits
    return logits[:, -keep:-1], labels[:, first:]


def answer_loss(logits: torch.Tensor, wanted: torch.Tensor, total: torch.Tensor | int | None) -> torch.Tensor:
    """Sum of the cross entropy over the answers' tokens, divided by ``total`` (by their number if None)."""
    loss = cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), wanted.reshape(-1), ignore_index=IGNORED, reduction="sum"
    )
    return loss / (total if total is not None else (wanted != IGNORED).sum())


def answer_counts(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Count each answer's tokens that the model predicts, given the correct tokens before them, and all its tokens.

    Returns:
        int64 of shape (rows, 2): predicted correctly, total.
    """
    asked = wanted != IGNORED
    return torch.stack([((logits.argmax(dim=-1) == wanted) & asked).sum(dim=1), asked.sum(dim=1)], dim=1)


def accuracy(found: EvalPrediction) -> dict[str, float]:
    """Share of answer tokens predicted correctly, and of examples with all of them correct; from ``answer_counts``."""
    right, asked = np.asarray(found.predictions).T
    return {"token_accuracy": float(right.sum() / asked.sum()), "exact": float((right == asked).mean())}


class AnswerTrainer(Trainer):
    """Trainer with ``answer_loss``, ``accuracy`` and ``LengthGrouped``.

    Attributes:
        seen: number of tokens (without padding) that this process has trained on so far.
    """

    def __init__(self, order: LengthGrouped, **options: Any) -> None:
        super().__init__(**options)
        self.order = order
        self.seen = 0
        # Makes the Trainer count the answers' tokens over accumulation steps and processes.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True
        base: Any = self.model.get_base_model()  # type: ignore[union-attr,operator]
        self._keeps = "logits_to_keep" in inspect.signature(base.forward).parameters

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.order

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        logits, wanted = answer_logits(model, inputs, self._keeps)
        loss = answer_loss(logits, wanted, num_items_in_batch)
        if num_items_in_batch is not None:
            # Gradients are averaged over processes, but the tokens are counted over all of them.
            loss = loss * self.accelerator.num_processes
        if model.training:
            self.seen += int(inputs["attention_mask"].sum())
        return (loss, {"loss": loss, "counts": answer_counts(logits, wanted)}) if return_outputs else loss


class Reporter(TrainerCallback):
    """Writes metrics, and stops all processes at the same step on request or when the launcher has died."""

    def __init__(self, job: TrainingJob, trainer: AnswerTrainer) -> None:
        self.job = job
        self.trainer = trainer
        self.stopped = False
        self.earlier = 0  # tokens of the attempts that this one resumes
        self.earlier_seconds = 0.0
        self.tokens = 0  # of all processes in this attempt
        self.seconds: float | None = None  # of this attempt, if it reached the last step
        self._began = 0.0
        self._step_tokens = 0
        self._last = (0.0, 0)
        self._launcher = int(os.environ.get(LAUNCHER_VARIABLE, "0"))

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._began = time.time()
        self._last = (self._began, 0)
        if rank() == 0:
            self._keep_lines_until(state.global_step)

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # accelerate's set_epoch does not reach the sampler through the wrapper that skips batches on resumption.
        self.trainer.order.set_epoch(state.global_step // math.ceil(len(self.trainer.order) / self.trainer.order.batch))

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        shared = torch.tensor(
            [float(self._must_stop()), float(self.trainer.seen)], dtype=torch.float64, device=args.device
        )
        if dist.is_initialized():
            dist.all_reduce(shared)
        self.tokens = int(shared[1])
        if state.global_step >= state.max_steps:
            self.seconds = time.time() - self._began
            # Evaluate before training ends, because the trackers are closed then. TensorBoard's, if reopened in the
            # same second, overwrites its own file.
            control.should_evaluate = self.trainer.eval_dataset is not None
        elif shared[0] > 0:
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        barrier()  # from here on, every process has written its part
        # The last step's checkpoint is not kept: resumed there, transformers would take one step more. Resuming from
        # the previous one gives the same result.
        if rank() == 0 and state.global_step < state.max_steps:
            written = self.job.root / f"checkpoint-{state.global_step}"
            if self.job.metrics_file.is_file():
                shutil.copy(self.job.metrics_file, written)
            checkpoints.keep(written, Path(self.job.checkpoints))

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if rank() or not logs or ("loss" not in logs and "eval_loss" not in logs):
            return
        now = time.time()
        if "loss" in logs:
            # Added to the logs, so that trackers get them too.
            logs["tokens"] = self.earlier + self.tokens
            logs["tokens_per_second"] = round((self.tokens - self._last[1]) / max(now - self._last[0], 1e-9), 1)
            self._last = (now, self.tokens)
        line: dict[str, Any] = {
            "step": state.global_step,
            "max_steps": state.max_steps,
            "epoch": round(state.epoch or 0.0, 4),
        }
        line |= {key: logs[key] for key in (*_STEP, *_HELD_OUT) if key in logs}
        line["seconds"] = round(self.earlier_seconds + now - self._began, 3)
        with open(self.job.metrics_file, "a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        print(_told(line), flush=True)

    def _must_stop(self) -> bool:
        if self.job.stop_file.exists():
            return True
        if not self._launcher:
            return False
        import psutil

        return not psutil.pid_exists(self._launcher)

    def _keep_lines_until(self, step: int) -> None:
        """Copy the metrics up to the checkpoint that training resumes from."""
        if self.job.resume is None:
            return
        earlier = Path(self.job.resume) / self.job.metrics_file.name
        if earlier.is_file():
            texts = [text for text in earlier.read_text().splitlines(keepends=True) if json.loads(text)["step"] <= step]
            self.job.metrics_file.write_text("".join(texts))
            lines = [json.loads(text) for text in texts]
            self.earlier = max((line.get("tokens", 0) for line in lines), default=0)
            self.earlier_seconds = max((line["seconds"] for line in lines), default=0.0)


def fit(job: TrainingJob) -> None:
    """Train, or resume training, until finished or asked to stop.

    Leaves the adapter or a checkpoint, and the result.
    """
    began = time.time()
    config = job.config
    cuda = torch.cuda.is_available()
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else "cpu"
    if config.deepspeed and not cuda:
        _without_compiler()
    join_group(cuda)
    # transformers must know of ZeRO-3 before the model is loaded.
    arguments = training_arguments(job, cuda, world())
    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(job.base)
    if rank() == 0:
        several = has_several([Path(file) for file in job.train])
        prompt = PromptFormat(config.prompt, job.tools, tokenizer, several=several)
        tokenizer.chat_template = prompt.template  # saved with the adapter
        write_tokens([Path(file) for file in job.train], prompt, config.max_length, job.root / "train")
        if job.validation:
            write_tokens([Path(file) for file in job.validation], prompt, config.max_length, job.root / "validation")
    barrier()
    data = read_tokens(job.root / "train")
    held_out = read_tokens(job.root / "validation") if job.validation else None
    arguments.warmup_steps = round(config.warmup_share * _planned_steps(config, len(data)))
    set_seed(job.seed % 2**32)
    model = attach_adapter(load_base(job.base, config, device, max(data.lengths)), config)
    trainer = _trainer(job, arguments, model, tokenizer, data, held_out)
    reporter = Reporter(job, trainer)
    trainer.remove_callback(PrinterCallback)  # prints the logs as Python's dictionaries; the reporter prints lines
    trainer.add_callback(reporter)
    if config.tracker != "none":
        add_tracker(trainer, config.tracker, job.events, job.metrics_file)
    ready = time.time()
    trainer.train(resume_from_checkpoint=job.resume)
    seconds = reporter.seconds or time.time() - ready
    state = trainer.state
    metrics = {
        "tokens": reporter.earlier + reporter.tokens,
        "tokens_per_second": round(reporter.tokens / max(seconds, 1e-9), 1),  # of this attempt
        "train_seconds": round(reporter.earlier_seconds + seconds, 2),
        "load_seconds": round(ready - began, 2),
        "examples": len(data),
        "processes": world(),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    if not reporter.stopped:
        # From the metrics file, because transformers averages only over this attempt's steps.
        metrics["loss"] = mean_loss(job.metrics_file) if rank() == 0 else None
        if held_out is not None:
            scores = next(log for log in reversed(state.log_history) if "eval_loss" in log)  # the last step's
            metrics |= {key: float(scores[key]) for key in _HELD_OUT}
        _save(job, trainer, state.global_step)
    if rank() == 0:
        result = TrainingResult(
            finished=not reporter.stopped, step=state.global_step, max_steps=state.max_steps, metrics=metrics
        )
        write_json(job.result_file, result.model_dump())
    barrier()  # no node exits before the result is written


def _told(line: dict[str, Any]) -> str:
    """Describe a line of the metrics file for the log."""
    said = [f"{key.replace('_', ' ')} {line[key]:.4g}" for key in ("loss", *_HELD_OUT) if key in line]
    rate = [f"{line['tokens_per_second']:,.0f} tokens/s"] if "tokens_per_second" in line else []
    return f"step {line['step']} of {line['max_steps']}: {', '.join([*said, *rate])}"


def mean_loss(metrics_file: Path) -> float | None:
    """Mean training loss over all steps of all attempts; None if no loss was logged."""
    total, last = 0.0, 0
    for text in metrics_file.read_text(encoding="utf-8").splitlines() if metrics_file.is_file() else ():
        line = json.loads(text)
        if "loss" in line:  # the mean over the steps since the previous line
            total += line["loss"] * (line["step"] - last)
            last = line["step"]
    return total / last if last else None


def _without_compiler() -> None:
    """Keep DeepSpeed from compiling its shared-memory collective on the CPU.

    Only inference uses it. Compiling takes 25 s and needs a compiler on the node, and a second job, or one started
    after a kill during compilation, would wait for its lock.
    """
    from deepspeed import ops

    ops.__compatible_ops__["deepspeed_shm_comm"] = False


def _planned_steps(config: TrainConfig, examples: int) -> int:
    if config.max_steps > 0:
        return config.max_steps
    return math.ceil(config.epochs * math.ceil(examples / (config.batch_size * config.gradient_accumulation * world())))


def _trainer(
    job: TrainingJob,
    arguments: TrainingArguments,
    model: Any,
    tokenizer: Any,
    data: TokenSet,
    held_out: TokenSet | None,
) -> AnswerTrainer:
    config = job.config
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return AnswerTrainer(
        order=LengthGrouped(data.lengths, config.batch_size * config.gradient_accumulation * world(), job.seed),
        model=model,
        args=arguments,
        train_dataset=data,
        eval_dataset=held_out,
        data_collator=partial(collate, padding=padding),
        compute_metrics=accuracy,
        processing_class=tokenizer,
    )


def _save(job: TrainingJob, trainer: AnswerTrainer, steps: int) -> None:
    """Save the adapter with its card, as a plain PEFT folder."""
    trainer.save_model(str(job.adapter))
    if rank() == 0:
        (job.adapter / "training_args.bin").unlink(missing_ok=True)  # a pickle with this machine's paths
        config = read_json(job.adapter / "adapter_config.json")
        # PEFT names the folder on this machine; other machines know the model by the name that the user gave.
        write_json(job.adapter / "adapter_config.json", {**config, "base_model_name_or_path": job.base_name})
        tokenizer: Any = trainer.processing_class
        AdapterCard(
            domain=job.domain,
            base_model=job.base_name,
            base_sha256=weights_identity(job.base),
            prompt=job.config.prompt,
            tools=job.tools,
            tool_call_parser=tool_parser(tokenizer.chat_template, tokenizer),
            method=job.config.method,
            steps=steps,
        ).write(job.adapter, tokenizer.chat_template)
        umask = os.umask(0)
        os.umask(umask)
        for file in job.adapter.iterdir():  # safetensors writes with mode 0600, but a team shares its runs
            file.chmod(0o666 & ~umask)
    barrier()
