import { expect, test } from "vitest";
import { Turns } from "../src/turns";

/** A job whose runs end when they are told to, and what it did. */
function job() {
  const seen: string[] = [];
  const ends: Array<(error?: Error) => void> = [];
  const turns = new Turns(() => {
    const number = ends.length;
    seen.push(`begins ${number}`);
    return new Promise<void>((resolve, reject) => {
      ends.push((error) => {
        seen.push(`ends ${number}`);
        error === undefined ? resolve() : reject(error);
      });
    });
  });
  return { seen, ends, turns };
}

test("a run that is asked for while another runs waits for its end", async () => {
  const { seen, ends, turns } = job();
  const first = turns.run();
  const second = turns.run();
  expect(seen).toEqual(["begins 0"]);
  ends[0]?.();
  await first;
  await new Promise((done) => setTimeout(done));
  ends[1]?.();
  await second;
  expect(seen).toEqual(["begins 0", "ends 0", "begins 1", "ends 1"]);
});

test("those that wait become one", async () => {
  const { seen, ends, turns } = job();
  turns.run();
  const waiting = [turns.run(), turns.run(), turns.run()];
  ends[0]?.();
  await new Promise((done) => setTimeout(done));
  ends[1]?.();
  await Promise.all(waiting);
  expect(seen).toEqual(["begins 0", "ends 0", "begins 1", "ends 1"]);
});

test("a run that failed keeps none from following", async () => {
  const { seen, ends, turns } = job();
  const first = turns.run();
  const second = turns.run();
  ends[0]?.(new Error("it failed"));
  await expect(first).rejects.toThrow("it failed");
  await new Promise((done) => setTimeout(done));
  ends[1]?.();
  await second;
  expect(seen.at(-1)).toBe("ends 1");
});
