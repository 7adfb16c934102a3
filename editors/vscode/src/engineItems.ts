// The menu of the running engines. Pure.
import { formatBytes, formatSeconds } from "./format";
import type { RunningEngine } from "./protocol";

/** Return the label and the description of an engine. */
export function engineItem(engine: RunningEngine): { label: string; description: string } {
  const memory = engine.gpuMemoryBytes || engine.memoryBytes;
  const parts = [
    engine.state === "ready" ? `on ${engine.device}` : engine.detail || engine.state,
    memory === 0 ? "" : formatBytes(memory),
    engine.clients === 1 ? "1 client" : `${engine.clients} clients`,
    engine.state === "ready" ? `last request ${formatSeconds(engine.idleSeconds)} ago` : "",
    engine.current ? "in use here" : "",
  ];
  return { label: engine.model, description: parts.filter(Boolean).join("; ") };
}
