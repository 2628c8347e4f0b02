/** The page where clips are judged. @module */

import { forget } from "./clips.js";
import { el, find } from "./dom.js";
import { MatchView } from "./match.js";
import { ask, post, Refusal, wordsOf } from "./service.js";
import { oneSoundAtATime } from "./sound.js";
import { standings } from "./standings.js";

const form = /** @type {HTMLFormElement} */ (find("#filter"));
const place = find("#match");
/** @type {MatchView | null} */
let shown = null;

/** @returns {string} What is chosen, as a query. */
function query() {
  const data = new FormData(form);
  const category = String(data.get("category") ?? "");
  return String(new URLSearchParams({ board: String(data.get("board")), ...(category ? { category } : {}) }));
}

async function showMatch() {
  if (shown) forget(`/arena/api/match/${shown.match.match}`);
  shown = null;
  find("#trouble").textContent = "";
  try {
    const match = await ask(`/arena/api/match?${query()}`);
    shown = new MatchView(match, (choice, seconds) => vote(match.match, choice, seconds), showMatch);
    place.replaceChildren(shown.element);
    place.focus({ preventScroll: true });
  } catch (error) {
    if (error instanceof Refusal && error.status === 404)
      place.replaceChildren(el("p", { class: "empty" }, el("strong", {}, "No match to judge"), error.message));
    else trouble(error);
  }
}

/**
 * @param {string} match
 * @param {string} choice
 * @param {number} seconds
 */
async function vote(match, choice, seconds) {
  const names = await post("/arena/api/vote", { match, choice, seconds, played: true });
  showStandings();
  return names;
}

async function showStandings() {
  try {
    const table = await ask(`/arena/api/table?${query()}`);
    const votes = `${table.votes} vote${table.votes === 1 ? "" : "s"}`;
    find("#standings-facts").textContent = [votes, ...table.warnings].join(" · ");
    find("#standings").replaceChildren(...standings(table));
  } catch (error) {
    trouble(error);
  }
}

/** @param {unknown} error */
function trouble(error) {
  find("#trouble").textContent = wordsOf(error);
}

/** @param {string} name "portrait-and-dialogue" */
function title(name) {
  const words = name.replaceAll("-", " ");
  return words[0].toUpperCase() + words.slice(1);
}

async function begin() {
  oneSoundAtATime();
  try {
    const { boards, categories } = await ask("/arena/api/boards");
    const option = (/** @type {string} */ value) => el("option", { value }, title(value));
    find("#board").append(...boards.map(option));
    find("#category").append(el("option", { value: "" }, "All"), ...categories.map(option));
  } catch (error) {
    return trouble(error);
  }
  form.addEventListener("change", () => {
    showMatch();
    showStandings();
  });
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLSelectElement) return;
    shown?.press(event);
  });
  await showMatch();
  await showStandings();
}

begin();
