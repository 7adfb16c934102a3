"""The model card that ships with the demo model's weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from transformers import GPTBigCodeConfig

from training.checkpoint import LoadedCheckpoint
from training.corpus import CorpusReport, ProjectReport
from training.prepare import CHARACTERS_PER_PROJECT
from training.recipe import STAGES, Stage

_HEAD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: code
---

# starcoder-lsp demo model

A small StarCoder that ships with starcoder-lsp, so that suggestions appear before a large model is
downloaded. It has StarCoder's architecture (`GPTBigCodeForCausalLM`, multi-query attention, learned
positions), its special tokens with their ids, and its training with fill-in-the-middle.

**It is a demo model.** It writes plausible short lines of Python and poor lines of other languages.
In a dialogue its answers have the right form, but most are wrong. Its output can be wrong,
insecure, or close to code in its training data. For work, use one of BigCode's StarCoder models.
"""

_TAIL = """
## Limits

- Mostly Python: its training data contains little of other languages. Comments and names are mostly
  English.
- It cannot handle long prompts or write long answers and whole functions. In a dialogue it knows
  four requests (document, explain, write or test a Python function) and no facts. A test that it
  writes has the right form, but its values are guesses.
- Its training packages are a sample of well-known ones, not of all code.
- Exact match counts a correct line with other words as a miss.

## Licence

Apache-2.0, like starcoder-lsp. The source code in the training data keeps its own licences, which
are listed above as the packages' metadata names them.

## Sources of the recipe

StarCoder: Li et al. 2023, arXiv:2305.06161. Fill-in-the-middle: Bavarian et al. 2022,
arXiv:2207.14255. Muon: Jordan et al. 2024, with its published learning rate for matrices. Warm-up,
hold and decay: Hu et al. 2024, arXiv:2404.06395.
"""


def demo_model_card(
    config: GPTBigCodeConfig,
    checkpoint: LoadedCheckpoint,
    corpus: CorpusReport | None,
    evaluation: Mapping[str, Any],
    remarks: str = "",
) -> str:
    """Return the model card as Markdown.

    `corpus` and `evaluation` are the reports of other steps of the recipe; each may be missing.
    `remarks` is Markdown about the run that the reports do not contain.
    """
    sections = [
        _HEAD,
        _shape_section(config, checkpoint),
        _recipe_section(checkpoint),
        remarks.strip() + "\n" if remarks else "",
        _data_section(corpus) if corpus else "",
        _measurement_section(evaluation),
    ]
    return "\n".join(section for section in sections if section) + _TAIL


def _shape_section(config: GPTBigCodeConfig, checkpoint: LoadedCheckpoint) -> str:
    weights = sum(parameter.numel() for parameter in checkpoint.model.parameters())
    return f"""## Shape

{config.n_layer} layers, width {config.n_embd}, {config.n_head} attention heads of width \
{config.n_embd // config.n_head}, feed-forward width {config.n_inner}, {config.n_positions} \
positions, {config.vocab_size} token ids, tied embeddings: {weights / 1e6:.1f} million weights in
bfloat16.
"""


def _recipe_section(checkpoint: LoadedCheckpoint) -> str:
    plan, report, step = checkpoint.plan, checkpoint.report, checkpoint.step
    is_finished = step >= plan.steps if plan.steps else checkpoint.progress >= 1
    peak = report["utilisation"]
    text = "## Recipe\n\n"
    if not is_finished:
        text += f"**Interim**: taken after step {step}, before the end of the run.\n\n"
    text += (
        f"Trained in a run of {step} steps and {_duration(report['seconds'])} on "
        f"{report['device']}: {report['tokens'] / 1e6:.1f} million tokens, "
        f"{report['tokens_per_second']:,} tokens per second with start and compilation, "
        f"{report['flops']:.2g} floating-point operations"
        f"{f', {peak:.0%} of the peak rate' if peak else ''}. "
        f"{plan.rows_per_step} sequences of {checkpoint.model.config.n_positions} tokens per step. "
        f"Muon (learning rate {plan.rates.muon}) for the matrices of the layers, AdamW (learning "
        f"rate {plan.rates.adam}) for the other weights. Learning rates by share of the run, with "
        f"linear interpolation: {_schedule(plan.schedule)}.\n\n"
    )
    for number, (stage, count) in enumerate(zip(STAGES, report["stages"], strict=False), 1):
        if count["steps"]:
            text += f"{number}. {_stage(stage, count, checkpoint.model.config.n_positions)}\n"
    return text


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _schedule(schedule: tuple[tuple[float, float], ...]) -> str:
    return ", ".join(f"{share:.0%}: {factor:.0%}" for share, factor in schedule)


