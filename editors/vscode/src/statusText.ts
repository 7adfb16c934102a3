// Text and hover of the status bar item. Pure.
import type { ChatStatus, ServerStatus } from "./protocol";

export interface StatusText {
  text: string;
  /** Markdown. */
  tooltip: string;
  isWarning: boolean;
}

/** Return the text for the last status that the server sent, undefined before the first one. */
export function statusText(status: ServerStatus | undefined): StatusText {
  if (status === undefined) {
    const text = "$(loading~spin) StarCoder";
    return { text, tooltip: "The server is starting.", isWarning: false };
  }
  const model = status.model.split("/").at(-1) ?? "";
  const name = status.demo ? "demo model" : model;
  const lines = [
    status.model === "" ? "" : `Model: ${status.model} on ${status.device}`,
    // A server of an older version does not send this field.
    status.chat ? chatModel(status.chat) : "",
    status.demo
      ? "This is the small embedded demo model. Its suggestions are poor."
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
        isWarning: false,
      };
    case "error":
      return {
        text: "$(warning) StarCoder",
        tooltip: `${status.message}\n\nClick for more.`,
        isWarning: true,
      };
    case "disabled":
      return { text: "$(circle-slash) StarCoder", tooltip: `Off: ${status.why}`, isWarning: false };
    case "ready":
      return { text: `$(sparkle) StarCoder: ${name}`, tooltip, isWarning: false };
  }
}

function chatModel({ model, device, state, message }: ChatStatus): string {
  switch (state) {
    case "stopped":
      return `Chat model: ${model}, starts with the first question`;
    case "ready":
      return `Chat model: ${model} on ${device}${message === "" ? "" : `. ${message}`}`;
    default:
      return `Chat model: ${model}: ${message}`;
  }
}

function lastSuggestion({ lastAt, lastMs }: ServerStatus): string {
  const time = new Date(lastAt * 1000).toLocaleTimeString();
  return lastAt === 0 ? "" : `Last suggestion: ${time}, within ${lastMs.toFixed(0)} ms`;
}

function lastKey({ suggested, why }: ServerStatus): string {
  const result = suggested ? `a suggestion (${why})` : `no suggestion: ${why}`;
  return why === "" ? "" : `Last key: ${result}`;
}
