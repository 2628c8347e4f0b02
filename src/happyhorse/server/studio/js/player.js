/** A clip with its poster, a button to play it, and a line to scrub along. @module */

import { el, icon, setAttribute, setIcon } from "./dom.js";
import { wordsOf } from "./service.js";

/**
 * @typedef {object} PlayerOptions
 * @property {string} label What the clip is called.
 * @property {() => Promise<string>} film Its URL, asked for when it is first played.
 * @property {() => Promise<string>} [poster]
 * @property {number} seconds
 * @property {boolean} [scrub] Whether one may go to any place in it.
 */

/** One clip that can be played. */
export class Player {
  #film;
  #scrub;
  #toggle;
  #sign = icon("play");

  /** @param {PlayerOptions} options */
  constructor({ label, film, poster, seconds, scrub = true }) {
    this.#film = film;
    this.label = label;
    this.video = el("video", { playsinline: true, preload: "none", tabindex: -1, "aria-label": label });
    this.#toggle = el("button", { type: "button", class: "player-toggle", onclick: () => this.toggle() }, this.#sign);
    this.#scrub = el("input", {
      type: "range",
      class: "player-scrub",
      hidden: !scrub,
      min: 0,
      max: seconds,
      step: 1 / 24,
      value: 0,
      "aria-label": `Position in ${label}`,
      oninput: () => this.#seek(),
    });
    this.element = el("div", { class: "player" }, this.video, this.#toggle, this.#scrub);
    for (const kind of ["play", "pause", "ended"]) this.video.addEventListener(kind, () => this.#show());
    this.video.addEventListener("timeupdate", () => this.#followTime());
    poster?.().then(
      (url) => setAttribute(this.video, "poster", url),
      () => {},
    );
    this.#show();
  }

  toggle() {
    if (!this.video.paused) return this.video.pause();
    return this.#withFilm(() => this.video.play());
  }

  async load() {
    if (!this.video.src) this.video.src = await this.#film();
  }

  #seek() {
    const time = this.#scrub.valueAsNumber;
    return this.#withFilm(() => {
      this.video.currentTime = time;
    });
  }

  /** @param {() => void | Promise<void>} act What goes wrong is told to whoever shows this player. */
  async #withFilm(act) {
    try {
      await this.load();
      await act();
    } catch (error) {
      // Another clip that began meanwhile has stopped this one.
      if (error instanceof DOMException && error.name === "AbortError") return;
      this.element.dispatchEvent(new CustomEvent("trouble", { bubbles: true, detail: wordsOf(error) }));
    }
  }

  #followTime() {
    const { currentTime, duration } = this.video;
    this.#scrub.value = String(currentTime);
    this.#scrub.style.setProperty("--played", `${(100 * currentTime) / (duration || 1)}%`);
  }

  #show() {
    const playing = !this.video.paused && !this.video.ended;
    this.element.classList.toggle("playing", playing);
    setIcon(this.#sign, playing ? "pause" : "play");
    setAttribute(this.#toggle, "aria-label", `${playing ? "Pause" : "Play"} ${this.label}`);
  }
}
