// Converts markdown to HTML that is safe to show, with highlighted code.
import createDOMPurify, { type WindowLike } from "dompurify";
import hljs from "highlight.js/lib/common";
import MarkdownIt from "markdown-it";

const markdown = new MarkdownIt({
  html: false,
  linkify: false,
  highlight: (code, language) => {
    const supported = hljs.getLanguage(language) === undefined ? "plaintext" : language;
    return hljs.highlight(code, { language: supported }).value;
  },
});

/** The languages whose code blocks can be run, by their names in markdown. */
const RUNNABLE = new Set(["python", "python3", "py", "javascript", "js", "node", "mjs", "cjs"]);

const fence = markdown.renderer.rules.fence;
// Number the fenced blocks as the server does, and mark those that can be run.
markdown.renderer.rules.fence = (tokens, index, options, env: { num?: number }, renderer) => {
  const block = env.num ?? 0;
  env.num = block + 1;
  const html = fence?.(tokens, index, options, env, renderer) ?? "";
  const language = tokens[index]?.info.trim().split(/\s+/)[0]?.toLowerCase() ?? "";
  return RUNNABLE.has(language) ? html.replace("<pre", `<pre data-block="${block}"`) : html;
};

/** Return HTML for the model's markdown. It contains nothing that runs or loads a resource. */
export function render(text: string, window: WindowLike): string {
  return createDOMPurify(window).sanitize(markdown.render(text, {}), {
    FORBID_TAGS: ["img", "style", "form", "input", "iframe", "svg", "math"],
    FORBID_ATTR: ["style"],
  });
}
