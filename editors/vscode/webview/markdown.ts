// Markdown to HTML that is safe to show, with highlighted code.
import createDOMPurify, { type WindowLike } from "dompurify";
import hljs from "highlight.js/lib/common";
import MarkdownIt from "markdown-it";

const markdown = new MarkdownIt({
  html: false,
  linkify: false,
  highlight: (code, language) => {
    const known = hljs.getLanguage(language) === undefined ? "plaintext" : language;
    return hljs.highlight(code, { language: known }).value;
  },
});

/** Return HTML for a model's markdown; whatever it writes, nothing runs and nothing is fetched. */
export function render(text: string, window: WindowLike): string {
  return createDOMPurify(window).sanitize(markdown.render(text), {
    FORBID_TAGS: ["img", "style", "form", "input", "iframe", "svg", "math"],
    FORBID_ATTR: ["style"],
  });
}
