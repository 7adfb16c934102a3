"""Small repositories of generated Python modules."""

import random
from pathlib import Path


def source(number: int) -> str:
    rng = random.Random(number)
    names = [f"value_{rng.randrange(99)}" for _ in range(6)]
    lines = "".join(f"    {name} = compute({name}, {rng.randrange(99)})\n" for name in names)
    return (
        f"def function_{number}({', '.join(sorted(set(names)))}):\n{lines}    return {names[0]}\n"
    )


def make_repository(root: Path) -> Path:
    (root / "src").mkdir(parents=True)
    for number in range(12):
        (root / "src" / f"module_{number}.py").write_text(source(number))
    (root / "README.md").write_text("# Words\n")
    return root
