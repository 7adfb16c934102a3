"""Every architecture has transformers' output on every path and in every number format."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.stepped_scheduler import SteppedScheduler, finish_preparing, ids_of, new_cache
from engine.api import GenerationRequest
from engine.decoding.draft_model import DraftModel
from engine.errors import RequestError, UnsupportedModelError
from engine.kernels.build import KernelBuild
from engine.loading.adapter_store import install
from engine.loading.load import Loaded, load
from engine.loading.module_loader import forward_for_module
from engine.model_config import read_architecture, require_architecture
from engine.network.batch import BatchEntry
from engine.network.lean_forward import LeanForward
from engine.network.model import LoadedModel
from engine.settings import Dtype, EngineSettings
from tests.architecture_checkpoints import CONFIGS, WINDOW, make_architecture
from tests.engine.adapters import note
from tests.engine.network.static import with_static_steps

CHUNKS = (1, 7, 60, 16, 1, 1, 100, 14)
"""Rows of the steps: decoding, draft tokens, and prefill on each path of the attention."""
IDS = tuple(torch.randint(20, 350, (sum(CHUNKS),), generator=torch.Generator()).tolist())


@dataclass(frozen=True)
class Example:
    """A checkpoint, and transformers' model of it."""

    path: Path
    module: PreTrainedModel

    def load(self, dtype: Dtype = "float32") -> Loaded:
        loaded = load(EngineSettings(str(self.path), device="cpu", dtype=dtype), lambda *_: None)
        finish_preparing(loaded.model.forward)
        return loaded

    def expected_logits(self) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self.module(torch.tensor([IDS])).logits[0]
        return logits

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        return greedy(self.module, prompt, count)


def greedy(module: PreTrainedModel, prompt: Sequence[int], count: int) -> list[int]:
    """Return transformers' greedy output, up to the end of text."""
    ids = torch.tensor([list(prompt)])
    mask = torch.ones_like(ids)
    output = module.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=count, do_sample=False, pad_token_id=0
    )
    new: list[int] = output[0, len(prompt) :].tolist()
    return new[: new.index(0)] if 0 in new else new


@pytest.fixture(scope="module", params=CONFIGS)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    if KernelBuild().wait(timeout=120) is None:
        pytest.skip("optional: needs a C++ compiler")
    path = make_architecture(tmp_path_factory.mktemp("model"), request.param)
    return Example(path, AutoModelForCausalLM.from_pretrained(path).eval())


def plain(model: LoadedModel) -> LoadedModel:
    """The model without kernels and recorded steps."""
    assert isinstance(model.forward, LeanForward)
    return replace(model, forward=LeanForward(model.forward.weights))


def fused(model: LoadedModel) -> LoadedModel:
    """The model with the CPU kernels, also for many rows."""
    assert isinstance(model.forward, LeanForward)
    assert model.forward.supports_fused
    step = model.forward.fused_step()
    assert step is not None
    step.supports_prefill = True
    return model


def static(model: LoadedModel) -> LoadedModel:
    """The model with static steps on an arena full of NaN."""
    return with_static_steps(model, num_slots=2).model


PATHS = {path.__name__: path for path in (plain, fused, static)}


def logits(model: LoadedModel) -> Tensor:
    """Return the logits of all ids, computed in steps of different sizes."""
    cache, start, parts = new_cache(model), 0, []
    with torch.inference_mode():
        for size in CHUNKS:
            ids = IDS[start : start + size]
            parts.append(model.forward([BatchEntry(ids, cache, size)])[0].clone())
            cache.commit(ids)
            start += size
    return torch.cat(parts)


@pytest.mark.parametrize("path", PATHS)
def test_logits_equal_those_of_transformers(example: Example, path: str) -> None:
    actual = logits(PATHS[path](example.load().model))
    torch.testing.assert_close(actual, example.expected_logits(), atol=1e-4, rtol=1e-4)


MIN_SIMILARITY: dict[Dtype, float] = {"bfloat16": 0.998, "int8": 0.99, "int4": 0.8}
"""Smallest mean cosine similarity to the exact logits. Random weights suffer more than trained."""


@pytest.mark.parametrize("dtype", MIN_SIMILARITY)
def test_fewer_bits_change_little_and_the_same_on_each_path(example: Example, dtype: Dtype) -> None:
    expected, model = example.expected_logits(), example.load(dtype).model
    outputs = {name: logits(path(model)) for name, path in PATHS.items()}
    for output in outputs.values():
        similarity = torch.nn.functional.cosine_similarity(output, expected)
        assert similarity.mean() > MIN_SIMILARITY[dtype]
        between = torch.nn.functional.cosine_similarity(output, outputs["plain"])
        assert between.mean() > 0.997


