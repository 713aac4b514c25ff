"""Writes a trained model so that it works on another machine, without this project and without its paths.

An adapter fits one base model. The export names the base by its hub id only where the weights with that id are those
that were trained on (by hash, at a fixed revision); otherwise it includes the base, in the folder ``base`` beside the
adapter's files. Weights are written and copied as safetensors only: other formats are Python pickles, which run code
where they are loaded. Each folder appears complete or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from routenator.errors import InputError
from routenator.evaluation.engines import max_lora_rank, merge_adapter
from routenator.files import read_json, write_atomic, write_json
from routenator.handoff.gguf import write_gguf
from routenator.handoff.model_card import Origin, model_card
from routenator.handoff.trained import TrainedModel
from routenator.models import MARKER, hub_snapshot, weights_identity
from routenator.training.adapter import BASE, CARD, TEMPLATE_FILE, WEIGHTS, AdapterCard, check_weights

_COPIED_WEIGHTS = (WEIGHTS, "adapter_config.json")
# Of a base model: weights, configuration, tokenizer and terms. The index of pickled weights names files not copied.
_COPIED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.spm", "LICENSE*", "NOTICE*")
_NOT_COPIED = (MARKER, ".*", "*.bin.index.json")
_TEMPLATES = "additional_chat_templates"  # a folder of *.jinja beside chat_template.jinja


@dataclass(frozen=True)
class NamedBase:
    """A base model on a hub whose weights are those that an adapter was trained on.

    Attributes:
        name: hub id.
        revision: of the snapshot with these weights.
    """

    name: str
    revision: str


def named_base(model: TrainedModel) -> NamedBase | None:
    """Return the hub's name of the base model; None if an export must carry the base.

    Raises:
        InputError: the base model here is not the one that the adapter was trained on.
    """
    trained_on, here = model.card.base_sha256, weights_identity(model.base)
    if trained_on is not None and here is not None and trained_on != here:
        raise InputError(
            "these are not the weights that the adapter was trained on",
            file=model.base,
            key="base model",
            found=here[:12],
            expected=trained_on[:12],
        )
    snapshot = hub_snapshot(model.base)
    if trained_on is None or snapshot is None:
        return None
    return NamedBase(model.base, snapshot.name)


def export_adapter(model: TrainedModel, out: Path, origin: Origin) -> list[str]:
    """Write a PEFT adapter that loads on another machine.

    Args:
        out: a new folder.
        origin: for the model card.

    Returns:
        Files and folders of the base model that are not in the copy; none if the base is named.

    Raises:
        InputError: ``out`` exists, the base model is not the one trained on, or weights are not safetensors.
    """
    base = named_base(model)
    with _new_folder(out) as folder:
        check_weights(model.adapter)
        for name in _COPIED_WEIGHTS:
            if not (model.adapter / name).is_file():
                raise InputError("this adapter lacks a file", file=model.adapter, key="RUN", expected=name)
            shutil.copyfile(model.adapter / name, folder / name)
        config: dict[str, Any] = read_json(folder / "adapter_config.json")
        config["base_model_name_or_path"] = base.name if base else BASE
        config["revision"] = base.revision if base else None
        write_json(folder / "adapter_config.json", config)
        left_out = [] if base else _copy_base(hub_snapshot(model.base) or Path(model.base), folder / BASE)
        card = _portable(model.card, base.name if base else BASE)
        if base is None and card.base_sha256 is not None:
            card = card.model_copy(update={"base_sha256": weights_identity(str(folder / BASE))})  # of what was copied
        usage = _ADAPTER_USE.format(
            base=repr(base.name) if base else 'f"{folder}/base"',
            more=f', revision="{base.revision}"' if base else "",
            served=f"{base.name} --revision {base.revision}" if base else "FOLDER/base",
            template=TEMPLATE_FILE,
            parser=card.tool_call_parser or "PARSER",
            card=CARD,
            rank=max_lora_rank(str(folder)) if config["peft_type"] == "LORA" else 8,
            tokens=origin.max_new_tokens,
        )
        _describe(folder, card, model.template, model_card(
            card, origin, base.name if base else None, kind="PEFT adapter", usage=usage
        ))  # fmt: skip
        return left_out


def export_merged(model: TrainedModel, out: Path, origin: Origin) -> None:
    """Write a full model, in the base model's precision.

    Args:
        out: a new folder.
        origin: for the model card.

    Raises:
        InputError: ``out`` exists.
        StageError: the adapter does not fit the base model, or cannot be merged (a learned prompt has no weights to
            merge into).
    """
    base = named_base(model)
    with _new_folder(out) as folder:
        merge_adapter(model.base, str(model.adapter), folder, template=model.template)
        config: dict[str, Any] = read_json(folder / "config.json")
        config.pop("_name_or_path", None)
        write_json(folder / "config.json", config)
        card = _portable(model.card, base.name if base else "")
        usage = _MERGED_USE.format(parser=card.tool_call_parser or "PARSER", card=CARD, tokens=origin.max_new_tokens)
        _describe(folder, card, model.template, model_card(
            card, origin, base.name if base else None, kind="full model", usage=usage
        ))  # fmt: skip


def export_gguf(model: TrainedModel, out: Path, origin: Origin, converter: Path) -> None:
    """Write the merged model as GGUF at 16 bits, with an Ollama Modelfile.

    Args:
        out: a new folder.
        origin: for the model card.
        converter: llama.cpp's (``gguf.find_converter``).

    Raises:
        InputError: ``out`` exists.
        StageError: the adapter cannot be merged, or the converter does not know such a model.
    """
    base = named_base(model)
    with _new_folder(out) as folder:
        card = _portable(model.card, base.name if base else "")
        merged = folder / "merged"
        merge_adapter(model.base, str(model.adapter), merged, template=model.template)
        write_gguf(merged, folder, converter, card)
        shutil.rmtree(merged)
        readme = model_card(card, origin, base.name if base else None, kind="GGUF model", usage=_GGUF_USE)
        _describe(folder, card, model.template, readme)


def _copy_base(source: Path, target: Path) -> list[str]:
    """Copy a base model's folder without weights in formats other than safetensors; return what stays behind.

    Raises:
        InputError: no weights are safetensors.
    """
    if not any(source.glob("*.safetensors")):
        raise InputError(
            "an export holds weights as safetensors only, and this base model has none; other formats are Python "
            "pickles, which run code where they are loaded",
            file=source,
            key="base model",
            found=", ".join(sorted(path.name for path in source.glob("*.bin"))) or "no weights",
            expected="a base model saved as safetensors, and an adapter trained on it; or `export --merged`, which "
            "writes the whole model as safetensors",
        )
    target.mkdir()
    left_out = []
    for path in sorted(source.iterdir()):
        if path.is_file() and _matches(path.name, _COPIED) and not _matches(path.name, _NOT_COPIED):
            shutil.copyfile(path, target / path.name)
        elif path.name == _TEMPLATES and path.is_dir():
            shutil.copytree(path, target / path.name)
        elif not _matches(path.name, (MARKER, ".*", "README.md")):
            left_out.append(path.name + ("/" if path.is_dir() else ""))
    return left_out


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _describe(folder: Path, card: AdapterCard, template: str, readme: str) -> None:
    write_atomic(folder / TEMPLATE_FILE, template)
    write_atomic(folder / "README.md", readme)
    write_json(folder / CARD, card.model_dump())


def _portable(card: AdapterCard, base: str) -> AdapterCard:
    """The card without paths of this machine."""
    return card.model_copy(update={"base_model": base, "domain": Path(card.domain).name})


def _open_up(folder: Path) -> None:
    """Set modes by the umask: safetensors writes with mode 0600, and copies of a cache may be read-only."""
    umask = os.umask(0)
    os.umask(umask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``out`` if all goes well.

    Raises:
        InputError: ``out`` exists.
    """
    if out.exists():
        raise InputError(
            "this folder already exists", file=out, key="OUT", found="an existing path", expected="a new folder"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        yield temporary
        _open_up(temporary)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_ADAPTER_USE = """With transformers and peft, on queries one at a time:

```python
import json
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "FOLDER"  # this folder
base = {base}
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base{more}, dtype="auto"), folder)
tokenizer = AutoTokenizer.from_pretrained(base{more})
template = open(f"{{folder}}/{template}").read()
tools = json.load(open(f"{{folder}}/{card}"))["tools"]
prompt = tokenizer.apply_chat_template(
    [{{"role": "user", "content": "QUERY"}}],
    tools=tools, chat_template=template, add_generation_prompt=True, tokenize=False,
)
inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
output = model.generate(**inputs, do_sample=False, max_new_tokens={tokens})
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
```

Behind OpenAI's API with vLLM, where the reply's calls are in `tool_calls` (send `tools` as in `{card}`):

    python -m vllm.entrypoints.openai.api_server --model {served} --enable-lora --max-lora-rank {rank} \\
        --lora-modules tuned=FOLDER --chat-template FOLDER/{template} \\
        --enable-auto-tool-choice --tool-call-parser {parser}"""

_GGUF_USE = """With Ollama, in this folder:

    ollama create NAME -f Modelfile
    ollama run NAME "QUERY"

With llama.cpp's server, which reads the chat template in `model.gguf` and answers as OpenAI's API does:

    llama-server -m model.gguf --jinja"""

_MERGED_USE = """With transformers, on queries one at a time:

```python
import json
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "FOLDER"  # this folder
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder, dtype="auto"), AutoTokenizer.from_pretrained(folder)
tools = json.load(open(f"{{folder}}/{card}"))["tools"]
prompt = tokenizer.apply_chat_template(
    [{{"role": "user", "content": "QUERY"}}], tools=tools, add_generation_prompt=True, tokenize=False
)
inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
output = model.generate(**inputs, do_sample=False, max_new_tokens={tokens})
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
```

Behind OpenAI's API with vLLM, where the reply's calls are in `tool_calls` (send `tools` as in `{card}`):

    python -m vllm.entrypoints.openai.api_server --model FOLDER --enable-auto-tool-choice --tool-call-parser {parser}"""
