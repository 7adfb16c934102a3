"""`tune merge` writes a checkpoint that gives the same text as the model with the adapter."""

import json
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner, Result

from chat.rendering import render
from chat.training.config import read_config
from chat.training.data import read_dialogues, split_dialogues
from chat.training.train import tune_chat
from engine.api import GenerationRequest, Message
from engine.loading import adapter_merge
from engine.loading.adapter_servers import VllmSupport, vllm_support
from engine.loading.adapter_store import AdapterNote, fingerprint, install
from engine.loading.gguf_file import gguf_in
from engine.loading.on_disk import EMBEDDED_DIR
from engine.loading.trainable import read_trainable
from engine.local import LocalEngine
from engine.settings import EngineSettings
from engine.tokenizer import Tokenizer
from lsp_server.cli.app import app
from tests.architecture_checkpoints import make_architecture
from tests.checkpoint_maker import edit_json, make_checkpoint
from tests.llama_checkpoint import make_llama_checkpoint

PROMPT = tuple(range(30, 60))
ARCHITECTURES = (
    "llama-biases",
    "mistral",
    "qwen2",
    "qwen3",
    "starcoder2",
    "granite",
    "gpt-bigcode",
    "gpt-bigcode-every-head",
    "code-llama",
)


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "adapters"
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(folder))
    return folder


def merge(name: str, folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["tune", "merge", name, str(folder), *options])


def make_base(name: str, folder: Path, **options: Any) -> Path:
    if name == "code-llama":
        return make_llama_checkpoint(folder)
    return make_architecture(folder, name, **options)


