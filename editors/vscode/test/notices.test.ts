import { expect, test } from "vitest";
import { withoutLinks } from "../src/notices";

/** How VS Code finds links in notifications. */
const LINK = /\[([^\]]+)\]\(((?:https?:\/\/|command:|file:)[^)\s]+)(?: (["'])(.+?)(\3))?\)/i;

test("a name of the workspace does not become a link in a notification", () => {
  for (const name of [
    "[Accept](command:workbench.action.terminal.new)",
    "a [b](https://example.com 'title') c",
    "[[a](file:///etc/passwd)](command:x)",
  ]) {
    expect(name).toMatch(LINK);
    expect(withoutLinks(name)).not.toMatch(LINK);
  }
});

test("other text stays as it is", () => {
  const text = "Jörg's [new] + project (pytest): f(x)[0]";
  expect(withoutLinks(text)).toBe(text);
});
