// Runs a job one run at a time; a pure module, without the VS Code API.

/** Never runs a job twice in parallel. All calls during a run share one run that follows it. */
export class SerialRunner {
  private running: Promise<void> | undefined;
  private waiting: Promise<void> | undefined;

  constructor(private readonly job: () => Promise<void>) {}

  /** Run the job as soon as no other run is active. The promise resolves when that run ends. */
  run(): Promise<void> {
    if (this.running === undefined) {
      this.running = this.job().finally(() => {
        this.running = undefined;
      });
      return this.running;
    }
    this.waiting ??= this.running
      .catch(() => undefined)
      .then(() => {
        this.waiting = undefined;
        return this.run();
      });
    return this.waiting;
  }
}
