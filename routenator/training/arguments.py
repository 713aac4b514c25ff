"""Settings of the Trainer and DeepSpeed, from a run's ``train`` section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routenator.config import TrainConfig
from routenator.training.job import TrainingJob

if TYPE_CHECKING:
    from transformers import TrainingArguments


def training_arguments(job: TrainingJob, cuda: bool, processes: int) -> TrainingArguments:
    """Build the Trainer's arguments. If there is a process group, it must exist by now.

    Args:
        job: the attempt.
        cuda: True if there is an accelerator.
        processes: number of processes that train together.
    """
    from transformers import TrainingArguments

    config = job.config
    return TrainingArguments(
        output_dir=str(job.root),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.scheduler,
        weight_decay=config.weight_decay,
        max_grad_norm=config.gradient_clip,
        optim="adamw_torch",
        bf16=config.bf16,
        use_cpu=not cuda,
        ddp_backend="gloo" if processes > 1 and not cuda else None,
        ddp_find_unused_parameters=False,
        gradient_checkpointing=config.gradient_checkpointing and config.method != "prompt",
        gradient_checkpointing_kwargs={"use_reentrant": False},
        deepspeed=deepspeed_config(config, cuda) if config.deepspeed else None,
        logging_steps=config.log_steps,
        logging_nan_inf_filter=False,
        save_steps=config.save_steps,
        eval_strategy="steps" if config.eval_steps and job.validation else "no",
        eval_steps=config.eval_steps or None,
        label_names=["labels"],
        seed=job.seed % 2**32,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
    )


def deepspeed_config(config: TrainConfig, cuda: bool) -> dict[str, Any]:
    """Build DeepSpeed's config; transformers fills in the ``auto`` values from the Trainer's arguments."""
    zero: dict[str, Any] = {"stage": config.zero_stage}
    if config.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    elif config.zero_stage in (1, 2):
        # Adapters are small, so buckets sized for full models would only waste memory. Overlap needs CUDA streams.
        zero |= {
            "overlap_comm": cuda,
            "contiguous_gradients": True,
            "reduce_bucket_size": 50_000_000,
            "allgather_bucket_size": 50_000_000,
        }
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": config.bf16},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000,
    }
