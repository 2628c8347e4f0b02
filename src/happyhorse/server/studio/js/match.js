/** One match: two clips whose makers are not known, and four ways to choose. @module */

import { announce } from "./announce.js";
import { objectUrl } from "./clips.js";
import { button, el } from "./dom.js";
import { turn } from "./loudness.js";
import { Player } from "./player.js";
import { wordsOf } from "./service.js";

/**
 * @typedef {object} Side
 * @property {string} clip Its path
 * @property {number} gain What its sound is multiplied by
 */

/**
 * @typedef {object} Match
 * @property {string} match Names it
 * @property {string} prompt
 * @property {string | null} image The path of the image that both clips began with
 * @property {Side} left
 * @property {Side} right
 */

/** @typedef {"left" | "right" | "tie" | "both-bad"} Choice */

/** @type {Array<{choice: Choice, text: string, icon: string, key: string}>} */
const CHOICES = [
  { choice: "left", text: "Left", icon: "left", key: "ArrowLeft" },
  { choice: "tie", text: "Tie", icon: "down", key: "ArrowDown" },
  { choice: "both-bad", text: "Both bad", icon: "up", key: "ArrowUp" },
  { choice: "right", text: "Right", icon: "right", key: "ArrowRight" },
];

/** A match on the page. */
export class MatchView {
  #played = new Set();
  #voted = false;
  #watched = 0;
  #foot = el("div", { class: "match-foot" });

  /**
   * @param {Match} match
   * @param {(choice: Choice, seconds: number) => Promise<{left: string, right: string}>} vote
   * @param {() => void} next
   */
  constructor(match, vote, next) {
    this.match = match;
    this.vote = vote;
    this.next = next;
    this.sides = { left: this.#side("left", match.left), right: this.#side("right", match.right) };
    this.buttons = CHOICES.map(({ choice, text, icon }) =>
      button({ icon, text, disabled: true, onclick: () => this.#choose(choice) }),
    );
    const image = match.image ? el("img", { alt: "The image that both begin with" }) : null;
    if (image && match.image)
      objectUrl(match.image).then(
        (url) => image.setAttribute("src", url),
        () => {},
      );
    this.element = el(
      "div",
      {},
      el("div", { class: "match-prompt" }, image, el("h2", {}, match.prompt)),
      el("div", { class: "match-clips" }, this.sides.left.element, this.sides.right.element),
      el("div", { class: "votes", role: "group", "aria-label": "Which is better?" }, ...this.buttons),
      this.#foot,
    );
    this.#foot.append(
      el("p", { class: "meta" }, "The choice opens when both have played to their ends. Arrow keys choose, too."),
    );
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const chosen = CHOICES.find(({ key }) => key === event.key);
    if (!chosen || event.altKey || event.ctrlKey || event.metaKey || this.buttons[0].disabled) return;
    event.preventDefault();
    this.#choose(chosen.choice);
  }

  /**
   * @param {"left" | "right"} name
   * @param {Side} side
   */
  #side(name, { clip, gain }) {
    const player = new Player({ label: `${name} clip`, film: () => objectUrl(clip), seconds: 0, scrub: false });
    player.video.preload = "auto";
    player.video.addEventListener("play", () => turn(player.video, gain), { once: true });
    let began = 0;
    player.video.addEventListener("play", () => {
      began = performance.now();
    });
    player.video.addEventListener("pause", () => {
      this.#watched += (performance.now() - began) / 1000;
    });
    player.video.addEventListener("ended", () => this.#heardOut(name));
    player.load().catch(() => {});
    const caption = el("figcaption", {}, el("span", { class: "meta" }, "not played yet"));
    return { player, caption, element: el("figure", {}, player.element, caption) };
  }

  /** @param {"left" | "right"} name */
  #heardOut(name) {
    if (this.#voted) return;
    this.#played.add(name);
    this.sides[name].caption.replaceChildren(el("span", { class: "meta" }, "played"));
    if (this.#played.size < 2 || !this.buttons[0].disabled) return;
    for (const one of this.buttons) one.disabled = false;
    this.#foot.replaceChildren();
    announce("Both have played. Choose left, right, tie or both bad.");
  }

  /** @param {Choice} choice */
  async #choose(choice) {
    if (this.#voted) return;
    this.#voted = true;
    for (const one of this.buttons) one.disabled = true;
    try {
      const names = await this.vote(choice, this.#watched);
      this.#reveal(choice, names);
    } catch (error) {
      this.#voted = false;
      for (const one of this.buttons) one.disabled = false;
      this.#foot.replaceChildren(el("p", { class: "trouble", role: "alert" }, wordsOf(error)));
    }
  }

  /**
   * @param {Choice} choice
   * @param {{left: string, right: string}} names
   */
  #reveal(choice, names) {
    this.buttons[CHOICES.findIndex((one) => one.choice === choice)].setAttribute("aria-pressed", "true");
    for (const name of /** @type {const} */ (["left", "right"])) {
      const { caption, element } = this.sides[name];
      caption.replaceChildren(el("span", { class: "name" }, names[name]));
      element.classList.toggle("chosen", choice === name);
    }
    const next = button({ text: "Next match", class: "main", onclick: this.next });
    this.#foot.replaceChildren(next);
    next.focus();
    announce(`Left was ${names.left}, right was ${names.right}.`);
  }
}
