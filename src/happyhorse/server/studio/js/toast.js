/** A line at the foot of the page that offers to take a step back. @module */

import { button, el } from "./dom.js";

const SECONDS = 7;

/** @type {{finish: () => void} | null} */
let shown = null;

/**
 * Does something a little later, unless it is undone. Leaving the page does it at once.
 * @param {string} text What is about to happen, told as done.
 * @param {() => void} act
 * @param {() => void} undo
 * @param {HTMLElement} rest Where the focus goes afterwards.
 */
export function undoable(text, act, undo, rest) {
  shown?.finish();
  const toast = el("div", { class: "toast", role: "status" }, text);
  const end = (/** @type {() => void} */ then) => {
    clearTimeout(timer);
    removeEventListener("pagehide", finish);
    if (toast.contains(document.activeElement)) rest.focus({ preventScroll: true });
    toast.remove();
    shown = null;
    then();
  };
  const finish = () => end(act);
  const timer = setTimeout(finish, SECONDS * 1000);
  const back = button({ text: "Undo", class: "bare", onclick: () => end(undo) });
  toast.append(back);
  addEventListener("pagehide", finish);
  document.body.append(toast);
  back.focus();
  shown = { finish };
}