def test_the_architecture_counts_the_parameters_of_transformers(example: Example) -> None:
    config = json.loads((example.path / "config.json").read_text(encoding="utf-8"))
    expected = sum(parameter.numel() for parameter in example.module.parameters())
    assert require_architecture(config).num_parameters == expected


def test_a_transformers_module_is_computed_as_its_checkpoint(example: Example) -> None:
    assert LeanForward.supports(example.module)
    loaded = example.load().model
    from_module = replace(loaded, forward=forward_for_module(example.module))
    torch.testing.assert_close(logits(from_module), logits(plain(loaded)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_greedy_output_equals_generate_alone_together_and_with_reuse(
    example: Example, path: str
) -> None:
    scheduler = SteppedScheduler(PATHS[path](example.load().model))
    prompts = [IDS[:5], IDS[3:120], IDS[50:90], (*IDS[3:100], *IDS[:20])]
    expected = [example.greedy(prompt, 20) for prompt in prompts]
    submissions = [scheduler.submit(GenerationRequest(prompt, 20)) for prompt in prompts[:2]]
    for _ in range(3):
        scheduler.step()
    submissions += [scheduler.submit(GenerationRequest(prompt, 20)) for prompt in prompts[2:]]
    scheduler.finish()
    assert [submission.ids for submission in submissions] == expected
    # Right and wrong draft tokens, with the caches of the first requests.
    for prompt, output in zip(prompts, expected, strict=True):
        for draft in (tuple(output), (*output[:4], 5, 6, 7)):
            request = GenerationRequest(prompt, 20, draft_tokens=draft)
            assert ids_of(scheduler.run(request)) == output


def test_a_forced_prefix_is_continued_as_the_plain_path_does(example: Example) -> None:
    model = example.load().model
    request = GenerationRequest(IDS[:40], 12, forced_prefix="ret")
    outputs = [
        ids_of(SteppedScheduler(path(model)).run(request)) for path in (plain, fused, static)
    ]
    assert outputs[0] == outputs[1] == outputs[2]
    assert model.tokenizer.decode(outputs[0]).startswith("ret")


TARGETS: dict[str, list[list[str]]] = {
    "llama": [
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        ["q_proj", "v_proj"],
        ["up_proj"],
        ["k_proj", "gate_proj", "down_proj"],
        ["o_proj", "lm_head"],
    ],
    "gpt_bigcode": [["c_attn", "c_proj", "c_fc"], ["c_attn"], ["lm_head"]],
    "starcoder2": [["q_proj", "k_proj", "c_fc", "c_proj", "lm_head"]],
}


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_adapters_of_any_matrix_have_the_output_of_peft(
    example: Example, dtype: Dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path / "shelf"))
    kind = example.module.config.model_type
    for number, targets in enumerate(TARGETS.get(kind, TARGETS["llama"])):
        expected = make_adapter(example.path, tmp_path / str(number), targets)
        install(tmp_path / str(number), f"a{number}", note(example.path))
        loaded = example.load(dtype)
        scheduler = SteppedScheduler(loaded.model, adapter_of=loaded.adapters.get)
        request = GenerationRequest(IDS[:50], 12, adapter=f"a{number}")
        output = ids_of(scheduler.run(request))
        if dtype == "float32":
            assert output == expected
        assert output != ids_of(scheduler.run(replace(request, adapter=None)))


def make_adapter(base: Path, out: Path, targets: list[str]) -> list[int]:
    """Write an adapter with large changes; return the greedy output of peft's model with it."""
    torch.manual_seed(1)
    config = LoraConfig(
        r=3, lora_alpha=30, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    adapted.save_pretrained(out)
    return greedy(adapted, IDS[:50], 12)


def test_a_draft_model_of_another_architecture_changes_no_output(
    example: Example, tmp_path: Path
) -> None:
    """Both have the same vocabulary."""
    make_architecture(tmp_path, "qwen2", seed=3)
    settings = EngineSettings(
        str(example.path), device="cpu", dtype="float32", draft_model=str(tmp_path)
    )
    loaded = load(settings, lambda *_: None)
    assert loaded.draft_model is not None
    scheduler = SteppedScheduler(loaded.model, DraftModel(loaded.draft_model))
    assert ids_of(scheduler.run(GenerationRequest(IDS[:60], 24))) == example.greedy(IDS[:60], 24)


BASE = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "gemma"},
        {"model_type": None},
        {"rope_scaling": {"type": "yarn", "factor": 4.0}},
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.25}},
    ],
)
def test_other_architectures_are_left_to_transformers(changes: dict[str, object]) -> None:
    assert read_architecture(BASE) is not None
    assert read_architecture(BASE | changes) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 0},
        {"vocab_size": "many"},
        {"num_key_value_heads": 3},
        {"num_attention_heads": 0},
        {"rope_scaling": {"type": "linear"}},
        {"num_hidden_layers": -1},
        {"hidden_size": None},
        {"head_dim": 15},
    ],
)
def test_a_damaged_config_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, ZeroDivisionError)):
        read_architecture(BASE | changes)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"rope_theta": 5e5}, {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
        (
            {"rope_theta": 1e5, "rope_scaling": {"type": "linear", "factor": 4.0}},
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e5, "factor": 4.0}},
        ),
        ({}, {"rope_scaling": None}),
    ],
)
def test_configs_of_older_versions_of_transformers_mean_the_same(
    old: dict[str, object], new: dict[str, object]
) -> None:
    assert read_architecture(BASE | old) == read_architecture(BASE | new)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (None, None, None)),
        ({"use_sliding_window": True}, (None, None, None)),  # from layer 28 on
        ({"use_sliding_window": True, "max_window_layers": 1}, (None, 64, 64)),
        ({"use_sliding_window": True, "max_window_layers": 0}, (64, 64, 64)),
        ({"use_sliding_window": False, "max_window_layers": 1}, (None, None, None)),
        (
            {
                "use_sliding_window": True,
                "layer_types": ["sliding_attention", "full_attention", "full_attention"],
            },
            (64, None, None),
        ),
    ],
)
def test_the_upper_layers_of_qwen_may_have_a_window(
    changes: dict[str, object], expected: tuple[int | None, ...]
) -> None:
    qwen = BASE | {"model_type": "qwen2", "num_hidden_layers": 3, "sliding_window": 64}
    assert require_architecture(qwen | changes).windows == expected


