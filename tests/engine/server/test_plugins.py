"""Requests of real plugins and programs, sent to the real `starcoder-lsp serve`.

The answers are read as the plugins read them, see `tests.engine.server.recorded_requests`.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.tokenizer import Tokenizer
from tests.engine.server.recorded_requests import (
    FIM_PROMPT,
    LINE,
    PREFIX,
    RECORDED,
    SUFFIX,
    Recorded,
)

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "engine" / "embedded"
SPECIAL = re.compile(r"<fim_\w+>|<\|\w+\|>|<filename>|<file_sep>")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of the real command with the demo model."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lsp_server", "serve", "--model=demo", "--device=cpu"]
    process = subprocess.Popen(
        [*command, f"--port={port}", "--alias=starcoder2:3b"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not is_ready(url):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


def is_ready(url: str) -> bool:
    try:
        return bool(httpx2.get(f"{url}/health").json()["status"] == "ok")
    except httpx2.HTTPError:
        return False


def events(text: str) -> list[Any]:
    """Return the data of server-sent events, as JSON except for the end."""
    data = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in data]


def _llama_cpp(answer: httpx2.Response) -> str:
    body = answer.json()
    assert body["stop"] is True
    assert body["truncated"] is False
    assert isinstance(body["tokens_cached"], int)
    assert isinstance(body["generation_settings"], dict)
    for name in ("prompt_n", "prompt_ms", "prompt_per_second", "predicted_n", "predicted_ms"):
        assert isinstance(body["timings"][name], int | float)
    return str(body["content"])


def _llama_cpp_events(answer: httpx2.Response) -> str:
    *pieces, last = events(answer.text)
    assert last["stop"] is True
    return "".join(piece["content"] for piece in pieces)


def _chosen_fields(answer: httpx2.Response) -> str:
    body = answer.json()
    assert set(body) == set(RECORDED["llama.vim suggestion"].body["response_fields"])
    assert body["timings/predicted_n"] > 0
    return str(body["content"])


def _nothing(answer: httpx2.Response) -> str:
    assert answer.json() == {}
    return ""


def _ollama_lines(answer: httpx2.Response) -> str:
    *pieces, last = [json.loads(line) for line in answer.text.split("\n")[:-1]]
    assert last["done"] is True
    assert last["eval_count"] > 0
    return "".join(piece["response"] for piece in pieces)


def _ollama(answer: httpx2.Response) -> str:
    assert answer.json()["done"] is True
    return str(answer.json()["response"])


def _openai_events(answer: httpx2.Response) -> str:
    *pieces, end = events(answer.text)
    assert end == "[DONE]"
    return "".join(piece["choices"][0]["text"] for piece in pieces if piece["choices"])


def _chat_events(answer: httpx2.Response) -> str:
    *pieces, end = events(answer.text)
    assert end == "[DONE]"
    return "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces)


def _show(answer: httpx2.Response) -> str:
    body = answer.json()
    for line in body["parameters"].split("\n"):  # Continue's own expression
        assert re.fullmatch(r'(\S+)\s+((?:".*")|\S+)', line)
    assert ".Suffix" in body["template"]
    return ""


READERS = {
    "llama.cpp": _llama_cpp,
    "llama.cpp events": _llama_cpp_events,
    "chosen fields": _chosen_fields,
    "nothing": _nothing,
    "ollama lines": _ollama_lines,
    "ollama": _ollama,
    "openai": lambda answer: answer.json()["choices"][0]["text"],
    "openai events": _openai_events,
    "chat": lambda answer: answer.json()["choices"][0]["message"]["content"],
    "chat events": _chat_events,
    "show": _show,
}
WITHOUT_TEXT = {
    name
    for name, recorded in RECORDED.items()
    if recorded.body.get("n_predict") == 0 or recorded.reading == "show"
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_request_is_answered_as_its_plugin_reads_it(server: str, name: str) -> None:
    recorded: Recorded = RECORDED[name]
    answer = httpx2.post(f"{server}{recorded.path}", json=recorded.body, timeout=30)
    assert answer.status_code == 200, answer.text
    text = READERS[recorded.reading](answer)
    assert bool(text) == (name not in WITHOUT_TEXT)
    assert not SPECIAL.search(text)


@pytest.mark.parametrize("name", RECORDED)
def test_each_plugin_may_name_a_model_of_its_own(server: str, name: str) -> None:
    recorded = RECORDED[name]
    body = {**recorded.body, "model": "starcoder2:3b"}
    assert httpx2.post(f"{server}{recorded.path}", json=body, timeout=30).status_code == 200


def test_all_ways_of_filling_in_are_the_same(server: str) -> None:
    """The same text gives the same greedy output, whatever the API."""

    def answer(path: str, **body: Any) -> Any:
        return httpx2.post(f"{server}{path}", json=body, timeout=30).json()

    prompt, number = PREFIX + LINE, 24
    greedy: dict[str, Any] = {"prompt": prompt, "suffix": SUFFIX, "temperature": 0}
    expected = answer("/v1/completions", **greedy, max_tokens=number)["choices"][0]["text"]
    fim = answer("/v1/fim/completions", **greedy, max_tokens=number)
    infill = answer(
        "/infill", input_prefix=PREFIX, input_suffix=SUFFIX, prompt=LINE, n_predict=number
    )
    options = {"temperature": 0, "num_predict": number}
    generated = answer("/api/generate", prompt=prompt, suffix=SUFFIX, stream=False, options=options)
    in_place = f"<fim_prefix><fim_suffix>{SUFFIX}<fim_middle>{prompt}"
    template = answer("/v1/completions", prompt=in_place, temperature=0, max_tokens=number)
    assert expected.strip()
    assert fim["choices"][0]["message"]["content"] == expected
    assert infill["content"] == expected
    assert generated["response"] == expected
    assert template["choices"][0]["text"] == expected


class TestOpenaiClient:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_suffix(self, server: str, stream: bool) -> None:
        async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none") as client:
            answer: Any = await client.completions.create(
                model="demo",
                prompt="class A:\n    def __init__(self, name):\n        self.",
                suffix="\n\n    def get(self):\n        return self.name\n",
                max_tokens=3,
                temperature=0,
                stream=stream,
            )
            if stream:
                text = "".join([chunk.choices[0].text async for chunk in answer])
            else:
                text = answer.choices[0].text
            models = [model.id async for model in client.models.list()]
        assert text == "name = name"
        assert models == ["demo"]

    async def test_refusals_are_its_own_exceptions(self, server: str) -> None:
        async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none") as client:
            with pytest.raises(openai.NotFoundError, match="not served"):
                await client.completions.create(model="gpt-4", prompt="x")
            for field in ({"n": 2}, {"logit_bias": {"5": 1}}):
                with pytest.raises(openai.BadRequestError, match=next(iter(field))):
                    await client.completions.create(model="demo", prompt="x", extra_body=field)


VARIABLE = "STARCODER_LSP_LM_EVAL"
PROGRAM = """
import json, sys
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

