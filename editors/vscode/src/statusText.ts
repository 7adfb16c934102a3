// What the status bar says: pure.
import type { ServerStatus } from "./protocol";

export interface Shown {
  text: string;
  tooltip: string;
  warns: boolean;
}

/** Return text and hover of the status bar for the server's last word, undefined before any. */
export function statusText(status: ServerStatus | undefined): Shown {
  if (status === undefined) {
    return { text: "$(loading~spin) StarCoder", tooltip: "The server is starting.", warns: false };
  }
  const model = status.model.split("/").at(-1) ?? "";
  const name = status.demo ? "demo model" : model;
  const lines = [
    status.model === "" ? "" : `Model: ${status.model} on ${status.device}`,
    status.demo
      ? "This is the embedded demo model: its suggestions are poor by nature."
      : status.message,
    lastSuggestion(status),
    status.tokensPerSecond === 0 ? "" : `Speed: ${status.tokensPerSecond.toFixed(0)} tokens/s`,
    lastKey(status),
    "Click for more.",
  ];
  const tooltip = lines.filter((line) => line !== "").join("\n\n");
  switch (status.state) {
    case "starting":
      return {
        text: "$(loading~spin) StarCoder",
        tooltip: status.message || tooltip,
        warns: false,
      };
    case "busy":
      return { text: `$(loading~spin) StarCoder: ${name}`, tooltip, warns: false };
    case "error":
      return {
        text: "$(warning) StarCoder",
        tooltip: `${status.message}\n\nClick for more.`,
        warns: true,
      };
    case "disabled":
      return { text: "$(circle-slash) StarCoder", tooltip: `Off: ${status.why}`, warns: false };
    case "ready":
      return { text: `$(sparkle) StarCoder: ${name}`, tooltip, warns: false };
  }
}

function lastSuggestion({ lastAt, lastMs }: ServerStatus): string {
  const when = new Date(lastAt * 1000).toLocaleTimeString();
  return lastAt === 0 ? "" : `Last suggestion: ${when}, within ${lastMs.toFixed(0)} ms`;
}

function lastKey({ suggested, why }: ServerStatus): string {
  const said = suggested ? `a suggestion (${why})` : `no suggestion: ${why}`;
  return why === "" ? "" : `Last key: ${said}`;
}
