// Recalls earlier questions with the arrow keys, as a shell does. Pure.

/** The questions of a conversation, and which of them the input shows. */
export class Recall {
  private index = 0;

  constructor(private readonly questions: readonly string[]) {
    this.index = questions.length;
  }

  /** Return the question before the one in the input; undefined if the user has changed it. */
  earlier(input: string): string | undefined {
    return this.isUnchanged(input) ? this.move(-1) : undefined;
  }

  /** Return the question after the one in the input, empty after the last one. */
  later(input: string): string | undefined {
    return input !== "" && this.isUnchanged(input) ? this.move(1) : undefined;
  }

  private isUnchanged(input: string): boolean {
    if (input === "") {
      this.index = this.questions.length;
    }
    return input === (this.questions[this.index] ?? "");
  }

  private move(step: number): string | undefined {
    const index = this.index + step;
    if (index < 0 || index > this.questions.length) {
      return undefined;
    }
    this.index = index;
    return this.questions[index] ?? "";
  }
}
