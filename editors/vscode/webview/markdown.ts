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

/** Return HTML for the model's markdown. It contains nothing that runs or loads a resource. */
export function render(text: string, window: WindowLike): string {
  return createDOMPurify(window).sanitize(markdown.render(text), {
    FORBID_TAGS: ["img", "style", "form", "input", "iframe", "svg", "math"],
    FORBID_ATTR: ["style"],
  });
}
