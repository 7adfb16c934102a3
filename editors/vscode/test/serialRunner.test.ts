import { expect, test } from "vitest";
import { SerialRunner } from "../src/serialRunner";

/** Return a runner of a job that logs its events. `ends[n]` ends run `n`, with an error if given. */
function loggedRunner() {
  const events: string[] = [];
  const ends: Array<(error?: Error) => void> = [];
  const runner = new SerialRunner(() => {
    const number = ends.length;
    events.push(`start ${number}`);
    return new Promise<void>((resolve, reject) => {
      ends.push((error) => {
        events.push(`end ${number}`);
        error === undefined ? resolve() : reject(error);
      });
    });
  });
  return { events, ends, runner };
}

const nextTick = () => new Promise((resolve) => setTimeout(resolve));

test("a run that is requested during another run waits for its end", async () => {
  const { events, ends, runner } = loggedRunner();
  const first = runner.run();
  const second = runner.run();
  expect(events).toEqual(["start 0"]);
  ends[0]?.();
  await first;
  await nextTick();
  ends[1]?.();
  await second;
  expect(events).toEqual(["start 0", "end 0", "start 1", "end 1"]);
});

test("all waiting calls share one run", async () => {
  const { events, ends, runner } = loggedRunner();
  runner.run();
  const waiting = [runner.run(), runner.run(), runner.run()];
  ends[0]?.();
  await nextTick();
  ends[1]?.();
  await Promise.all(waiting);
  expect(events).toEqual(["start 0", "end 0", "start 1", "end 1"]);
});

test("a failed run does not prevent the next run", async () => {
  const { events, ends, runner } = loggedRunner();
  const first = runner.run();
  const second = runner.run();
  ends[0]?.(new Error("it failed"));
  await expect(first).rejects.toThrow("it failed");
  await nextTick();
  ends[1]?.();
  await second;
  expect(events.at(-1)).toBe("end 1");
});
