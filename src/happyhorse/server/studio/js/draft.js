/** What was typed but not sent, kept in this browser; everything else lives on the server. @module */

const PLACE = "happyhorse.draft";

/**
 * @typedef {object} Draft
 * @property {string} [prompt]
 * @property {string} [aspect] "1:1", "16:9" or "9:16"
 * @property {string} [size] "WxH", in place of the aspect
 * @property {number} [seconds]
 * @property {number} [seed]
 * @property {boolean} [locked] Whether the seed stays after the clips are made.
 * @property {number} [count]
 * @property {string} [model]
 */

/** @returns {Draft} */
export function loadDraft() {
  try {
    return JSON.parse(localStorage.getItem(PLACE) ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/** @param {Draft} draft */
export function saveDraft(draft) {
  try {
    localStorage.setItem(PLACE, JSON.stringify(draft));
  } catch {
    // A browser that keeps nothing still makes clips.
  }
}
