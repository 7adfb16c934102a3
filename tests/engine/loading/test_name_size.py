"""The names of models state their number of parameters, or nothing."""

import pytest

from engine.loading.name_size import parameters_in_name


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("HuggingFaceH4/starchat-beta", 15.5),
        ("bigcode/starcoder", 15.5),
        ("bigcode/starcoder2-3b", 3),
        ("bigcode/starcoderbase-1b", 1),
        ("HuggingFaceH4/starchat2-15b-v0.1", 15),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", 7),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct-AWQ", 1.5),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", 30),
        ("deepseek-ai/deepseek-coder-1.3b-instruct", 1.3),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.135),
        ("ibm-granite/granite-3b-code-instruct-128k", 3),
        ("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", 1.1),
        ("org/model-1b-100B-tokens", 1),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 56),
        ("org/internlm2_5-7b_chat", 7),
        ("7b", 7),
    ],
)
def test_a_name_states_the_number_of_parameters(name: str, billions: float) -> None:
    assert parameters_in_name(name) == round(billions * 1e9)


@pytest.mark.parametrize(
    "name",
    [
        "microsoft/Phi-3-mini-4k-instruct",
        "microsoft/phi-1_5",
        "org/model-4bit",
        "org/gemma-3n-E2B-it",
        "org-7b/model",
        "org/starcoder-tuned",
        "org/model-v2.7b1",
        "org/model-0b",
        "org/12345b",
        "auto",
        "",
    ],
)
def test_other_names_state_nothing(name: str) -> None:
    assert parameters_in_name(name) is None
