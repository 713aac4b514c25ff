"""LoRA layers for CPUs with their own backward pass: the same arithmetic in fewer, larger operations.

PEFT's layer casts its input to the adapter's float32 and lets autograd store and cast each product separately. On a CPU
this overhead is a large part of a step. Here the products stay in the base model's dtype, only the adapter's own
weights are float32, and a 4-bit weight is dequantised twice a step (forward and backward) and never stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Weight = Callable[[], torch.Tensor]


class _LoraProduct(torch.autograd.Function):
    """``x W' + bias + scale * (dropped A') B'`` in the dtype of x; gradients for x and, in float32, for A and B."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        dropped: torch.Tensor | None,
        weight: Weight,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        thin = rows if dropped is None else dropped.reshape(-1, x.shape[-1])
        a, b = a.to(x.dtype), b.to(x.dtype)
        low = thin @ a.t()
        out = rows @ weight().t() if bias is None else torch.addmm(bias.to(x.dtype), rows, weight().t())
        out.addmm_(low, b.t(), alpha=scale)
        ctx.save_for_backward(thin, low, a, b)
        ctx.weight, ctx.scale, ctx.apart = weight, scale, dropped is not None
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        thin, low, a, b = ctx.saved_tensors
        shape = (*grad.shape[:-1], thin.shape[-1])
        rows = grad.reshape(-1, grad.shape[-1])
        to_low = (rows @ b).mul_(ctx.scale)
        to_a = (to_low.t() @ thin).float()
        to_b = (rows.t() @ low).float().mul_(ctx.scale)
        to_x = to_dropped = None
        if ctx.apart and ctx.needs_input_grad[1]:
            to_dropped = (to_low @ a).view(shape)
        if ctx.needs_input_grad[0]:
            to_x = rows @ ctx.weight()
            if not ctx.apart:
                to_x.addmm_(to_low, a)
            to_x = to_x.view(shape)
        return to_x, to_dropped, None, None, to_a, to_b, None


def fuse_lora(model: Any) -> int:
    """Replace the forward pass of a PEFT model's LoRA layers; the layers and their saved weights stay PEFT's.

    Only plain LoRA on linear layers (float or nf4) is replaced; other variants keep PEFT's forward pass.

    Args:
        model: with one active adapter, base weights frozen.

    Returns:
        The number of layers replaced.
    """
    from peft.tuners.lora.layer import LoraLayer

    count = 0
    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        active = layer.active_adapters
        weight = _weight_of(layer.get_base_layer())
        if (
            weight is None
            or len(active) != 1
            or active[0] not in layer.lora_A
            or layer.use_dora.get(active[0])
            or layer.lora_bias.get(active[0])
        ):
            continue
        layer.forward = _forward(layer, active[0], weight)
        count += 1
    return count


def _weight_of(base: Any) -> Weight | None:
    """Return a function that gives the frozen weight (out, in), because a 4-bit one is dequantised on each use."""
    weight: Any = getattr(base, "weight", None)
    if getattr(weight, "quant_state", None) is not None:
        from bitsandbytes.functional import dequantize_4bit

        return lambda: dequantize_4bit(weight.data, weight.quant_state)
    if isinstance(base, torch.nn.Linear):
        return lambda: base.weight
    return None


def _forward(layer: Any, name: str, weight: Weight) -> Callable[..., torch.Tensor]:
    plain = layer.forward

    def forward(x: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        if layer.disable_adapters or layer.merged or args or options:
            result: torch.Tensor = plain(x, *args, **options)
            return result
        dropout = layer.lora_dropout[name]
        dropped = dropout(x) if layer.training and not isinstance(dropout, torch.nn.Identity) else None
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        out: torch.Tensor = _LoraProduct.apply(
            x, dropped, weight, layer.get_base_layer().bias, a, b, layer.scaling[name]
        )
        return out

    return forward
