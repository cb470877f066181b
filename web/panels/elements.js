import { icon } from "./icons.js";

/** @returns {HTMLElement} an element with properties, attributes and children; text is never read as markup */
export function make(tag, { className = "", text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @returns {HTMLButtonElement} with an icon of that name, and the word of it */
export function makeButton(name, words, action, attributes = {}) {
  const label = words(name);
  const how = { className: "picture-panel-button", type: "button", title: label, "aria-label": label };
  const button = make("button", { ...how, ...attributes }, icon(name));
  button.addEventListener("click", action);
  return button;
}

/** Give a button that turns between two signs the icon and word of one of them. */
export function showSign(button, sign, words) {
  if (button.dataset.sign === sign) return;
  button.dataset.sign = sign;
  button.replaceChildren(icon(sign));
  button.title = words(sign);
  button.setAttribute("aria-label", words(sign));
}

export const press = (button, on) => button.setAttribute("aria-pressed", String(on));
