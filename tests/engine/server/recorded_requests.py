"""Requests as completion plugins send them, written down from the plugins' sources.

Each has the repository, the file and the commit that say so. Values that the user types or that
the editor contributes (text, file names, numbers of lines) are examples.
"""

from dataclasses import dataclass
from typing import Any, Literal

PREFIX = "import argparse\n\n\ndef main():\n    parser = argparse.ArgumentParser()\n"
LINE = "    args = parser."
SUFFIX = "\n    print(args)\n"
OTHER = {"text": "def helper(x):\n    return x\n", "filename": "helper.py"}
FIM_PROMPT = f"<fim_prefix>{PREFIX}{LINE}<fim_suffix>{SUFFIX}<fim_middle>"

Reading = Literal[
    "llama.cpp", "llama.cpp events", "chosen fields", "nothing", "ollama lines", "ollama",
    "openai", "openai events", "chat", "chat events", "show",
]  # fmt: skip
"""How the plugin reads the answer."""


@dataclass(frozen=True)
class Recorded:
    """A request of a plugin."""

    source: str
    """Repository, path and commit."""
    path: str
    body: dict[str, Any]
    reading: Reading


_LLAMA_VIM = "ggml-org/llama.vim autoload/llama.vim ae3cb006491f8b2105b9ca5575039b5d41cb9a8d"
_LLAMA_VIM_OLD = "ggml-org/llama.vim autoload/llama.vim 02e6a4f337968f14165d2e281c4a44cfa4a9017d"
_LLAMA_VIM_NEW = "ggml-org/llama.vim autoload/llama.vim, version with llama#inst_send"
_LLAMA_VSCODE = "ggml-org/llama.vscode src/llama-server.ts 009e5b72e5bb51a16e455bbcaa084dad5584c14b"
_MINUET = (
    "milanglacier/minuet-ai.nvim lua/minuet/backends/common.lua "
    "c1179fb1f26b5b481b9bb304a1d2df9f81223428"
)
_MINUET_RECIPE = "milanglacier/minuet-ai.nvim recipes.md 006f0e77a464846937c3f16c2b0458e406dc28fb"
_CONTINUE_OLLAMA = (
    "continuedev/continue core/llm/llms/Ollama.ts 94a535162e912fd052ea264f81ab02e3a0b0ac6c"
)
_CONTINUE_OPENAI = (
    "continuedev/continue core/llm/llms/OpenAI.ts 0069b9488b92a2d61fd8ae3299a968599b6ece89"
)
_CONTINUE_FIM = (
    "continuedev/continue packages/openai-adapters/src/apis/OpenAI.ts "
    "5466c8a505014b34057e8e2a319a97a438ae745e"
)
_CONTINUE_LLAMA = (
    "continuedev/continue core/llm/llms/LlamaCpp.ts b9fbdb23fdce703d0082df4b0ce303218575a29c"
)
_TWINNY = (
    "twinnydotdev/twinny src/extension/inference/adapters/fim-dialects.ts "
    "52c25b3c9155e4ecf168480b917248cf16aa3173"
)
_LLM_LS = (
    "huggingface/llm-ls crates/llm-ls/src/adaptors.rs 1499fd6cbf1f6a2558d48cc806cb60d39824aee3"
)
_CMP_AI_OLLAMA = (
    "tzachar/cmp-ai lua/cmp_ai/backends/ollama.lua 56885984b2efaad9bf10b8f801539c60539edcad"
)
_CMP_AI_LLAMA = (
    "tzachar/cmp-ai lua/cmp_ai/backends/llamacpp.lua 79d4b29dc9579ef0595eb9034b6b950dbe292513"
)

CONTINUE_STOPS = [
    "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<|endoftext|>",
    "\n\n", "\r\n\r\n", "/src/", "#- coding: utf-8", "```", "t.", "\nt", "<file_sep>",
]  # fmt: skip
"""The stop strings for starcoder2. Some languages add further words.

Source: continuedev/continue core/autocomplete/templating/getStopTokens.ts, commit
2ae584e8c8f262039172aa2e2588a26257650a52, and the template of starcoder2.
"""

_TIMING_FIELDS = [
    "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms",
    "timings/prompt_per_second", "timings/predicted_n", "timings/predicted_ms",
    "timings/predicted_per_token_ms", "timings/predicted_per_second",
]  # fmt: skip
_RING = [{**OTHER, "time": [123456, 789]}]
_INFILL = {"input_prefix": PREFIX, "input_suffix": SUFFIX, "prompt": LINE}
_VSCODE_INFILL = {**_INFILL, "input_extra": [{**OTHER, "time": 1732000000000}]}
_VSCODE_SAMPLING = {
    "top_k": 40,
    "top_p": 0.99,
    "stream": False,
    "samplers": ["top_k", "top_p", "infill"],
    "cache_prompt": True,
}
_MESSAGES = [
    {"role": "system", "content": "You are an expert coder."},
    {"role": "user", "content": "Rename the variable."},
]
_CONTINUE_OPTIONS = {
    "temperature": 0.01,
    "num_predict": 16,
    "stop": CONTINUE_STOPS,
    "num_ctx": 4096,
}
_TWINNY_FIM = {"prompt": FIM_PROMPT, "stream": True, "temperature": 0.2, "stop": ["<|endoftext|>"]}

