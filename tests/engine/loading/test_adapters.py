"""Adapters have peft's results, are chosen per request, and need no restart."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import httpx2
import pytest
import tokenizers
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPTBigCodeForCausalLM

from benchmarks.stepped_scheduler import new_cache
from engine.api import GenerationRequest, Priority
from engine.errors import ConfigurationError, RequestError
from engine.loading.adapter_store import WEIGHTS_FILE, AdapterNote, adapters, fingerprint, install
from engine.loading.load import load
from engine.local import LocalEngine
from engine.network.batch import BatchEntry
from engine.network.lean_forward import LeanForward
from engine.network.quantised import Quantised
from engine.network.weights import Dense, Product, Weights
from engine.server.app import create_app
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.adapters import ALL_TARGETS, PROMPT, make_adapter, note


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "adapters"
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(folder))
    return folder


@pytest.fixture
async def engine(tiny_checkpoint: Path, shelf: Path) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu"))
    yield engine
    await engine.aclose()


async def generate(
    engine: LocalEngine,
    adapter: str | None,
    priority: Priority = Priority.COMPLETION,
    prompt: tuple[int, ...] = PROMPT,
) -> list[int]:
    request = GenerationRequest(prompt, 12, adapter=adapter, priority=priority)
    return [id_ async for chunk in engine.stream(request) for id_ in chunk.ids]


@pytest.mark.parametrize(
    ("targets", "rslora"), [(ALL_TARGETS, False), (["c_attn"], False), (["c_proj", "c_fc"], True)]
)
async def test_the_output_equals_that_of_peft(
    engine: LocalEngine, tiny_checkpoint: Path, tmp_path: Path, targets: list[str], rslora: bool
) -> None:
    plain = await generate(engine, None)
    expected = make_adapter(tiny_checkpoint, tmp_path / "a", seed=1, targets=targets, rslora=rslora)
    install(tmp_path / "a", "mine", note(tiny_checkpoint))
    with_adapter = await generate(engine, "mine")
    assert with_adapter == expected[: len(with_adapter)]
    assert with_adapter != plain
    # Requests with and without an adapter do not share KV caches.
    assert await generate(engine, None) == plain
    assert await generate(engine, "mine") == with_adapter
    assert await generate(engine, "mine", Priority.CHAT) == with_adapter


async def test_tuning_again_takes_effect_immediately(
    engine: LocalEngine, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for seed in (1, 2):
        expected = make_adapter(tiny_checkpoint, tmp_path / str(seed), seed=seed)
        install(tmp_path / str(seed), "mine", note(tiny_checkpoint))
        output = await generate(engine, "mine")
        assert output == expected[: len(output)]


def test_a_model_that_transformers_loads_on_one_device_has_adapters(
    tiny_checkpoint: Path, tmp_path: Path, shelf: Path
) -> None:
    if torch.cuda.is_available():
        pytest.skip("optional: needs a machine without a GPU")
    make_adapter(tiny_checkpoint, tmp_path / "a", seed=1)
    install(tmp_path / "a", "mine", note(tiny_checkpoint))
    settings = EngineSettings(model=str(tiny_checkpoint), device="balanced")
    assert load(settings, lambda *_: None).adapters.get("mine").name == "mine"


async def test_the_engine_lists_the_adapters_for_its_model(
    engine: LocalEngine, tiny_checkpoint: Path, tmp_path: Path, shelf: Path
) -> None:
    assert (await engine.info()).adapters == ()
    make_adapter(tiny_checkpoint, tmp_path / "a", seed=1)
    install(tmp_path / "a", "mine", note(tiny_checkpoint))
    install(tmp_path / "a", "others", replace(note(tiny_checkpoint), fingerprint="another"))
    (shelf / "junk").mkdir()
    assert (await engine.info()).adapters == ("mine",)
    assert [adapter.name for adapter in adapters()] == ["mine", "others"]


async def test_an_unusable_adapter_is_refused_and_the_engine_keeps_running(
    engine: LocalEngine, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    make_adapter(tiny_checkpoint, tmp_path / "a", seed=1)
    install(tmp_path / "a", "others", AdapterNote("some/model", "another"))
    wide = make_checkpoint(tmp_path / "wide", n_embd=64)
    make_adapter(wide, tmp_path / "b", seed=1)
    install(tmp_path / "b", "misfit", note(tiny_checkpoint))
    install(tmp_path / "a", "broken", note(tiny_checkpoint))
    (tmp_path / "adapters" / "broken" / "adapter_model.safetensors").write_bytes(b"x")
    for name, message in (
        ("none", "others|misfit"),
        ("others", "some/model"),
        ("misfit", "shapes"),
        ("broken", "cannot be used"),
    ):
        with pytest.raises(RequestError, match=message):
            await generate(engine, name)
    with pytest.raises(ConfigurationError):
        await generate(engine, "../../etc")
    assert await generate(engine, None)


async def test_the_model_name_selects_the_adapter_over_http(
    engine: LocalEngine, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    expected = make_adapter(tiny_checkpoint, tmp_path / "a", seed=1)
    install(tmp_path / "a", "mine", note(tiny_checkpoint))
    transport = httpx2.ASGITransport(app=create_app(engine))
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine") as http:
        models = (await http.get("/v1/models")).json()["data"]
        assert [(entry["id"], entry.get("parent")) for entry in models] == [
            (str(tiny_checkpoint), None),
            ("mine", str(tiny_checkpoint)),
        ]
        body = {
            "prompt": list(PROMPT),
            "max_tokens": 12,
            "temperature": 0,
            "return_token_ids": True,
        }
        for fields in ({"model": "mine"}, {"model": "any", "adapter": "mine"}):
            response = (await http.post("/v1/completions", json={**body, **fields})).json()
            output = response["choices"][0]["token_ids"]
            assert output == expected[: len(output)]
        refused = await http.post("/v1/completions", json={**body, "adapter": "none"})
        assert refused.status_code == 400
        assert "no adapter 'none'" in refused.json()["error"]["message"]


def make_adapter_with_tokens(base: Path, folder: Path) -> tuple[list[int], list[int]]:
    """Write an adapter that adds two tokens; return a prompt with one of them and its output."""
    torch.manual_seed(7)
    model = GPTBigCodeForCausalLM.from_pretrained(base)
    size = model.config.vocab_size
    model.resize_token_embeddings(size + 2, mean_resizing=False)
    config = LoraConfig(
        r=4,
        lora_alpha=64,
        target_modules=ALL_TARGETS,
        init_lora_weights=False,
        trainable_token_indices={"wte": [size, size + 1]},
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config).eval()
    for name, parameter in adapted.named_parameters():
        if "trainable_tokens_delta" in name:
            parameter.data = torch.randn(2, parameter.shape[1]) * 0.3
    adapted.save_pretrained(folder, save_embedding_layers=False)
    tokenizer = tokenizers.Tokenizer.from_file(str(base / "tokenizer.json"))
    missing = size - tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([f"<unused{n}>" for n in range(missing)])
    tokenizer.add_special_tokens(["<|user|>", "<|end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    prompt = [*PROMPT, size, *PROMPT[:5]]
    ids = torch.tensor([prompt])
    output = adapted.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        do_sample=False,
        pad_token_id=4,
    )
    return prompt, list(output[0, len(prompt) :].tolist())


async def test_an_adapter_may_add_tokens(
    engine: LocalEngine, tiny_checkpoint: Path, shelf: Path, tmp_path: Path
) -> None:
    prompt, expected = make_adapter_with_tokens(tiny_checkpoint, tmp_path / "made")
    plain = await generate(engine, None)
    install(tmp_path / "made", "talk", AdapterNote("tiny", fingerprint(tiny_checkpoint)))
    request = GenerationRequest(tuple(prompt), 12, adapter="talk", logprobs=2)
    chunks = [chunk async for chunk in engine.stream(request)]
    assert [id_ for chunk in chunks for id_ in chunk.ids] == expected
    assert await generate(engine, None) == plain
    with pytest.raises(RequestError, match="outside the model's vocabulary"):
        await generate(engine, None, prompt=tuple(prompt))
    assert (await engine.tokenizer("talk")).special_id("<|end|>") == prompt[len(PROMPT)] + 1
    assert (await engine.tokenizer()).special_id("<|end|>") != prompt[len(PROMPT)] + 1


async def test_token_rows_of_another_width_are_refused(
    engine: LocalEngine, tiny_checkpoint: Path, shelf: Path, tmp_path: Path
) -> None:
    make_adapter_with_tokens(tiny_checkpoint, tmp_path / "made")
    file = tmp_path / "made" / WEIGHTS_FILE
    tensors = load_file(file)
    (rows,) = [name for name in tensors if "trainable_tokens_delta" in name]
    save_file({**tensors, rows: tensors[rows][:, :3].contiguous()}, file)
    install(tmp_path / "made", "odd", AdapterNote("tiny", fingerprint(tiny_checkpoint)))
    with pytest.raises(RequestError, match="width"):
        await generate(engine, "odd")


@pytest.mark.parametrize("dtype", ["int8", "int4"])
async def test_adapters_work_with_quantised_weights(
    tmp_path: Path, shelf: Path, dtype: Literal["int8", "int4"]
) -> None:
    """The result is close to that of the expanded weights; only activations are also rounded."""
    base = make_checkpoint(tmp_path / "base", n_embd=64, n_layer=2)
    make_adapter(base, tmp_path / "a", seed=1)
    install(tmp_path / "a", "mine", note(base))
    loaded = load(EngineSettings(model=str(base), dtype=dtype), lambda *_: None)
    forward = loaded.model.forward
    assert isinstance(forward, LeanForward)
    wide = LeanForward(expanded(forward.weights))
    logits = {}
    for name in (None, "mine"):
        adapter = loaded.adapters.get(name) if name else None
        with torch.inference_mode():
            logits[name] = [
                each([BatchEntry(PROMPT, new_cache(loaded.model), 9, adapter)])[0]
                for each in (forward, wide)
            ]
        similarity = torch.nn.functional.cosine_similarity(*logits[name], dim=-1)
        assert similarity.mean() > 0.99
    similarity = torch.nn.functional.cosine_similarity(logits["mine"][0], logits[None][0], dim=-1)
    assert similarity.max() < 0.9


def expanded(weights: Weights) -> Weights:
    def dense(product: Product) -> Dense:
        assert isinstance(product, Quantised)
        return Dense(product.rows(torch.arange(product.shape[0])), product.bias)

    layers = [
        replace(layer, products={name: dense(product) for name, product in layer.products.items()})
        for layer in weights.layers
    ]
    tokens = dense(weights.tokens)
    return replace(weights, layers=tuple(layers), tokens=tokens, head=tokens)
