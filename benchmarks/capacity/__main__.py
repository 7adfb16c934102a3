"""The capacity plan of docs/team/capacity.md.

python -m benchmarks.capacity
python -m benchmarks.capacity --card-price 1.9
python -m benchmarks.capacity --measured load.json      # of `python -m benchmarks.load --json`
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.capacity.inputs import (
    CARD_USD_PER_HOUR,
    DEMANDS,
    MISS_SHARE,
    MODELS,
    OUTPUT,
    REQUESTS_PER_TYPIST,
    Demand,
    Model,
)
from benchmarks.capacity.plan import Plan, plan, random_routing_miss_share, with_misses
from benchmarks.capacity.queueing import Costs, Output, p95_s, saturation
from benchmarks.capacity.validation import compare, read_rows, step_costs

_PROGRAMMERS = (1_000, 100_000)
_TYPISTS = DEMANDS[1]


def card_table() -> Table:
    """Return what one card does."""
    columns = ("model", "alone p95 ms", "target ms", "requests/s in time", "busy at", "typists",
               "prompts kept", "miss costs ms", "without routing /s")  # fmt: skip
    result = _table("One card", columns)
    for model in MODELS:
        own = plan(model, _TYPISTS, _PROGRAMMERS[0])
        costs = with_misses(model.costs, model.miss_s, MISS_SHARE)
        share = random_routing_miss_share(max(1, own.cards), MISS_SHARE)
        scattered = plan(model, _TYPISTS, _PROGRAMMERS[0], miss_share=share)
        result.add_row(
            _name(model),
            f"{1000 * p95_s(costs, OUTPUT, 0):.0f}",
            f"{1000 * model.target_s:.0f}",
            f"{own.rate_per_card:.1f}",
            f"{own.rate_per_card / saturation(costs, OUTPUT):.0%}",
            f"{own.rate_per_card / REQUESTS_PER_TYPIST:.0f}",
            str(model.cached_prompts),
            f"{1000 * model.miss_s:.0f}",
            f"{scattered.rate_per_card:.1f}",
        )
    return result


def plan_table(card_usd: float) -> Table:
    """Return the plans for all models, demands and numbers of programmers."""
    columns = ("model", "demand", "programmers", "peak requests/s", "cards", "programmers/card",
               "USD/month", "power USD/month")  # fmt: skip
    result = _table("Plan, per programmer", columns)
    for model in MODELS:
        for demand in DEMANDS:
            for programmers in _PROGRAMMERS:
                own = plan(model, demand, programmers, card_usd=card_usd)
                result.add_row(
                    _name(model),
                    demand.name,
                    f"{programmers:,}",
                    f"{own.peak_rate:,.0f}",
                    f"{own.cards:,}",
                    f"{own.programmers_per_card:,.0f}",
                    f"{own.usd_per_programmer:.2f}",
                    f"{own.kwh_usd_per_programmer:.2f}",
                )
    return result


def changes(model: Model, demand: Demand) -> Iterator[tuple[str, Plan]]:
    """Yield what changes one input at a time, and the plan for the larger number of programmers."""
    programmers, costs = _PROGRAMMERS[1], model.costs

    def changed(new_costs: Costs) -> Plan:
        return plan(replace(model, costs=new_costs), demand, programmers)

    yield "as planned", plan(model, demand, programmers)
    half, double = Output(OUTPUT.mean / 2, OUTPUT.p95 / 2), Output(OUTPUT.mean * 2, OUTPUT.p95 * 2)
    yield "outputs half as long", plan(model, demand, programmers, output=half)
    yield "outputs twice as long", plan(model, demand, programmers, output=double)
    yield "no cold prompt", plan(model, demand, programmers, miss_share=0.0)
    yield "20 % cold prompts", plan(model, demand, programmers, miss_share=0.2)
    yield "a further request costs 0.1 ms", changed(replace(costs, further_s=0.0001))
    yield "a further request costs 2 ms", changed(replace(costs, further_s=0.002))
    yield "a few new tokens take as long as a step", changed(replace(costs, prompt_s=costs.first_s))
    yield "64 completions per step", changed(replace(costs, max_batch=64))
    doubled = replace(demand, peak_rate=2 * demand.peak_rate)
    yield "twice the demand", plan(model, doubled, programmers)


def sensitivity_table() -> Table:
    """Return how much the number of cards depends on each input."""
    names = [name for name, _ in changes(MODELS[0], _TYPISTS)]
    result = _table(
        f"Cards for {_PROGRAMMERS[1]:,} programmers, {_TYPISTS.name} demand",
        ("change", *(_name(model) for model in MODELS)),
    )
    columns = [[own for _, own in changes(model, _TYPISTS)] for model in MODELS]
    for index, name in enumerate(names):
        cells = [_cards(column[index]) for column in columns]
        result.add_row(name, *cells)
    return result


def _cards(own: Plan) -> str:
    if not own.cards:
        return "never in time"
    return f"{own.cards:,}"


def validation_table(file: Path, model: str) -> Table:
    """Return the model's prediction and the measurement for each number of users."""
    first_s, further_s = step_costs(model)
    title = f"Model and measurement: a step {1000 * first_s:.2f} ms, further {1000 * further_s:.2f}"
    result = _table(title, ("typists", "requests/s", "predicted p95 ms", "measured p95 ms"))
    for each in compare(read_rows(file), first_s, further_s):
        predicted = "beyond" if math.isinf(each.predicted_ms) else f"{each.predicted_ms:.0f}"
        measured = "beyond" if math.isinf(each.measured_ms) else f"{each.measured_ms:.0f}"
        result.add_row(str(each.users), f"{each.rate:.1f}", predicted, measured)
    return result


def _name(model: Model) -> str:
    return f"{model.name} (estimate)" if model.is_estimate else model.name


def _table(title: str, columns: tuple[str, ...]) -> Table:
    result = Table(title=title)
    for number, column in enumerate(columns):
        result.add_column(column, justify="right" if number else "left")
    return result


def main(
    card_price: Annotated[
        float, typer.Option(min=0, help="Price of a card in USD per hour.")
    ] = CARD_USD_PER_HOUR,
    measured: Annotated[
        Path | None,
        typer.Option(help="Compare the queueing model with this file of `benchmarks.load`."),
    ] = None,
    model: Annotated[str, typer.Option(help="The model of that file.")] = "demo",
) -> None:
    """Print the plan, what it depends on, and how well the model predicts a measured load."""
    console = Console(width=130)
    console.print(card_table(), plan_table(card_price), sensitivity_table())
    if measured is not None:
        console.print(validation_table(measured, model))


if __name__ == "__main__":
    typer.run(main)
