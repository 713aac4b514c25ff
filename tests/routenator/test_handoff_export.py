"""An export works in an empty folder, without the project and without the machine that it was made on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from routenator.chat.templates import choose_template
from routenator.errors import InputError
from routenator.evaluation.engines import EngineSpec, open_engine
from routenator.handoff.export import export_adapter, named_base
from routenator.handoff.model_card import Origin, model_card
from routenator.handoff.trained import TrainedModel, open_trained
from routenator.models import weights_identity
from routenator.training.adapter import AdapterCard, read_card
from tests.conftest import launch_here
from tests.routenator.tiny_model import QUERIES, TOOLS, byte_tokenizer, save_random_adapter, save_tiny_model

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """A strong adapter of random weights, with a card as training writes it."""
    folder = tmp_path_factory.mktemp("here")
    base = save_tiny_model(folder / "model")
    save_random_adapter(base, folder / "adapter")
    AdapterCard(
        domain=str(folder / "domain"),
        base_model=str(base),
        base_sha256=weights_identity(str(base)),
        prompt="compact",
        tools=TOOLS,
        tool_call_parser="hermes",
        method="lora",
        steps=7,
    ).write(folder / "adapter", choose_template("compact", byte_tokenizer(), several=True))
    return open_trained(folder / "adapter", folder)


def texts(folder: Path) -> dict[str, str]:
    """Every file that is text."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".md", ".jinja"):
            found[path.relative_to(folder).as_posix()] = path.read_text()
    return found


