"""A real, tiny vision-language model: InternVL of random weights, with the byte tokenizer of tiny_model.py. It sees,
but says nonsense.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.routenator.tiny_model import byte_tokenizer

SIDE, PATCH = 56, 14  # pixels of an image and of a patch of it
TOKENS = (SIDE // PATCH // 2) ** 2  # an image's, after 2 x 2 patches are joined
SIGNS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<IMG_CONTEXT>\n{% endif %}{% endfor %}{% endif %}"
    "</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def save_tiny_vision_model(folder: Path) -> Path:
    """Write model, tokenizer and processor; the processor's files by hand, as transformers would need torchvision to
    write them.
    """
    import torch
    from transformers import InternVLConfig, InternVLForConditionalGeneration, PreTrainedTokenizerFast, Qwen2Config

    torch.manual_seed(3)
    inner = byte_tokenizer().backend_tokenizer
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", extra_special_tokens=SIGNS
    )
    tokenizer.chat_template = TEMPLATE
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": [SIDE, SIDE],
        "patch_size": [PATCH, PATCH],
    }
    image_token = tokenizer.convert_tokens_to_ids(SIGNS["context_image_token"])
    config = InternVLConfig(
        vision_config=vision, text_config=text.to_dict(), image_token_id=image_token, image_seq_length=TOKENS
    )
    InternVLForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pixels = {
        "image_processor_type": "GotOcr2ImageProcessorFast",
        "processor_class": "InternVLProcessor",
        "crop_to_patches": False,
        "min_patches": 1,
        "max_patches": 1,
        "size": {"height": SIDE, "width": SIDE},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    (folder / "video_preprocessor_config.json").write_text(
        json.dumps({**pixels, "video_processor_type": "InternVLVideoProcessor"})
    )
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": "InternVLProcessor", "image_seq_length": TOKENS})
    )
    return folder
