"""Loads the base model, quantised to nf4 or not, and adds a new PEFT adapter."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from routenator.config import TrainConfig
from routenator.errors import InputError
from routenator.training.fused import fuse_lora

# Up to this many tokens, eager attention's backward pass on a CPU beats the fused kernel's (by 17% of a step at 46).
_SHORT = 256


def load_base(source: str, config: TrainConfig, device: str, longest: int) -> Any:
    """Load the base model with frozen weights.

    Args:
        source: folder or hub id, as ``resolve_model`` returns it.
        config: ``qlora`` loads the linear layers in nf4 with double quantisation.
        device: ``cpu`` or ``cuda:N``.
        longest: tokens of the longest example.
    """
    dtype = torch.bfloat16 if config.bf16 else torch.float32
    options: dict[str, Any] = {"dtype": dtype}
    # ZeRO-3 places the weights itself.
    if not (config.deepspeed and config.zero_stage == 3):
        options["device_map"] = {"": device}
    if device == "cpu" and longest <= _SHORT:
        options["attn_implementation"] = "eager"
    if config.method == "qlora":
        options["quantization_config"] = _nf4(dtype)
    model = AutoModelForCausalLM.from_pretrained(source, **options)
    if config.method == "qlora" and device == "cpu":
        # In eval mode bitsandbytes would repack the weights for single-token inference. That is six times slower on a
        # batch, and a packed layer passes no gradient on, so after an evaluation training would silently learn nothing
        # below the last layer.
        module: Any
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    model.config.use_cache = False
    model.requires_grad_(False)
    if (head := model.get_output_embeddings()) is not None:
        head.register_forward_pre_hook(_contiguous)
    # PEFT's prepare_model_for_kbit_training is not used, because it also casts embeddings and head to float32. Frozen
    # weights gain nothing from that, and the head's product over the whole vocabulary becomes slow on hardware with
    # bfloat16 units.
    return model


def _contiguous(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Make the head's input contiguous: for a slice of positions, PyTorch's matmul would copy the weights per row."""
    return (inputs[0].contiguous(), *inputs[1:])


def _nf4(dtype: torch.dtype) -> Any:
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def attach_adapter(model: Any, config: TrainConfig) -> Any:
    """Wrap the model with a new PEFT adapter whose weights are float32.

    Raises:
        InputError: ``train.lora_targets`` names layers that the model does not have.
    """
    from peft import LoraConfig, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model

    if config.method == "prompt":
        tuning = PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=config.prompt_tokens,
            prompt_tuning_init=PromptTuningInit.RANDOM,
        )
        return get_peft_model(model, tuning)
    names = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if not list(module.children())}
    for target in config.lora_targets:
        if target not in names:
            raise InputError("the model has no such layer", key="train.lora_targets", found=target, valid=names)
    lora = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.lora_targets),
    )
    if config.gradient_checkpointing:
        # With frozen embeddings, a gradient checkpoint's input would otherwise not require gradients.
        model.enable_input_require_grads()
    adapted = get_peft_model(model, lora)
    if all(weight.device.type == "cpu" for weight in model.parameters()):
        fuse_lora(adapted)
    return adapted
