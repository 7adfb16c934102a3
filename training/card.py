"""The model card that ships beside the weights."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import Any

from training.prepare import CHARACTERS_PER_PROJECT
from training.recipe import stages

_HEAD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: code
---

# starcoder-lsp demo model

A small StarCoder that comes with starcoder-lsp, so that suggestions appear before any large model
is on the machine. It has StarCoder's architecture (`GPTBigCodeForCausalLM`, multi-query attention,
learned positions), its special tokens with their ids, and its training with fill-in-the-middle.

**It is a demo model.** It writes plausible short lines of Python, poor ones of other languages, and
in a dialogue it answers in the right form rather than rightly. What it writes can be wrong,
insecure, or close to code it was trained on. Use a StarCoder proper for work.
"""

_TAIL = """
## Limits

- Python first; of other languages it saw little. Comments and names are mostly English.
- Long prompts, long answers and whole functions are beyond it. In a dialogue it knows four requests
  (document, explain, write, test a Python function) and no facts: a test that it writes has the
  right form, and values that are a guess.
- The packages it learnt from are a sample of well-known ones, not of all code.
- Exact match counts a correct line that is worded otherwise as a miss.

## Licence

Apache-2.0, like starcoder-lsp. The source code it was trained on stays under its own licences,
listed above by name as the packages' metadata gives them.

## Sources of the recipe

StarCoder: Li et al. 2023, arXiv:2305.06161. Fill-in-the-middle: Bavarian et al. 2022,
arXiv:2207.14255. Muon: Jordan et al. 2024, with the rate of the matrices as published. Warm-up,
hold and decay: Hu et al. 2024, arXiv:2404.06395.
"""


def model_card(
    config: Any,
    state: dict[str, Any],
    corpus: dict[str, Any],
    rows: dict[int, dict[str, Any]],
    evaluation: dict[str, Any],
) -> str:
    """Return the card of a model as Markdown.

    `state` is a checkpoint's step and plan; `corpus`, `rows` (by number of the stage) and
    `evaluation` are what the steps reported, each empty where a step left no report.
    """
    parts = [_HEAD, _shape(config), _recipe(state, rows), _data(corpus), _numbers(evaluation)]
    return "\n".join(part for part in parts if part) + _TAIL


def _shape(config: Any) -> str:
    return f"""## Shape

{config.n_layer} layers, width {config.n_embd}, {config.n_head} heads of \
{config.n_embd // config.n_head}, inner width {config.n_inner}, {config.n_positions} positions, \
{config.vocab_size} ids, embeddings tied. Weights are bfloat16.
"""


def _recipe(state: dict[str, Any], rows: dict[int, dict[str, Any]]) -> str:
    step, plan = state["step"], state["plan"]
    text = "## Recipe\n\n"
    if step < plan["steps"]:
        text += f"**Interim**: taken after {step} of {plan['steps']} steps.\n\n"
    text += (
        f"{plan['rows_per_step']} sequences a step, on a CPU. Muon (rate {plan['muon_lr']}) for "
        f"the matrices of the layers, AdamW (rate {plan['adam_lr']}) for the rest. Rates by step, "
        f"straight lines between: {_schedule(plan['schedule'])}.\n\n"
    )
    first = plan["first_step"]
    if first:
        legs = ", ".join(str(leg) for leg in plan["legs"])
        text += (
            f"It was made in legs, at steps {legs}: each began with the weights of the one before, "
            "rounded to bfloat16, and with optimisers of its own. "
        )
        if min(rows) > 1:
            text += (
                f"The stages before the {min(rows)}th of `training.recipe` were trained on Python "
                "alone."
            )
        text += "\n\n"
    ends = list(accumulate(stage.steps for stage in stages(plan["steps"])))
    for number, made in sorted(rows.items()):
        start = ends[number - 1] - made["stage"]["steps"]
        done = min(step - start, made["stage"]["steps"])
        if done > 0:
            text += f"{number}. {_stage(done, plan['rows_per_step'], made)}\n"
    return text


def _schedule(knots: list[tuple[int, float]]) -> str:
    return ", ".join(f"{max(0, step)}: {factor:.0%}" for step, factor in knots)


def _stage(steps: int, rows_per_step: int, made: dict[str, Any]) -> str:
    stage, fim = made["stage"], made["stage"]["fim"]
    seen = steps * rows_per_step * made["tokens"] / made["rows"]
    longest = int(made["length"] * stage["characters_per_token"])
    return (
        f"{steps} steps of sequences of {made['length']}: {seen / 1e6:.1f} million tokens, "
        f"{seen / made['tokens']:.2f} passes over the data, in pieces of at most {longest} "
        f"characters ({stage['sizes']}). {fim['rate']:.0%} of the pieces have a hole, "
        f"{fim['spm_rate']:.0%} of those "
        f"in the order suffix, prefix, middle, {fim['line_rate']:.0%} of the others anchored at "
        f"the line; after {fim['empty_suffix_rate']:.0%} of the holes "
        f"nothing follows; {fim['rest_of_line_rate']:.0%} of them are the rest of a line. Tokens "
        f"of a middle count {stage['middle_weight']:g} in the loss, its first "
        f"{stage['opening_weight']:g}."
    )


