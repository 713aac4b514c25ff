"""A real, tiny language model: a byte tokenizer with a chat template, and a Llama of random weights. Trains in
milliseconds a step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from routenator.config import TrainConfig
from routenator.domain.calls import Call, calls_text
from routenator.training.job import TrainingJob

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Find things.",
            "parameters": {
                "type": "object",
                "properties": {"content_type": {"type": "string"}, "extracted_prompt": {"type": "string"}},
                "required": ["content_type", "extracted_prompt"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "ping",
            "description": "",
            "parameters": {"type": "object", "properties": {"host": {"type": "string"}}},
        },
    },
]
QUERIES = [
    "a cat poster",
    "dog logo please",
    "find me a card with flowers",
    "red kite",
    "poster of two sleeping foxes in the snow",
]


def byte_tokenizer(template: str = TEMPLATE) -> Any:
    """One token a byte; `<s>`, `</s>` and `<pad>` are special."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={sign: number for number, sign in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(sign, special=True) for sign in ("<s>", "</s>", "<pad>")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = template
    return tokenizer


def save_tiny_model(folder: Path, head_dim: int = 16, embedding: float = 1.0) -> Path:
    """Write model and tokenizer; 64 wide, so that nf4's blocks fit.

    Args:
        head_dim: vLLM on a CPU has no kernel for heads of less than 32.
        embedding: makes embeddings and head so many times larger; an adapter can then teach the frozen model more.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight *= embedding
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_random_adapter(model: Path, folder: Path) -> Path:
    """Write a LoRA adapter of random weights, strong enough to change every answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    tuned = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model),
        LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "down_proj"]),
    )
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    tuned.save_pretrained(folder)
    return folder


def example_rows(count: int) -> list[dict[str, Any]]:
    """Rows as a data set has them, of different lengths."""
    rows = []
    for number in range(count):
        query = f"{QUERIES[number % len(QUERIES)]} {'x' * (number % 7)}{number}"
        rows.append(
            {
                "query": query,
                "calls": calls_text([Call("search", {"content_type": "t", "extracted_prompt": query})]),
                "reply": None,
                "hidden": None,
            }
        )
    return rows


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ["query", "calls", "reply", *(["today"] if rows and "today" in rows[0] else [])]
    schema = pa.schema([(name, pa.string()) for name in texts] + [("hidden", pa.list_(pa.string()))])
    pq.write_table(pa.Table.from_pylist(rows, schema), file)
    return file


def make_job(model: Path, folder: Path, name: str = "first", resume: Path | None = None, **changes: Any) -> TrainingJob:
    """A job on 40 examples; ``changes`` go into the train section."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "prompt": "compact",
        "learning_rate": 1e-2,
        "batch_size": 4,
        "epochs": 1,
        "lora_r": 4,
        "lora_dropout": 0.1,
        "gradient_checkpointing": False,
        "deepspeed": False,
    }
    return TrainingJob(
        base=str(model),
        base_name="tiny",
        domain="tests",
        train=[str(write_rows(folder / "train.parquet", example_rows(40)))],
        validation=[str(write_rows(folder / "validation.parquet", example_rows(6)))],
        tools=TOOLS,
        config=TrainConfig.model_validate({**settings, **changes}),
        seed=5,
        folder=str(folder / name),
        checkpoints=str(folder / "checkpoints"),
        resume=str(resume) if resume else None,
    )
