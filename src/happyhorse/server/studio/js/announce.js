/** Says what happened to those who do not see it. @module */

import { el } from "./dom.js";

/** @type {HTMLElement | null} */
let region = null;

/** @param {string} text */
export function announce(text) {
  if (!region) {
    region = el("div", { class: "unseen", role: "status", "aria-live": "polite" });
    document.body.append(region);
  }
  // A line of its own each, so that two that come together are both read.
  region.append(el("p", {}, text));
  while (region.children.length > 3) region.firstElementChild?.remove();
}