def _stage(stage: Stage, count: Mapping[str, int], length: int) -> str:
    fim, max_characters = stage.fim, int(length * stage.characters_per_token)
    line_rate = (1 - fim.spm_rate) * fim.line_rate
    text = (
        f"{count['steps']} steps: {count['tokens'] / 1e6:.1f} million tokens, in pieces of at most "
        f"{max_characters} characters ({stage.piece_sizes}). {fim.rate:.0%} of the pieces have a "
        f"hole. Of these {fim.spm_rate:.0%} are in the order suffix, prefix, middle; "
        f"{line_rate:.0%} are in the order prefix, suffix, middle and anchored at the line; the "
        f"others are in that order and anchored at the hole. {fim.empty_suffix_rate:.0%} of the "
        f"holes have an empty suffix, {fim.rest_of_line_rate:.0%} are the rest of a line. In the "
        f"loss, tokens of a middle have weight {stage.middle_weight:g}, its first tokens "
        f"{stage.opening_weight:g}."
    )
    if stage.dialogue_share:
        text += f" {stage.dialogue_share:.0%} of the characters are dialogues."
    return text


def _data_section(corpus: CorpusReport) -> str:
    projects = corpus["projects"]
    used = {name: p for name, p in projects.items() if not p["held_out"] and p["files"]}
    held_out = sorted(name for name, p in projects.items() if p["held_out"])
    outcomes = ", ".join(f"{reason} {n}" for reason, n in sorted(corpus["documents"].items()))
    return f"""## Data

Python's standard library and {len(used) - 1} packages and source trees whose metadata names a
permissive licence, with at most {CHARACTERS_PER_PROJECT / 1e6:.0f} million characters of each. \
Languages other than
Python are limited to a share of it. Millions of characters by language:
{_counts(corpus["languages"], 1e6, "{:.1f}")}.

Files by outcome of the filters: {outcomes}. Placeholders for personal data and secrets:
{_counts(corpus["private"])}. These projects are held out as a whole, and were read first so that
near duplicates of their files elsewhere are dropped: {", ".join(held_out)}. A file that contains a
docstring or a solution of HumanEval is dropped as "benchmark".

Other formats: {corpus["commits"]} commits, {corpus["notebooks"]} notebooks made of examples in
docstrings. Dialogues mined from source code, by task: {_counts(corpus["dialogues"])}.

{_licence_table(used)}
Largest sources, in millions of characters: {_largest(used)}.
"""


def _licence_table(projects: Mapping[str, ProjectReport]) -> str:
    characters, count = Counter[str](), Counter[str]()
    for project in projects.values():
        characters[project["licence"]] += project["characters"]
        count[project["licence"]] += 1
    rows = "".join(
        f"| {licence} | {count[licence]} | {size / 1e6:.2f} |\n"
        for licence, size in characters.most_common()
    )
    return (
        "| licence, as the metadata names it | projects | million characters |\n|---|---|---|\n"
        + rows
    )


def _counts(counts: Mapping[str, int], unit: float = 1, template: str = "{:.0f}") -> str:
    order = sorted(counts, key=lambda name: -counts[name])
    return ", ".join(f"{name} {template.format(counts[name] / unit)}" for name in order) or "none"


def _largest(projects: Mapping[str, ProjectReport]) -> str:
    order = sorted(projects, key=lambda name: -projects[name]["characters"])
    return ", ".join(f"{name} ({projects[name]['characters'] / 1e6:.1f})" for name in order[:15])


_TASKS = {
    "rest_of_line": "rest of a Python line from a random column",
    "half_line": "rest of a Python line after half of it",
    "javascript": "rest of a JavaScript line from a random column",
    "typescript": "rest of a TypeScript line from a random column",
    "go": "rest of a Go line from a random column",
    "rust": "rest of a Rust line from a random column",
    "java": "rest of a Java line from a random column",
    "human_eval_single_line": "HumanEval single-line infilling, whole line",
}


def _measurement_section(evaluation: Mapping[str, Any]) -> str:
    if not evaluation:
        return "## Measurements\n\nNot measured yet.\n"
    loss, dialogue = evaluation["loss"], evaluation["dialogue"]
    best = evaluation["rest_of_line " + evaluation["fim_form"]]
    table = "".join(
        f"| {label} | {name.split()[-1]} "
        f"| {100 * row['exact_match']:.1f} ± {100 * row['standard_error']:.1f} "
        f"| {100 * row['baseline_exact_match']:.1f} | {row['count']} |\n"
        for task, label in _TASKS.items()
        for name, row in evaluation.items()
        if name.startswith(f"{task} ")
    )
    return f"""## Measurements

On the held-out projects, after step {evaluation["step"]}: {loss["nats_per_token"]:.3f} nats per
token and {loss["bits_per_byte"]:.3f} bits per byte of Python.

| single lines, greedy, exact match | form of the prompt | model, % | baseline, % | lines |
|---|---|---|---|---|
{table}
`line` and `cursor` are prefix, suffix, middle, with the middle anchored at the start of the
cursor's line or at the cursor. `suffix-first` is suffix, prefix, middle. \
`{evaluation["fim_form"]}` has the best mean over all
rows except HumanEval's, so config.json names it and the product uses it.
Of the files that parsed before, {100 * best["still_parses"]:.1f}% parse after its completions. The
baseline is an editor without a model: it repeats the latest earlier line of the file that starts
with the typed text. ± is one standard error.

Dialogues about {dialogue["count"]} held-out functions: {dialogue["nats_per_token"]:.3f} nats per
token of the text that their authors wrote. {100 * dialogue["well_formed"]:.1f}% of the greedy
answers have the requested form (a function that parses, a docstring in quotes, or one line). This
does not measure the content of the answers.
"""
