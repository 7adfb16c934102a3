"""The prompts and the sampling with which the model is asked for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chat.asker import GREEDY
from chat.attachments import fenced
from chat.tasks.conventions import Convention
from chat.tasks.dialects.base import Dialect, Subject
from engine.api import Sampling
from syntax.symbols import Symbol

_MAX_EXAMPLE_CHARACTERS = 3000
_MAX_CONTEXT_CHARACTERS = 1500
_RANDOM = tuple(Sampling(temperature=0.6, top_p=0.95, seed=seed) for seed in range(1, 4))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to ask the model for tests."""

    begin: str
    """The code that the answer begins with."""
    prompts: tuple[str, ...]
    """The same request with less and less context. The first one that fits the window is sent."""
    sampling: Sampling


def batches_of(
    subject: Subject, convention: Convention, instruction: str, names: Sequence[str]
) -> list[tuple[Attempt, ...]]:
    """Return the attempts in order. Those of a batch are made at the same time.

    The next batch is asked for if the tests so far are not enough. The first attempt is alone,
    because it often is enough. Greedy sampling comes before random sampling. The last three
    attempts are for models that do not write a test by themselves: they force the first call of the
    subject, and they use only the last prompt, whose words the demo model knows.
    """
    dialect, name = convention.dialect, names[0] if names else ""
    prompts = _prompts(subject, convention, dialect, instruction)
    last_prompt = prompts[-1:]
    first_test = dialect.test_opening(subject, name)
    opening = dialect.file_head(subject) + first_test + (dialect.name_end if name else "")
    forced_first_call = first_test + dialect.first_call(subject)
    return [
        (Attempt(opening, prompts, GREEDY),),
        (
            Attempt(opening, prompts, _RANDOM[0]),
            Attempt(forced_first_call, last_prompt, GREEDY),
        ),
        (
            Attempt(forced_first_call, last_prompt, _RANDOM[1]),
            Attempt(forced_first_call, last_prompt, _RANDOM[2]),
        ),
    ]


def _prompts(
    subject: Subject, convention: Convention, dialect: Dialect, instruction: str
) -> tuple[str, ...]:
    """Return prompts for the same tests, the one with the most context first.

    The last one has the words of the training dialogues (`training.dialogues`), which the demo
    model knows.
    """
    symbol = subject.symbol
    instruction = f" {instruction}" if instruction else ""
    task = f"Write tests for `{symbol.name}` with {dialect.framework}.{instruction}"
    code = fenced(symbol.dedented, dialect.fence)
    context = _context_of(subject.text, symbol)
    code_in_context = f"{context}\n\n{symbol.dedented}" if context else symbol.dedented
    prompts = [
        f"{task}\n{fenced(code_in_context, dialect.fence)}",
        f"Write tests for `{symbol.name}`.{instruction}\n{code}",
    ]
    if convention.fixtures:
        fixtures = fenced(convention.fixtures[:_MAX_CONTEXT_CHARACTERS], dialect.fence)
        prompts.insert(0, f"The tests can use these fixtures:\n{fixtures}\n\n{prompts[0]}")
    if example := convention.example[:_MAX_EXAMPLE_CHARACTERS]:
        whole_lines = fenced(example.rsplit("\n", 1)[0], dialect.fence)
        prompts.insert(0, f"These are tests of the same project:\n{whole_lines}\n\n{prompts[0]}")
    return tuple(prompts)


def _context_of(text: str, symbol: Symbol) -> str:
    """Return the context of a symbol in its file: the imports and the line of its class."""
    lines = text.split("\n")
    import_starts = ("import ", "from ", "use ", "package ", "#include", "using ", "const ")
    context = [line for line in lines if line.startswith(import_starts)]
    if symbol.parents:
        name = symbol.parents[-1]
        class_line = next((line for line in lines if f"class {name}" in line), None)
        if class_line is not None:
            context += ["", class_line]
    return "\n".join(context)[:_MAX_CONTEXT_CHARACTERS].strip()
