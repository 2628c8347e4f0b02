/** Which preview of a wish is kept: a choice in the making, like a draft, and so in this browser alone. @module */

const PLACE = "happyhorse.kept";
const MOST = 100;

/** @returns {Record<string, string>} */
function load() {
  try {
    return JSON.parse(localStorage.getItem(PLACE) ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/**
 * @param {string} group
 * @returns {string} The job's id; empty if none is kept.
 */
export function keptOf(group) {
  return load()[group] ?? "";
}

/**
 * @param {string} group
 * @param {string} id Empty for none.
 */
export function setKept(group, id) {
  const { [group]: _, ...others } = load();
  const kept = Object.entries({ ...others, ...(id ? { [group]: id } : {}) }).slice(-MOST);
  try {
    localStorage.setItem(PLACE, JSON.stringify(Object.fromEntries(kept)));
  } catch {
    // It then lasts until the page is left.
  }
}
