import { JSDOM } from "jsdom";
import { expect, test } from "vitest";
import { render } from "../webview/markdown";

const { window } = new JSDOM("");
const html = (text: string) => render(text, window);

test("markdown becomes HTML and code is highlighted", () => {
  expect(html("It *adds*.")).toContain("<em>adds</em>");
  expect(html("```python\nreturn 1\n```")).toContain('<span class="hljs-keyword">return</span>');
  expect(html("```klingon\nx\n```")).toContain("<code");
});

test.each([
  "<img src=x onerror=alert(1)>",
  "<script>alert(1)</script>",
  "[a](javascript:alert(1))",
  "![a](https://example.com/a.png)",
  '<a href="x" onclick="alert(1)">a</a>',
  '```"><script>alert(1)</script>\nx\n```',
])("nothing runs and nothing is loaded: %s", (text) => {
  const { document } = new JSDOM(html(text)).window;
  expect(document.querySelectorAll("script, img, iframe, form, style")).toHaveLength(0);
  for (const element of document.querySelectorAll("*")) {
    const names = element.getAttributeNames();
    expect(names.filter((name) => name.startsWith("on"))).toEqual([]);
    expect(element.getAttribute("href") ?? "").not.toMatch(/^javascript:/i);
  }
});

test("a partial answer is rendered", () => {
  expect(html("```python\nret")).toContain("ret");
});

test("the fenced blocks that can be run have their numbers", () => {
  const text = "```python\na\n```\n\n    indented\n\n```sh\nb\n```\n~~~ JS title=x\nc\n~~~\n```";
  const { document } = new JSDOM(html(text)).window;
  const blocks = [...document.querySelectorAll<HTMLElement>("pre[data-block]")];
  const shown = blocks.map(({ dataset, textContent }) => [dataset.block, textContent]);
  expect(shown).toEqual([
    ["0", "a\n"],
    ["2", "c\n"],
  ]);
  expect(html('```python" onload="x\na\n```')).not.toContain("data-block");
});
