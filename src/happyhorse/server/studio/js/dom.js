/** Building and finding elements. @module */

/**
 * An element. Properties: "on…" listeners, true and false for attributes without a value, anything else an attribute.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else setAttribute(element, name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/**
 * Sets an attribute; null, undefined and false take it away.
 * @param {Element} element
 * @param {string} name
 * @param {string | number | boolean | null | undefined} value
 */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * An icon of icons/, drawn in the colour of its text and silent for screen readers.
 * @param {string} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "use"));
  setIcon(svg, name);
  return svg;
}

/**
 * @param {SVGSVGElement} svg
 * @param {string} name
 */
export function setIcon(svg, name) {
  svg.firstElementChild?.setAttribute("href", `icons/${name}.svg#icon`);
}

/**
 * A button with an icon, a text, or both; "unseen" keeps the text for screen readers and as a hint alone.
 * @param {{icon?: string, text: string, unseen?: boolean, class?: string, [property: string]: any}} options
 * @returns {HTMLButtonElement}
 */
export function button({ icon: name, text, unseen = false, class: classes = "", ...rest }) {
  return el(
    "button",
    { type: "button", class: `button ${classes}`.trim(), title: unseen ? text : null, ...rest },
    name ? icon(name) : null,
    el("span", { class: unseen ? "unseen" : "text" }, text),
  );
}

/**
 * The element that a page must have.
 * @template {Element} [Kind=HTMLElement]
 * @param {string} selector
 * @param {ParentNode} [root]
 * @returns {Kind}
 */
export function find(selector, root = document) {
  const found = root.querySelector(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return /** @type {any} */ (found);
}