def make_lora(base: Path, out: Path, name: str = "mine", **options: Any) -> Path:
    """Install an adapter with large changes of all linear modules, or of those in `options`."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    modules = list(read_trainable(name, base).architecture.names.modules)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 16, "target_modules": modules} | options
    config = LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", **settings)
    get_peft_model(model, config).save_pretrained(out)
    return install(out, name, AdapterNote(str(base), fingerprint(base)))


async def output(model: Path, adapter: str | None = None) -> list[int]:
    engine = LocalEngine(EngineSettings(str(model), device="cpu", dtype="float32"))
    try:
        request = GenerationRequest(PROMPT, 16, adapter=adapter)
        return [id_ async for chunk in engine.stream(request) for id_ in chunk.ids]
    finally:
        await engine.aclose()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model.eval()(input_ids=torch.tensor([PROMPT])).logits
    return result


def check_shards(out: Path) -> None:
    index = json.loads((out / "model.safetensors.index.json").read_text())
    sizes = [sum(t.nbytes for t in load_file(file).values()) for file in out.glob("*.safetensors")]
    assert len(sizes) > 1
    assert sum(sizes) == index["metadata"]["total_size"]
    assert {file.name for file in out.glob("*.safetensors")} == set(index["weight_map"].values())


@pytest.mark.parametrize("name", ARCHITECTURES)
async def test_the_checkpoint_gives_the_text_of_the_model_with_the_adapter(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_merge, "SHARD_BYTES", 100_000)
    base, out = make_base(name, tmp_path / "base"), tmp_path / "new" / "merged"
    adapter = make_lora(base, tmp_path / "out")
    result = merge("mine", out)
    assert result.exit_code == 0, result.output
    expected = await output(base, "mine")
    assert await output(out) == expected
    assert await output(base) != expected
    loaded, report = AutoModelForCausalLM.from_pretrained(
        out, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(plain, adapter)
    torch.testing.assert_close(logits(loaded), logits(adapted), atol=2e-3, rtol=1e-3)
    check_shards(out)
    assert (out / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert json.loads((out / "config.json").read_text()) == json.loads(
        (base / "config.json").read_text()
    )
    assert "starcoder-lsp tune merge" in (out / "README.md").read_text()
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in out.iterdir())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_number_format_stays_that_of_the_model(dtype: torch.dtype, tmp_path: Path) -> None:
    base = make_base("qwen2", tmp_path / "base", dtype=dtype)
    adapter = make_lora(base, tmp_path / "out")
    assert merge("mine", tmp_path / "same").exit_code == 0
    assert merge("mine", tmp_path / "exact", "--dtype", "float32").exit_code == 0
    same, exact = (load_file(tmp_path / name / "model.safetensors") for name in ("same", "exact"))
    assert {tensor.dtype for tensor in same.values()} == {dtype}
    assert {tensor.dtype for tensor in exact.values()} == {torch.float32}
    tensors, old = load_file(adapter / "adapter_model.safetensors"), load_file_of(base)
    module = "model.layers.1.mlp.down_proj"
    down, up = (tensors[f"base_model.model.{module}.lora_{x}.weight"] for x in "AB")
    expected = old[f"{module}.weight"].double() + 4.0 * up.double() @ down.double()
    torch.testing.assert_close(exact[f"{module}.weight"].double(), expected, atol=1e-5, rtol=1e-5)
    # The change is added in full precision and rounded once.
    assert torch.equal(same[f"{module}.weight"], exact[f"{module}.weight"].to(dtype))
    assert torch.equal(same["model.norm.weight"], old["model.norm.weight"])
    name = str(dtype).removeprefix("torch.")
    assert json.loads((tmp_path / "same" / "config.json").read_text())["dtype"] == name
    assert json.loads((tmp_path / "exact" / "config.json").read_text())["dtype"] == "float32"


def load_file_of(folder: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for file in folder.glob("*.safetensors"):
        tensors |= load_file(file)
    return tensors


async def test_the_embedded_model_keeps_its_form_of_the_prompt(tmp_path: Path) -> None:
    make_lora(EMBEDDED_DIR, tmp_path / "out", lora_alpha=2)
    out = tmp_path / "merged"
    assert merge("mine", out, "--dtype", "float32", "--model", "demo").exit_code == 0
    assert await output(out) == await output(EMBEDDED_DIR, "mine")
    config, base = (json.loads((path / "config.json").read_text()) for path in (out, EMBEDDED_DIR))
    assert config == {**base, "dtype": "float32"}
    assert config["fim_form"]
    generation = "generation_config.json"
    assert json.loads((out / generation).read_text()) == json.loads(
        (EMBEDDED_DIR / generation).read_text()
    )


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("name", ["gpt-bigcode", "llama-biases", "llama"])
async def test_an_adapter_of_the_output_matrix(name: str, tmp_path: Path) -> None:
    base = make_base(name, tmp_path / "base")
    make_lora(base, tmp_path / "out", target_modules=["lm_head"])
    assert merge("mine", tmp_path / "merged").exit_code == 0
    assert await output(tmp_path / "merged") == await output(base, "mine")
    assert await output(tmp_path / "merged") != await output(base)
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert not config["tie_word_embeddings"]


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("talk") / "talk.jsonl"
    rows = [
        {"prompt": f"Is {number} even?", "completion": f"It is {'odd' if number % 2 else 'even'}."}
        for number in range(48)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def tune_dialogues(base: Path, dialogues: Path, folder: Path) -> Path:
    """Install a chat adapter with the name `talk`; return its folder."""
    config = read_config("small").model_copy(
        update={"block_size": 64, "epochs": 2, "learning_rate": 0.01}
    )
    data = split_dialogues(read_dialogues(dialogues), 0)
    tune_chat(read_trainable("base", base), data, folder, config, lambda _: None)
    return install(folder / "result", "talk", AdapterNote(str(base), fingerprint(base)))


async def chat_output(model: Path, adapter: str | None) -> list[int]:
    engine = LocalEngine(EngineSettings(str(model), device="cpu", dtype="float32"))
    try:
        prompt = render([Message("user", "Is 7 even?")], await engine.tokenizer(adapter))
        request = GenerationRequest(prompt.ids, 24, prompt.stop_ids, adapter=adapter)
        return [id_ async for chunk in engine.stream(request) for id_ in chunk.ids]
    finally:
        await engine.aclose()


@pytest.mark.parametrize("name", ["tiny-starcoder", "starcoder2", "tokens within the matrix"])
async def test_a_chat_adapter_with_added_tokens(
    name: str, tmp_path: Path, dialogues: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_merge, "SHARD_BYTES", 100_000)
    if name == "starcoder2":
        base = make_base(name, tmp_path / "base", tie_word_embeddings=True)
    else:
        base = make_checkpoint(tmp_path / "base")
    size = json.loads((base / "config.json").read_text())["vocab_size"]
    if name == "tokens within the matrix":  # its rows are padded, as those of many models
        model = AutoModelForCausalLM.from_pretrained(base)
        model.resize_token_embeddings(size + 7, mean_resizing=False)
        model.save_pretrained(base)
        (base / "model.safetensors.index.json").unlink()
        size += 7
    adapter, out = tune_dialogues(base, dialogues, tmp_path / "run"), tmp_path / "merged"
    assert vllm_support(adapter) is VllmSupport.REFUSED
    result = merge("talk", out)
    assert result.exit_code == 0, result.output
    assert await chat_output(out, None) == await chat_output(base, "talk")
    check_shards(out)
    tokenizer = Tokenizer.from_file(out)
    end = tokenizer.special_id("<|end|>")
    assert end is not None
    config = json.loads((out / "config.json").read_text())
    assert config["vocab_size"] == max(size, end + 1)
    generation = json.loads((out / "generation_config.json").read_text())
    assert {0, end} <= set(generation["eos_token_id"])
    assert (out / "dialogue_template.json").exists()
    # transformers, which vLLM asks too, makes the same prompt of a dialogue.
    theirs = AutoTokenizer.from_pretrained(out)
    dialogue = [
        {"role": "user", "content": "Is 7 even?"},
        {"role": "assistant", "content": "It is odd."},
        {"role": "user", "content": "  And {{ 8 }}?\n"},
    ]
    for messages in (dialogue, [{"role": "system", "content": "Be brief."}, *dialogue]):
        ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        ours = render([Message(**message) for message in messages], tokenizer)
        assert tuple(ids) == ours.ids
    loaded = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    assert loaded.get_input_embeddings().weight.shape[0] == max(size, end + 1)
    assert (
        "<|user|>"
        in json.loads((out / "tokenizer_config.json").read_text())["additional_special_tokens"]
    )


def test_the_template_of_a_model_stays(tmp_path: Path, dialogues: Path) -> None:
    base = make_checkpoint(tmp_path / "base")
    text = (base / "tokenizer.json").read_text()
    for old, new in (("<issue_start>", "<|im_start|>"), ("<issue_closed>", "<|im_end|>")):
        text = text.replace(f'"{old}"', f'"{new}"')
    (base / "tokenizer.json").write_text(text)
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n"
        "{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    (base / "chat_template.jinja").write_text(template)
    adapter, out = tune_dialogues(base, dialogues, tmp_path / "run"), tmp_path / "merged"
    assert vllm_support(adapter) is VllmSupport.PARTIAL
    assert merge("talk", out).exit_code == 0
    assert (out / "chat_template.jinja").read_text() == template
    end = Tokenizer.from_file(out).special_id("<|im_end|>")
    assert end in json.loads((out / "generation_config.json").read_text())["eos_token_id"]


@pytest.mark.parametrize(
    ("name", "support"),
    [
        ("gpt-bigcode", VllmSupport.PARTIAL),
        ("gpt-bigcode-every-head", VllmSupport.FULL),
        ("starcoder2", VllmSupport.FULL),
        ("qwen2", VllmSupport.FULL),
    ],
)
def test_which_adapters_vllm_applies(name: str, support: VllmSupport, tmp_path: Path) -> None:
    base = make_base(name, tmp_path / "base")
    assert vllm_support(make_lora(base, tmp_path / "out")) is support
    only_mlp = ["c_fc"] if name.startswith("gpt") else ["o_proj"]
    other = make_lora(base, tmp_path / "mlp", "other", target_modules=only_mlp)
    assert vllm_support(other) is VllmSupport.FULL
    listed = CliRunner().invoke(app, ["tune", "list"], env={"COLUMNS": "200"}).output
    assert support.value in listed
    assert ("tune merge" in listed) == (support is VllmSupport.PARTIAL)
    (other / "adapter_model.safetensors").write_bytes(b"x")
    assert vllm_support(other) is VllmSupport.UNKNOWN
    assert CliRunner().invoke(app, ["tune", "list"]).exit_code == 0


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = make_checkpoint(tmp_path / "base")
    make_lora(base, tmp_path / "out")
    return base


def assert_refused(result: Result, *words: str) -> None:
    assert result.exit_code == 1, result.output
    text = " ".join(result.output.split())
    assert result.exception is None or isinstance(result.exception, SystemExit)
    for word in words:
        assert word in text, text


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "merg" in path.name]


def test_a_folder_that_is_not_empty_stays_as_it_is(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert_refused(merge("mine", out), "is not empty", "new folder")
    assert [file.name for file in out.iterdir()] == ["thesis.txt"]
    assert_refused(merge("mine", out / "thesis.txt"), "not a folder")
    (out / "thesis.txt").unlink()
    assert merge("mine", out).exit_code == 0
    assert (out / "config.json").exists()


def test_other_names_and_other_weights_are_refused(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    assert_refused(merge("none", out), "no adapter 'none'", "tune list")
    assert_refused(merge("../mine", out), "cannot name an adapter")
    other = make_checkpoint(tmp_path / "other", seed=1)
    assert_refused(merge("mine", out, "--model", str(other)), "other weights", str(base))
    (base / "config.json").unlink()
    assert_refused(merge("mine", out), "no config.json")
    assert not left_over(tmp_path)


def test_a_moved_model_is_given_by_the_option(base: Path, tmp_path: Path) -> None:
    base.rename(tmp_path / "moved")
    assert_refused(merge("mine", tmp_path / "merged"), str(base))
    assert merge("mine", tmp_path / "merged", "-m", str(tmp_path / "moved")).exit_code == 0


def test_rounded_weights_are_refused(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    edit_json(base / "config.json", quantization_config={"quant_method": "gptq"})
    assert_refused(merge("mine", out), "quantised weights, which cannot be merged", "original")
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    assert gguf_in(file)
    assert_refused(merge("mine", out, "--model", str(file)), "GGUF", "can be merged")
    assert not left_over(tmp_path)


def test_a_damaged_adapter_is_refused(base: Path, shelf: Path, tmp_path: Path) -> None:
    weights = shelf / "mine" / "adapter_model.safetensors"
    tensors = load_file(weights)
    extra = {**tensors, "base_model.model.transformer.h.0.ln_1.lora_A.weight": torch.ones(2, 2)}
    save_file(extra, weights)
    assert_refused(merge("mine", tmp_path / "merged"), "cannot be merged", "ln_1", "not support")
    edit_json(shelf / "mine" / "adapter_config.json", use_dora=True)
    assert_refused(merge("mine", tmp_path / "merged"), "not a plain LoRA adapter (use_dora)")
    weights.write_bytes(weights.read_bytes()[:100])
    assert_refused(merge("mine", tmp_path / "merged"), "cannot be merged")
    assert not left_over(tmp_path)


def test_a_full_disk_leaves_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(1, 1, 1000))
    assert_refused(merge("mine", tmp_path / "merged"), "needs", "is free", "another disk")
    monkeypatch.undo()
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path / "adapters"))

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapter_merge, "save_file", fail)
    assert_refused(merge("mine", tmp_path / "merged"), "no space left", "another folder")
    assert not left_over(tmp_path)


SLOW_MERGE = """
import time
from engine.loading import adapter_merge
from lsp_server.cli.app import main
adapter_merge.save_file = lambda *_, **__: time.sleep(60)
main()
"""
"""The command line with a disk that never finishes."""


@pytest.fixture
def interrupted(base: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A merge that stands in the middle of its work."""
    command = [sys.executable, "-c", SLOW_MERGE, "tune", "merge", "mine", str(tmp_path / "merged")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / ".merged.merging" / "README.md").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def test_an_interrupted_merge_leaves_nothing_under_the_name(
    interrupted: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert_refused(merge("mine", tmp_path / "merged"), "another merge is running", "Delete")
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(30) != 0
    assert not left_over(tmp_path)
    assert merge("mine", tmp_path / "merged").exit_code == 0


def test_a_killed_merge_leaves_only_a_folder_with_another_name(
    interrupted: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    interrupted.kill()
    interrupted.wait(30)
    assert left_over(tmp_path) == [".merged.merging"]
    assert_refused(merge("mine", tmp_path / "merged"), ".merged.merging exists", "Delete")
