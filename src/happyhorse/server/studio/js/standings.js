/** Ratings with their intervals, and how often each model was preferred to each other. @module */

import { el } from "./dom.js";

/**
 * @typedef {object} Row
 * @property {string} model
 * @property {number | null} group Ratings compare within one
 * @property {number | null} rank
 * @property {number | null} rating null where no finite one fits
 * @property {number | null} low Ends of the 95 % interval
 * @property {number | null} high
 * @property {number} votes
 * @property {string} note Why there is no rating
 */

/**
 * @typedef {object} Pair
 * @property {string} model
 * @property {string} rival
 * @property {number} votes
 * @property {{wins: number, losses: number, ties: number, both_bad: number}} rates
 */

/** @typedef {(rating: number) => string} Scale From ratings to places along a bar. */

/**
 * @param {{rows: Row[], rivals: Pair[]}} table
 * @returns {Node[]}
 */
export function standings({ rows, rivals }) {
  if (!rows.some(({ votes }) => votes))
    return [el("p", { class: "empty" }, el("strong", {}, "No votes yet"), "The first one is yours.")];
  const scale = scaleOf(rows);
  return [
    table(
      [
        ["", "number"],
        ["Model", ""],
        ["Rating, and its 95 % interval", "bar"],
        ["", "number"],
        ["Votes", "number wide-only"],
      ],
      rows.flatMap((row, index) => [...apart(row, rows[index - 1]), line(row, scale)]),
    ),
    el(
      "details",
      {},
      el("summary", {}, "Each against each"),
      table(
        [
          ["Model", ""],
          ["against", ""],
          ["Preferred", "number"],
          ["Tie", "number"],
          ["Not", "number"],
          ["", "wide-only"],
        ],
        rivals.map(pairLine),
      ),
    ),
  ];
}

/**
 * @param {Array<[text: string, kind: string]>} heads
 * @param {HTMLTableRowElement[]} lines
 */
function table(heads, lines) {
  return el(
    "table",
    {},
    el(
      "thead",
      {},
      el("tr", {}, ...heads.map(([text, kind]) => el(text ? "th" : "td", { scope: text && "col", class: kind }, text))),
    ),
    el("tbody", {}, ...lines),
  );
}

/**
 * @param {Row} row
 * @param {Row | undefined} before
 */
function apart({ group }, before) {
  if (!before || group === null || group === before.group) return [];
  return [
    el(
      "tr",
      {},
      el("td", { colspan: 5, class: "meta" }, "Those below cannot be compared with those above: no votes join them."),
    ),
  ];
}

/**
 * @param {Row} row
 * @param {Scale} scale
 */
function line({ model, rank, rating, low, high, votes, note }, scale) {
  return el(
    "tr",
    {},
    el("td", { class: "number meta" }, rank === null ? "" : String(rank)),
    el("th", { scope: "row" }, model),
    el(
      "td",
      { class: "bar" },
      rating === null ? el("span", { class: "meta" }, note) : interval(rating, low ?? rating, high ?? rating, scale),
    ),
    el("td", { class: "number" }, rating === null ? null : String(Math.round(rating))),
    el("td", { class: "number wide-only" }, String(votes)),
  );
}

/**
 * @param {number} rating
 * @param {number} low
 * @param {number} high
 * @param {Scale} scale
 */
function interval(rating, low, high, scale) {
  const said = `between ${Math.round(low)} and ${Math.round(high)}`;
  const bar = el("span", { class: "interval", role: "img", title: said, "aria-label": said }, el("i"), el("b"));
  for (const [name, value] of Object.entries({ low, high, rating })) bar.style.setProperty(`--${name}`, scale(value));
  return bar;
}

/**
 * @param {Row[]} rows
 * @returns {Scale}
 */
function scaleOf(rows) {
  const ends = rows.flatMap(({ rating, low, high }) => (rating === null ? [] : [low ?? rating, high ?? rating]));
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const room = (high - low) * 0.06 || 10;
  return (rating) => `${((rating - low + room) / (high - low + 2 * room)) * 100}%`;
}

/** @param {Pair} pair */
function pairLine({ model, rival, rates }) {
  const ties = rates.ties + rates.both_bad;
  const percent = (/** @type {number} */ share) => el("td", { class: "number" }, `${Math.round(100 * share)} %`);
  const bar = el("span", { class: "rates", "aria-hidden": "true" }, part("wins", rates.wins), part("ties", ties));
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, model),
    el("td", {}, rival),
    percent(rates.wins),
    percent(ties),
    percent(rates.losses),
    el("td", { class: "wide-only" }, bar),
  );
}

/**
 * @param {string} kind
 * @param {number} share
 */
function part(kind, share) {
  const element = el("i", { class: kind });
  element.style.setProperty("--part", `${100 * share}%`);
  return element;
}