def use(folder: Path, readme: str, where: Path) -> str:
    """Run the README's own lines in an empty folder, with nothing of the project on the path."""
    program = readme.split("```python\n")[1].split("```", maxsplit=1)[0]
    program = program.replace('"FOLDER"', repr(str(folder))).replace("QUERY", QUERIES[0]).replace("=128", "=8")
    where.mkdir()
    done = subprocess.run([sys.executable, "-I", "-c", program], cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.rstrip("\n").splitlines()[-1]


@pytest.mark.slow
def test_an_export_answers_elsewhere_by_its_own_readme(
    model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine that it was made on is gone: its folders are moved away."""
    spec = EngineSpec(model.base, str(model.adapter), "transformers", longest=0, max_new_tokens=8, threads=1)
    engine = open_engine(spec)
    (expected,) = engine.answer([byte_tokenizer()(QUERIES[0] + "\n")["input_ids"]], adapted=True)
    here = tmp_path / "here"
    shutil.copytree(model.adapter.parent, here)
    command = ["export", str(here / "adapter"), str(tmp_path / "out"), "--base", str(here / "model")]
    assert launch_here(*command, "--adapter", "--merged").returncode == 0
    again = launch_here(*command, "--merged")
    assert again.returncode == 2 and "already exists" in again.stderr
    assert launch_here(*command).returncode == 2  # nothing to export
    there = tmp_path / "there"
    (tmp_path / "out").rename(there)
    here.rename(tmp_path / "gone")
    assert sorted(path.name for path in there.iterdir()) == ["adapter", "merged"]
    for kind in ("adapter", "merged"):
        written = texts(there / kind)
        assert {"README.md", "routenator.json", "chat_template.jinja"} <= set(written)
        wrong = [name for name, text in written.items() if str(tmp_path) in text or str(model.adapter.parent) in text]
        assert not wrong
        assert (
            use(there / kind, written["README.md"], tmp_path / f"empty-{kind}")
            == expected.rstrip("\n").splitlines()[-1]
        )
    card = read_card(there / "adapter")
    assert card is not None and card.domain == "domain" and card.tools == TOOLS
    assert open_trained(there / "adapter", tmp_path).base == str(there / "adapter" / "base")


@pytest.mark.slow
def test_a_base_is_named_only_where_its_weights_are_those_trained_on(
    model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub's snapshot on this machine, with the same weights, with others, and an adapter that knows no hash."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--tiny"
    shutil.copytree(model.base, repository / "snapshots" / REVISION)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    hub = replace(model, base="org/tiny", card=model.card.model_copy(update={"base_model": "org/tiny"}))
    found = named_base(hub)
    assert found is not None and (found.name, found.revision) == ("org/tiny", REVISION)
    export_adapter(hub, tmp_path / "named", Origin("t"))
    config = json.loads((tmp_path / "named" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", REVISION)
    readme = (tmp_path / "named" / "README.md").read_text()
    assert not (tmp_path / "named" / "base").exists() and 'base_model: "org/tiny"' in readme
    unknown = replace(hub, card=hub.card.model_copy(update={"base_sha256": None}))
    assert named_base(unknown) is None
    export_adapter(unknown, tmp_path / "carried", Origin("t"))
    assert (tmp_path / "carried" / "base" / "model.safetensors").is_file()
    assert json.loads((tmp_path / "carried" / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"
    with open(repository / "snapshots" / REVISION / "model.safetensors", "r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x01")
    with pytest.raises(InputError, match="not the weights that the adapter was trained on"):
        named_base(hub)
    with pytest.raises(InputError, match="not the weights"):
        export_adapter(hub, tmp_path / "wrong", Origin("t"))
    assert not (tmp_path / "wrong").exists()


@pytest.mark.slow
def test_pickled_weights_of_a_base_stay_behind(model: TrainedModel, tmp_path: Path) -> None:
    """``pytorch_model.bin`` was copied beside the safetensors, and alone where there were none."""
    base = tmp_path / "model"
    shutil.copytree(model.base, base)
    odd = ["flax_model.msgpack", "original/", "pytorch_model.bin", "pytorch_model.bin.index.json", "training_args.bin"]
    for name in odd:
        if name.endswith("/"):
            (base / name).mkdir()
            (base / name / "consolidated.00.pth").write_bytes(b"pickle")
        else:
            (base / name).write_bytes(b"pickle")
    for name in ("LICENSE.txt", "additional_chat_templates/rag.jinja", ".gitattributes", "README.md"):
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text("text")
    card = model.card.model_copy(update={"base_sha256": weights_identity(str(base))})
    own = replace(model, base=str(base), card=card)
    assert export_adapter(own, tmp_path / "out", Origin("t")) == odd
    carried = {path.relative_to(tmp_path / "out" / "base").as_posix() for path in (tmp_path / "out/base").rglob("*")}
    assert {"model.safetensors", "config.json", "tokenizer.json", "LICENSE.txt"} <= carried
    assert "additional_chat_templates/rag.jinja" in carried
    assert not carried & {*odd, ".gitattributes", "README.md", "original"}
    assert named_base(open_trained(tmp_path / "out", tmp_path)) is None  # and the base is still the one trained on
    (base / "model.safetensors").unlink()
    unknown = replace(own, card=card.model_copy(update={"base_sha256": None}))  # as in earlier versions
    with pytest.raises(InputError, match="safetensors only") as refused:
        export_adapter(unknown, tmp_path / "none", Origin("t"))
    assert "pytorch_model.bin, training_args.bin" in str(refused.value) and "--merged" in str(refused.value)
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_the_card_tells_data_scores_and_limits(model: TrainedModel) -> None:
    interval = {"value": 0.75, "low": 0.7, "high": 0.8}
    rows = [{"name": "a|b", "final": {"rows": 90}}]
    origin = Origin(
        title="My\ndomain",
        merge={
            "counts": {"train": 80, "validation": 10},
            "generators": {"heuristic": 90},
            "distribution": {"dimensions": {"language": {"rows": rows}}},
        },
        scores={"after": {"n": 40, "exact_match": interval, "errors": {"wrong_value": 9}}, "queries": "golden set"},
        provenance={"plan": "abc"},
    )
    text = model_card(model.card, origin, "org/name", kind="PEFT adapter", usage="USE")
    for expected in (
        'base_model: "org/name"', "# My domain:", "| train | 80 |", "a\\|b", "0.750 [0.700, 0.800]", "40 queries",
        "25% of the queries", "wrong_value (9)", "| plan | abc |", "- `search`: Find things.", "grants no licence",
    ):  # fmt: skip
        assert expected in text
    # An API without content types has no accuracy of them: the export ended in a traceback.
    nothing = {"value": None, "low": None, "high": None}
    own = {
        "after": {"n": 40, "exact_match": interval, "errors": {}, "cta": nothing},
        "before": {"exact_match": nothing},
    }
    without = replace(origin, scores={**own, "queries": "synthetic hold-out"})
    shown = model_card(model.card, without, None, kind="PEFT adapter", usage="USE")
    assert "Content-type" not in shown and "0.750 [0.700, 0.800] |  |" in shown
    bare = model_card(model.card, Origin("t"), None, kind="PEFT adapter", usage="USE")
    assert "not been evaluated" in bare and "without its run" in bare and "base_model:" not in bare


# A stand-in for llama.cpp's converter, which knows no byte tokenizer: notes what it was given.
CONVERTER = """
import json, pathlib, sys
if "refuse" in pathlib.Path(__file__).parent.name:
    sys.exit("unsupported: no such architecture")
merged, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[sys.argv.index("--outfile") + 1])
out.write_text(json.dumps([sorted(path.name for path in merged.iterdir()), sys.argv[sys.argv.index("--outtype") + 1]]))
"""


@pytest.mark.slow
def test_gguf_is_made_of_the_merged_model_with_a_modelfile(model: TrainedModel, tmp_path: Path) -> None:
    for name in ("llama", "refuse"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "convert_hf_to_gguf.py").write_text(CONVERTER)
    command = ["export", str(model.adapter), str(tmp_path / "out"), "--gguf", "--llama-cpp"]
    refused = launch_here(*command, str(tmp_path / "refuse"))
    assert refused.returncode == 1 and "converter refused the model" in refused.stderr
    assert "no such architecture" in refused.stderr and not list((tmp_path / "out").iterdir())
    assert "no checkout of llama.cpp" in launch_here(*command, str(tmp_path)).stderr
    assert launch_here(*command, str(tmp_path / "llama")).returncode == 0
    folder = tmp_path / "out" / "gguf"
    assert {path.name for path in folder.iterdir()} == {
        "model.gguf", "Modelfile", "README.md", "routenator.json", "chat_template.jinja"
    }  # fmt: skip
    given, kind = json.loads((folder / "model.gguf").read_text())
    assert kind == "auto" and {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(
        given
    )
    lines = (folder / "Modelfile").read_text()
    assert lines.startswith("FROM ./model.gguf\n") and 'TEMPLATE """{{ .Prompt }}\n"""' in lines
    assert not [name for name, text in texts(folder).items() if str(model.adapter.parent) in text]
