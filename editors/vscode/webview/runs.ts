// Buttons that run the code blocks of answers, and what came out of them. The output is only text.
import type { BlockOfAnswer, FromWebview, ToWebview } from "../src/chat/messages";
import { button, labelled } from "./elements";

type Ran = Extract<ToWebview, { type: "ran" }>;

export class Runs {
  /** What is shown below the blocks: that a block runs, or what came out of it. */
  private readonly states = new Map<string, "running" | Ran>();

  constructor(
    private readonly log: HTMLElement,
    private readonly post: (message: FromWebview) => void,
  ) {}

  /** Add buttons to the blocks of all answers that are complete, and show earlier results. */
  showAll(): void {
    for (const pre of this.log.querySelectorAll<HTMLElement>(
      ".assistant:not(.streaming) pre[data-block]",
    )) {
      this.show(pre);
    }
  }

  /** Show what came out of a block. */
  receive(ran: Ran): void {
    this.states.set(keyOf(ran), ran);
    const answers = [...this.log.querySelectorAll<HTMLElement>(".assistant:not(.streaming)")];
    const answer = answers.find(({ dataset }) => dataset.turn === ran.turn);
    const pre = answer?.querySelector<HTMLElement>(`pre[data-block="${ran.block}"]`);
    if (pre) {
      this.show(pre);
    }
  }

  private show(pre: HTMLElement): void {
    const turn = pre.closest<HTMLElement>(".turn")?.dataset.turn ?? "";
    const bar = pre.previousElementSibling;
    if (turn === "" || bar === null) {
      return; // the server has not stored the answer
    }
    const block = { turn, block: Number(pre.dataset.block) };
    const state = this.states.get(keyOf(block));
    const hadFocus = bar.querySelector(".run")?.matches(":focus") ?? false;
    bar.querySelector(".run")?.remove();
    const run =
      state === "running"
        ? button("Stop", () => this.post({ type: "stopRun", ...block }))
        : button("Run", () => this.start(pre, block));
    run.classList.add("run");
    bar.prepend(run);
    if (hadFocus) {
      run.focus();
    }
    if (pre.nextElementSibling?.classList.contains("run-result")) {
      pre.nextElementSibling.remove();
    }
    if (state !== undefined) {
      pre.after(state === "running" ? resultElement("Running…") : ranElement(state));
    }
  }

  private start(pre: HTMLElement, block: BlockOfAnswer): void {
    this.states.set(keyOf(block), "running");
    this.show(pre);
    this.post({ type: "run", code: pre.textContent ?? "", ...block });
  }
}

function keyOf({ turn, block }: BlockOfAnswer): string {
  return `${turn}:${block}`;
}

function resultElement(note: string, isFailure = false): HTMLElement {
  const result = labelled("div", isFailure ? "run-result failed" : "run-result", "");
  result.setAttribute("role", "group");
  result.setAttribute("aria-label", "Result");
  const line = labelled("p", "run-note", note);
  line.setAttribute("role", "status");
  result.append(line);
  return result;
}

function ranElement({ run, problem }: Ran): HTMLElement {
  if (run === null) {
    return resultElement(problem, true);
  }
  const empty = run.output === "" && run.figures.length === 0 ? ", without output" : "";
  const note = `${run.outcome} after ${run.seconds.toFixed(1)} s${empty}`;
  const result = resultElement(note, run.outcome !== "passed");
  if (run.output !== "") {
    const output = labelled("pre", "run-output", run.output);
    output.tabIndex = 0;
    output.setAttribute("role", "region");
    output.setAttribute("aria-label", "Output");
    result.append(output);
  }
  for (const [index, figure] of run.figures.entries()) {
    const image = document.createElement("img");
    image.src = `data:image/png;base64,${figure}`;
    image.alt = `Figure ${index + 1}`;
    result.append(image);
  }
  return result;
}