url, tokenizer = sys.argv[1:]
lm = LocalCompletionsAPI(
    base_url=url, model="demo", tokenizer=tokenizer, tokenizer_backend="huggingface", batch_size=2
)
texts = json.load(sys.stdin)
scored, asked = [], []
for i, (start, rest) in enumerate(texts):
    scored.append(Instance("loglikelihood", {}, (start, rest), i))
    until = {"until": ["\\n\\n"], "max_gen_toks": 20}
    asked.append(Instance("generate_until", {}, (start, until), i))
print(json.dumps([lm.loglikelihood(scored), lm.generate_until(asked)]))
"""
"""A program that lets lm-evaluation-harness score texts and generate."""


def log_likelihood(model: Any, tokenizer: Tokenizer, start: str, rest: str) -> float:
    """Return the log-likelihood of a text after another one, computed by transformers.

    Like lm-evaluation-harness, count white space between the texts as part of the second.
    """
    before, ids = tokenizer.encode(start.rstrip()), tokenizer.encode(start + rest)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    scores = torch.log_softmax(logits, dim=-1)
    return float(sum(scores[i - 1, ids[i]] for i in range(len(before), len(ids))))


class TestEvaluation:
    """The requests of EleutherAI's lm-evaluation-harness, model `local-completions`.

    Source: `LocalCompletionsAPI._create_payload` and `parse_logprobs` in lm_eval 0.4,
    lm_eval/models/openai_completions.py.
    """

    TEXTS = (
        ("def add(a, b):\n", "    return a + b\n"),
        ("import os\n\n", "print(os.getcwd())\n"),
        ("class A:\n    def __init__(self", "):\n        pass\n"),
        ("x", "<fim_prefix> is text"),
    )

    def test_log_likelihoods_are_those_of_transformers(self, server: str) -> None:
        tokenizer = Tokenizer.from_file(DEMO)
        model = AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32)
        pairs = [(tokenizer.encode(start), tokenizer.encode(rest)) for start, rest in self.TEXTS]
        # After the end of the text the model generates no token at all.
        pairs.append(([*pairs[0][0], *pairs[0][1]], [0]))
        body = {
            "model": "demo",
            "prompt": [[*start, *rest] for start, rest in pairs],
            "temperature": 0,
            "max_tokens": 1,
            "logprobs": 1,
            "seed": 1234,
            "echo": True,
        }
        choices = httpx2.post(f"{server}/v1/completions", json=body, timeout=60).json()["choices"]
        for choice, (start, rest) in zip(choices, pairs, strict=True):
            logprobs = choice["logprobs"]
            scores = logprobs["token_logprobs"][len(start) : -1]
            tops = logprobs["top_logprobs"][len(start) : -1]
            with torch.no_grad():
                logits = model(torch.tensor([[*start, *rest]])).logits[0]
            expected = torch.log_softmax(logits[len(start) - 1 : -1], dim=-1)
            chosen = expected.gather(1, torch.tensor(rest)[:, None])[:, 0]
            assert len(scores) == len(rest)
            assert scores == pytest.approx(chosen.tolist(), abs=2e-3)
            is_greedy = [
                score == max(top.values()) for score, top in zip(scores, tops, strict=True)
            ]
            assert is_greedy == (expected.argmax(1) == torch.tensor(rest)).tolist()

    def test_a_text_that_ends_has_a_last_log_probability(self, server: str) -> None:
        """A prompt after which the greedy output is empty still has one more entry."""
        tokenizer = Tokenizer.from_file(DEMO)
        prompt = tokenizer.encode("def add(a, b):\n    return a + b\n")
        stops = {"stop_token_ids": list(range(tokenizer.vocab_size))[:1000]}
        body = {"prompt": prompt, "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True}
        with_end, without = (
            httpx2.post(f"{server}/v1/completions", json=each, timeout=60).json()["choices"][0]
            for each in ({**body, **stops}, body)
        )
        assert (with_end["finish_reason"], without["finish_reason"]) == ("stop", "length")
        assert with_end["text"] == tokenizer.decode(prompt)
        assert with_end["logprobs"]["tokens"] == without["logprobs"]["tokens"]
        assert with_end["logprobs"]["token_logprobs"][1:] == pytest.approx(
            without["logprobs"]["token_logprobs"][1:], abs=1e-4
        )
        assert len(with_end["logprobs"]["tokens"]) == len(prompt) + 1

    def test_the_program_itself(self, server: str) -> None:
        """Needs lm-evaluation-harness in an environment of its own: it wants many packages."""
        if VARIABLE not in os.environ:
            pytest.skip(f"optional: set {VARIABLE} to a Python with lm-eval[api] and transformers")
        output = subprocess.run(
            [os.environ[VARIABLE], "-c", PROGRAM, f"{server}/v1/completions", str(DEMO)],
            input=json.dumps(self.TEXTS[:3]),
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none"},
            capture_output=True,
            text=True,
            check=True,
            timeout=200,
        ).stdout
        scores, generated = json.loads(output.splitlines()[-1])
        tokenizer = Tokenizer.from_file(DEMO)
        model = AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32)
        for (logprob, _), (start, rest) in zip(scores, self.TEXTS, strict=False):
            assert logprob == pytest.approx(log_likelihood(model, tokenizer, start, rest), abs=1e-2)
        assert all(text and "\n\n" not in text for text in generated)

    def test_generation_until_a_text(self, server: str) -> None:
        body = {
            "prompt": [Tokenizer.from_file(DEMO).encode("def add(a, b):\n")],
            "model": "demo",
            "max_tokens": 40,
            "temperature": 0,
            "stop": ["\n\n", "<|endoftext|>"],
            "seed": 1234,
        }
        (choice,) = httpx2.post(f"{server}/v1/completions", json=body).json()["choices"]
        assert choice["text"]
        assert "\n\n" not in choice["text"]


def test_the_recorded_prompts_are_templates() -> None:
    assert FIM_PROMPT.startswith("<fim_prefix>")
    assert all(len(recorded.source.split()) >= 3 for recorded in RECORDED.values())
