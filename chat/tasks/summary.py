"""What running generated tests showed, in numbers and as a sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """What running the chosen tests showed."""

    num_tests: int
    num_mutations: int
    num_detected: int
    num_lines: int
    """Number of lines of the subject that can be executed; 0 if they are not counted."""
    num_covered: int
    num_marked: int
    """Number of expected values that were observed."""

    @property
    def sentence(self) -> str:
        """The summary for the user."""
        count = self.num_tests
        parts = ["1 test, passes" if count == 1 else f"{count} tests, all pass"]
        if self.num_mutations:
            verb = "detects" if count == 1 else "detect"
            mutations = "mutation" if self.num_mutations == 1 else "mutations"
            parts.append(f"{verb} {self.num_detected} of {self.num_mutations} {mutations}")
        if self.num_lines:
            verb = "covers" if count == 1 else "cover"
            lines = "line" if self.num_lines == 1 else "lines"
            parts.append(f"{verb} {self.num_covered} of {self.num_lines} {lines}")
        sentence = f"{', '.join(parts)}."
        if self.num_marked == 1:
            sentence += " 1 expected value is the current behaviour: check that it is right."
        elif self.num_marked:
            sentence += (
                f" {self.num_marked} expected values are the current behaviour: check that they "
                "are right."
            )
        return sentence
