"""The fused LoRA product against PEFT's own layers."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow  # they load PEFT and bitsandbytes


def _model(dtype: Any, dropout: float, bias: bool = True) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    base = torch.nn.Sequential(
        torch.nn.Linear(12, 20, bias=bias), torch.nn.SiLU(), torch.nn.Linear(20, 7, bias=bias)
    ).to(dtype)
    base.requires_grad_(False)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=["0", "2"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return model.train()


def _gradients(model: Any, x: Any) -> tuple[Any, dict[str, Any], Any]:
    x = x.clone().requires_grad_(True)
    out = model(x)
    (out.float() ** 2).sum().backward()
    return out.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, x.grad


@pytest.mark.parametrize("bias", [True, False])
def test_same_output_and_gradients_as_peft(bias: bool) -> None:
    import torch

    from routenator.training.fused import fuse_lora

    x = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(1))
    plain, fused = _model(torch.float32, 0.0, bias), _model(torch.float32, 0.0, bias)
    assert fuse_lora(fused) == 2
    expected, found = _gradients(plain, x), _gradients(fused, x)
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert torch.allclose(found[2], expected[2], atol=1e-4)
    assert found[1].keys() == expected[1].keys() and len(found[1]) == 4
    for name, gradient in expected[1].items():
        assert torch.allclose(found[1][name], gradient, rtol=1e-4, atol=1e-4), name


def test_dropout_equals_pefts_and_affects_only_the_adapter() -> None:
    import torch

    from routenator.training.fused import fuse_lora

    x = torch.randn(4, 12, generator=torch.Generator().manual_seed(1))
    plain, fused = _model(torch.float32, 0.5), _model(torch.float32, 0.5)
    fuse_lora(fused)
    results = []
    for model in (plain, fused):
        torch.manual_seed(3)
        results.append(_gradients(model, x))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-5)
    assert torch.allclose(results[0][2], results[1][2], atol=1e-4)
    for name, gradient in results[0][1].items():
        assert torch.allclose(results[1][1][name], gradient, rtol=1e-4, atol=1e-4), name
    fused.eval()
    plain.eval()
    assert torch.allclose(plain(x), fused(x), atol=1e-5)


def test_with_its_adapter_disabled_the_base_model_is_unchanged() -> None:
    import torch

    from routenator.training.fused import fuse_lora

    x = torch.randn(4, 12, generator=torch.Generator().manual_seed(1))
    plain, fused = _model(torch.float32, 0.0), _model(torch.float32, 0.0)
    fuse_lora(fused)
    with plain.disable_adapter(), fused.disable_adapter():
        assert torch.equal(plain(x), fused(x))
    assert not torch.allclose(fused(x), plain.get_base_model()[0](x)[..., :7])


def test_adapter_weights_stay_float32_beside_a_bfloat16_base() -> None:
    import torch

    from routenator.training.fused import fuse_lora

    model = _model(torch.bfloat16, 0.0)
    fuse_lora(model)
    _, gradients, _ = _gradients(model, torch.randn(4, 12, generator=torch.Generator().manual_seed(1)).bfloat16())
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}


def test_other_lora_variants_keep_pefts_forward_pass() -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from routenator.training.fused import fuse_lora

    base = torch.nn.Sequential(torch.nn.Linear(12, 20))
    assert fuse_lora(get_peft_model(base, LoraConfig(r=4, use_dora=True, target_modules=["0"]))) == 0


def test_four_bit_weights() -> None:
    import bitsandbytes as bnb
    import torch

    from routenator.training.fused import fuse_lora

    def model() -> Any:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(0)
        layer = bnb.nn.Linear4bit(64, 128, bias=False, compute_dtype=torch.float32, quant_type="nf4")
        layer.load_state_dict(torch.nn.Linear(64, 128, bias=False).state_dict())
        adapted = get_peft_model(
            torch.nn.Sequential(layer.to("cpu")), LoraConfig(r=4, lora_alpha=8, target_modules=["0"])
        )
        torch.nn.init.normal_(adapted.base_model.model[0].lora_B["default"].weight, std=0.3)
        return adapted.train()

    x = torch.randn(6, 64, generator=torch.Generator().manual_seed(1))
    plain, fused = model(), model()
    assert fuse_lora(fused) == 1
    expected, found = _gradients(plain, x), _gradients(fused, x)
    assert torch.allclose(found[0], expected[0], atol=1e-3)
    assert torch.allclose(found[2], expected[2], atol=1e-2)