def _data(corpus: dict[str, Any]) -> str:
    if not corpus:
        return ""
    projects: dict[str, dict[str, Any]] = corpus["projects"]
    used = {name: p for name, p in projects.items() if not p["held_out"] and p["files"]}
    held_out = sorted(name for name, p in projects.items() if p["held_out"])
    size, count = Counter[str](), Counter[str]()
    for project in used.values():
        size[project["licence"]] += project["characters"]
        count[project["licence"]] += 1
    kept = ", ".join(f"{reason} {n}" for reason, n in sorted(corpus["documents"].items()))
    table = "".join(f"| {k} | {count[k]} | {n / 1e6:.2f} |\n" for k, n in size.most_common())
    languages = _counted(corpus.get("languages", {}), 1e6, "{:.1f}")
    return f"""## Data

Python's standard library and {len(used) - 1} packages and source trees whose metadata names a
permissive licence, at most {CHARACTERS_PER_PROJECT / 1e6:.0f} million characters of each, and of
other languages than Python up to a share. Millions of characters by language: {languages}.

Files by outcome of the filters: {kept}. Replaced by placeholders:
{_counted(corpus.get("private", {}))}. Set aside as whole projects, and read first so that
near-copies of them elsewhere go too: {", ".join(held_out)}. A file that holds a docstring or a
solution of HumanEval goes as "benchmark".

Other formats: {corpus.get("commits", 0)} commits, {corpus.get("notebooks", 0)} notebooks made of
docstrings' examples. Dialogues mined from source, by task: {_counted(corpus.get("dialogues", {}))}.

| licence, as the metadata names it | projects | million characters |
|---|---|---|
{table}
Largest sources: {_largest(used)}.
"""


def _counted(counts: dict[str, int], unit: float = 1, shape: str = "{:.0f}") -> str:
    order = sorted(counts, key=lambda name: -counts[name])
    return ", ".join(f"{name} {shape.format(counts[name] / unit)}" for name in order) or "none"


def _largest(projects: dict[str, dict[str, Any]]) -> str:
    order = sorted(projects, key=lambda name: -int(projects[name]["characters"]))
    return ", ".join(f"{name} ({projects[name]['characters'] / 1e6:.1f})" for name in order[:15])


_TASKS = {
    "rest_of_line": "rest of a Python line from a random column",
    "half_line": "rest of a Python line after half of it",
    "javascript": "rest of a JavaScript line from a random column",
    "human_eval_single_line": "HumanEval single-line infilling, whole line",
}


def _numbers(evaluation: dict[str, Any]) -> str:
    if not evaluation:
        return "## Numbers\n\nNot measured yet.\n"
    loss, talk = evaluation["loss"], evaluation["dialogue"]
    best = evaluation["rest_of_line " + evaluation["fim_form"]]
    table = "".join(
        f"| {label} | {name.split()[-1]} "
        f"| {100 * row['exact_match']:.1f} ± {100 * row['standard_error']:.1f} "
        f"| {100 * row['baseline_exact_match']:.1f} | {row['count']} |\n"
        for task, label in _TASKS.items()
        for name, row in evaluation.items()
        if name.startswith(f"{task} ")
    )
    return f"""## Numbers

On the projects set aside, after step {evaluation["step"]}: {loss["nats_per_token"]:.3f} nats a
token, {loss["bits_per_byte"]:.3f} bits a byte of Python.

| single lines, greedy, exact match | asked in form | model, % | baseline, % | lines |
|---|---|---|---|---|
{table}
`line` and `cursor` are prefix, suffix, middle, with the middle anchored at the cursor's line or at
the cursor; `suffix-first` is suffix, prefix, middle. `{evaluation["fim_form"]}` has the best mean
over the rows but HumanEval's, so config.json names it and the product asks so.
After {100 * best["still_parses"]:.1f}% of its completions the file parses, of the files that did
before. The baseline is an editor without a
model: the latest earlier line of the file that begins with what is typed. ± is one standard error.

Dialogues about {talk["count"]} held-out functions: {talk["nats_per_token"]:.3f} nats a token of
what their authors wrote; {100 * talk["well_formed"]:.1f}% of its greedy answers have the form that
was asked for (a function that parses, a docstring in quotes, one line). That says nothing of what
they say.
"""