RECORDED = {
    "llama.vim suggestion": Recorded(
        _LLAMA_VIM,
        "/infill",
        {
            **_INFILL,
            "input_extra": _RING,
            "n_predict": 16,
            "stop": [],
            "n_indent": 4,
            "top_k": 40,
            "top_p": 0.90,
            "stream": False,
            "samplers": ["top_k", "top_p", "infill"],
            "cache_prompt": True,
            "t_max_prompt_ms": 500,
            "t_max_predict_ms": 250,
            "response_fields": ["content", *_TIMING_FIELDS, "truncated", "tokens_cached"],
        },
        "chosen fields",
    ),
    "llama.vim context": Recorded(
        _LLAMA_VIM_OLD,
        "/infill",
        {
            "input_prefix": "",
            "input_suffix": "",
            "input_extra": _RING,
            "prompt": "",
            "n_predict": 0,
            "temperature": 0.0,
            "stream": False,
            "samplers": [],
            "cache_prompt": True,
            "t_max_prompt_ms": 1,
            "t_max_predict_ms": 1,
            "response_fields": [""],
        },
        "nothing",
    ),
    "llama.vim warm-up of an instruction": Recorded(
        _LLAMA_VIM_NEW,
        "/v1/chat/completions",
        {
            "id_slot": 0,
            "messages": _MESSAGES,
            "samplers": [],
            "n_predict": 0,
            "stream": False,
            "cache_prompt": True,
            "response_fields": [""],
        },
        "chat",
    ),
    "llama.vim instruction": Recorded(
        _LLAMA_VIM_NEW,
        "/v1/chat/completions",
        {
            "id_slot": 0,
            "messages": _MESSAGES,
            "min_p": 0.1,
            "temperature": 0.1,
            "samplers": ["min_p", "temperature"],
            "stream": True,
            "cache_prompt": True,
        },
        "chat events",
    ),
    "llama.vscode suggestion": Recorded(
        _LLAMA_VSCODE,
        "/infill",
        {
            **_VSCODE_INFILL,
            "n_predict": 16,
            **_VSCODE_SAMPLING,
            "n_indent": 4,
            "t_max_prompt_ms": 500,
            "t_max_predict_ms": 2500,
        },
        "llama.cpp",
    ),
    "llama.vscode context": Recorded(
        _LLAMA_VSCODE,
        "/infill",
        {
            "input_prefix": "",
            "input_suffix": "",
            "input_extra": [{**OTHER, "time": 1732000000000}],
            "prompt": "",
            "n_predict": 0,
            "samplers": [],
            "cache_prompt": True,
            "t_max_prompt_ms": 500,
            "t_max_predict_ms": 1,
        },
        "llama.cpp",
    ),
    "llama.vscode OpenAI endpoint": Recorded(
        _LLAMA_VSCODE,
        "/v1/completions",
        {
            "model": "",
            "prompt": FIM_PROMPT,
            "max_tokens": 16,
            "temperature": 0.1,
            "top_p": 0.99,
            "stream": False,
        },
        "openai",
    ),
    "llama.vscode edit with AI": Recorded(
        _LLAMA_VSCODE,
        "/v1/chat/completions",
        {
            "messages": _MESSAGES,
            "stream": False,
            "cache_prompt": True,
            "samplers": "edkypmxt",
            "temperature": 0.8,
            "dynatemp_range": 0,
            "dynatemp_exponent": 1,
            "top_k": 40,
            "top_p": 0.95,
            "min_p": 0.05,
            "typical_p": 1,
            "xtc_probability": 0,
            "xtc_threshold": 0.1,
            "repeat_last_n": 64,
            "repeat_penalty": 1,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "dry_multiplier": 0,
            "dry_base": 1.75,
            "dry_allowed_length": 2,
            "dry_penalty_last_n": -1,
            "max_tokens": -1,
            "timings_per_token": False,
        },
        "chat",
    ),
    "minuet openai_fim_compatible": Recorded(
        _MINUET,
        "/v1/completions",
        {
            "model": "demo",
            "stream": True,
            "max_tokens": 16,
            "top_p": 0.9,
            "prompt": f"# language: python\n# indentation: use 4 spaces for a tab\n{PREFIX}{LINE}",
            "suffix": SUFFIX,
        },
        "openai events",
    ),
    "minuet codestral": Recorded(
        "milanglacier/minuet-ai.nvim lua/minuet/backends/codestral.lua "
        "0582bd0e118f7b032c89432cc079bd12b3b34a4a",
        "/v1/fim/completions",
        {"model": "demo", "max_tokens": 16, "prompt": PREFIX + LINE, "suffix": SUFFIX},
        "chat",
    ),
    "minuet recipe for llama.cpp": Recorded(
        _MINUET_RECIPE,
        "/v1/completions",
        {
            "model": "PLACEHOLDER",
            "stream": True,
            "max_tokens": 16,
            "top_p": 0.9,
            "prompt": FIM_PROMPT,
        },
        "openai events",
    ),
    "Continue asks Ollama's model": Recorded(
        _CONTINUE_OLLAMA, "/api/show", {"name": "demo"}, "show"
    ),
    "Continue with Ollama": Recorded(
        _CONTINUE_OLLAMA,
        "/api/generate",
        {
            "model": "demo",
            "prompt": PREFIX + LINE,
            "suffix": SUFFIX,
            "options": _CONTINUE_OPTIONS,
            "keep_alive": 1800,
        },
        "ollama lines",
    ),
    "Continue with Ollama and its own template": Recorded(
        _CONTINUE_OLLAMA,
        "/api/generate",
        {
            "model": "demo",
            "prompt": FIM_PROMPT,
            "raw": True,
            "options": _CONTINUE_OPTIONS,
            "keep_alive": 1800,
            "stream": True,
        },
        "ollama lines",
    ),
    "Continue with OpenAI": Recorded(
        _CONTINUE_OPENAI,
        "/v1/completions",
        {
            "prompt": FIM_PROMPT,
            "model": "demo",
            "max_tokens": 16,
            "temperature": 0.01,
            "stream": True,
            "stop": CONTINUE_STOPS,
        },
        "openai events",
    ),
    "Continue with fim/completions": Recorded(
        _CONTINUE_FIM,
        "/v1/fim/completions",
        {
            "model": "demo",
            "prompt": PREFIX + LINE,
            "suffix": SUFFIX,
            "max_tokens": 16,
            "temperature": 0.01,
            "stop": CONTINUE_STOPS,
            "stream": True,
        },
        "chat events",
    ),
    "Continue with llama.cpp": Recorded(
        _CONTINUE_LLAMA,
        "/completions",
        {
            "prompt": FIM_PROMPT,
            "stream": True,
            "n_predict": 16,
            "stop": CONTINUE_STOPS,
            "temperature": 0.01,
        },
        "llama.cpp events",
    ),
    "twinny with Ollama": Recorded(
        _TWINNY,
        "/api/generate",
        {
            "model": "demo",
            "prompt": FIM_PROMPT,
            "stream": True,
            "keep_alive": "5m",
            "options": {"temperature": 0.2, "num_predict": 16, "stop": ["<|endoftext|>"]},
        },
        "ollama lines",
    ),
    "twinny with llama.cpp": Recorded(
        _TWINNY, "/completion", {**_TWINNY_FIM, "max_tokens": 16}, "llama.cpp events"
    ),
    "twinny with LM Studio": Recorded(
        _TWINNY,
        "/v1/completions",
        {**_TWINNY_FIM, "model": "demo", "max_tokens": 16},
        "openai events",
    ),
    "llm-ls with OpenAI": Recorded(
        _LLM_LS,
        "/v1/completions",
        {
            "prompt": FIM_PROMPT,
            "model": "demo",
            "max_tokens": 16,
            "temperature": 0.2,
            "top_p": 0.95,
            "stop": None,
        },
        "openai",
    ),
    "llm-ls with Ollama": Recorded(
        _LLM_LS,
        "/api/generate",
        {
            "prompt": FIM_PROMPT,
            "model": "demo",
            "stream": False,
            "options": {"num_predict": 16, "temperature": 0.2, "top_p": 0.95, "stop": None},
        },
        "ollama",
    ),
    "cmp-ai with Ollama": Recorded(
        _CMP_AI_OLLAMA,
        "/api/generate",
        {
            "model": "demo",
            "prompt": FIM_PROMPT,
            "stream": False,
            "options": {"temperature": 0.2, "num_predict": 16},
        },
        "ollama",
    ),
    "cmp-ai with llama.cpp": Recorded(
        _CMP_AI_LLAMA,
        "/completion",
        {"prompt": FIM_PROMPT, "stream": False, "temperature": 0.2, "n_predict": 16},
        "llama.cpp",
    ),
}
