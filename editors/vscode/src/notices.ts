// Texts in notifications. Pure.

/**
 * Return a text that a notification shows as it is.
 *
 * VS Code makes links of `[label](command:...)` in notifications. Names of files and functions come
 * from the workspace, and must not become links that run commands.
 */
export function withoutLinks(text: string): string {
  return text.replaceAll("](", "]\u2060(");
}
