// Small helpers for HTML elements.

/** Return the element with an id of the page. */
export function element<T extends HTMLElement>(id: string): T {
  const target = document.getElementById(id);
  if (target === null) {
    throw new Error(`no element has the id ${id}`);
  }
  return target as T;
}

/** Return a button that runs an action. */
export function button(label: string, action: () => void): HTMLButtonElement {
  const target = document.createElement("button");
  target.type = "button";
  target.textContent = label;
  target.addEventListener("click", action);
  return target;
}

/** Return an element with a class and text. */
export function labelled(tag: string, className: string, text: string): HTMLElement {
  const target = document.createElement(tag);
  target.className = className;
  target.textContent = text;
  return target;
}
