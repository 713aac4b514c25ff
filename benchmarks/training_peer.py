"""The peer of ``training.py``: a bare TRL SFTTrainer on the same examples, as a process of its own.

python benchmarks/training_peer.py TASK.json OUT.json [--grouped]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "task", type=Path, help="what to train: base, tokens, seed and settings, as training.py writes it"
    )
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--grouped", action="store_true", help="examples of like length together; SFTTrainer's default is at random"
    )
    options = parser.parse_args()
    options.out.write_text(json.dumps(train(json.loads(options.task.read_text()), options.grouped)))


def train(task: dict[str, Any], grouped: bool) -> dict[str, Any]:
    """Train; return steps as ``training.py`` reads them: seconds since the start, tokens so far, loss."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    settings = task["config"]
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    cuda = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(
        task["base"], dtype=torch.bfloat16, quantization_config=nf4, device_map={"": "cuda:0" if cuda else "cpu"}
    )
    arguments = SFTConfig(
        output_dir=task["folder"],
        num_train_epochs=1,
        per_device_train_batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type=settings["scheduler"],
        warmup_steps=task["warmup_steps"],
        max_grad_norm=settings["gradient_clip"],
        gradient_checkpointing=settings["gradient_checkpointing"],
        train_sampling_strategy="group_by_length" if grouped else "random",
        bf16=True,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        completion_only_loss=True,
        max_length=None,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=task["seed"],
    )
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings["lora_r"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=settings["lora_dropout"],
        target_modules=settings["lora_targets"],
    )
    steps: list[dict[str, float]] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                steps.append(
                    {"seconds": time.perf_counter() - self.began, "tokens": logs["num_tokens"], "loss": logs["loss"]}
                )

    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(task["examples"]),
        processing_class=AutoTokenizer.from_pretrained(task["base"]),
        peft_config=lora,
        callbacks=[Clock()],
    )
    trainer.train()
    return {"steps": steps, "trainable": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)}


if __name__ == "__main__":
    main()
