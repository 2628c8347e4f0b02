/** The API key: asked for when the server wants one, kept until the tab is closed. @module */

import { button, el } from "./dom.js";

const PLACE = "happyhorse.key";

/** @type {Promise<boolean> | null} */
let asking = null;

/** @returns {string} The key, empty if there is none. */
export function savedKey() {
  return sessionStorage.getItem(PLACE) ?? "";
}

/**
 * Asks for a key, once however many requests wait for it.
 * @param {string} why The server's words.
 * @returns {Promise<boolean>} Whether one was given.
 */
export function askForKey(why) {
  asking ??= ask(why).finally(() => {
    asking = null;
  });
  return asking;
}

/**
 * @param {string} why
 * @returns {Promise<boolean>}
 */
function ask(why) {
  const input = el("input", {
    class: "input",
    id: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "key-why",
  });
  const dialog = el(
    "dialog",
    { class: "small", "aria-labelledby": "key-title" },
    el(
      "form",
      { method: "dialog" },
      el("h2", { id: "key-title" }, "This server asks for a key"),
      el("p", { class: "note", id: "key-why" }, `${why} It is kept in this tab alone, until you close it.`),
      el("p", {}, el("label", { class: "label", for: "key" }, "API key"), input),
      el(
        "p",
        { class: "dialog-foot" },
        button({ text: "Not now", onclick: () => dialog.close("no") }),
        button({ text: "Go on", value: "yes", type: "submit", class: "main" }),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "yes" && input.value.trim() !== "";
      if (given) sessionStorage.setItem(PLACE, input.value.trim());
      dialog.remove();
      resolve(given);
    });
  });
}