def test_mistral_has_a_window_unless_its_config_says_otherwise() -> None:
    mistral = BASE | {"model_type": "mistral"}
    assert require_architecture(mistral).windows == (4096, 4096)
    assert require_architecture(mistral | {"sliding_window": None}).windows == (None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_modules": ["q_proj", "embed_tokens"]}, "changes .*embed_tokens"),
        ({"target_modules": ["q_proj"], "trainable_token_indices": [3, 4]}, "not tied"),
    ],
)
def test_an_adapter_that_would_lose_a_part_of_its_effect_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path / "shelf"))
    path = make_architecture(tmp_path / "model", "llama")
    config = LoraConfig(r=2, task_type="CAUSAL_LM", **options)
    get_peft_model(AutoModelForCausalLM.from_pretrained(path), config).save_pretrained(
        tmp_path / "adapter"
    )
    install(tmp_path / "adapter", "mine", note(path))
    with pytest.raises(RequestError, match=message):
        load(EngineSettings(str(path), device="cpu"), lambda *_: None).adapters.get("mine")


def test_a_window_is_a_limit_of_the_rotations(tmp_path: Path) -> None:
    path = make_architecture(tmp_path, "llama")
    settings = EngineSettings(str(path), device="cpu", context_window=100)
    model = load(settings, lambda *_: None).model
    assert isinstance(model.forward, LeanForward)
    rotations = model.forward.weights.rotations
    assert rotations is not None
    assert rotations.shape == (100, 16)
    assert model.context_window == 100 < WINDOW


@pytest.mark.parametrize("damage", ["missing", "shape"])
def test_a_checkpoint_with_a_wrong_tensor_is_refused(tmp_path: Path, damage: str) -> None:
    path = make_architecture(tmp_path, "llama")
    name = "model.layers.1.self_attn.k_proj.weight"
    for file in path.glob("*.safetensors"):
        tensors = load_file(file)
        if name in tensors:
            tensor = tensors.pop(name)
            if damage == "shape":
                tensors[name] = tensor[:16].clone()
            save_file(tensors, file)
    with pytest.raises(UnsupportedModelError, match="k_proj"):
        load(EngineSettings(str(path), device="cpu"), lambda *_: None)
