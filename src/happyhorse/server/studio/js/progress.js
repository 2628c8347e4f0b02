/** How far a job is, how long it will take, and a button to stop it. @module */

import { button, el, setAttribute } from "./dom.js";
import { sayTimeLeft } from "./time.js";

/** What the stages of the making are called here. */
const STAGES = {
  load: "loading the model",
  read: "reading",
  denoise: "making",
  enlarge: "enlarging",
  render: "rendering",
  picture: "the picture",
  sound: "the sound",
  write: "writing",
};

/** A figure, a line, a few words. */
export class Progress {
  #figure = el("span", { class: "progress-figure" });
  #words = el("span", { class: "progress-words meta" });
  #line = el("span", { class: "progress-line" });

  /**
   * @param {string} label
   * @param {() => void} onCancel
   */
  constructor(label, onCancel) {
    this.bar = el(
      "div",
      { class: "progress-bar", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 },
      this.#figure,
      this.#words,
      this.#line,
    );
    this.element = el(
      "div",
      { class: "progress" },
      this.bar,
      button({
        icon: "close",
        text: label.replace("Progress of", "Cancel"),
        unseen: true,
        class: "bare progress-cancel",
        onclick: onCancel,
      }),
    );
  }

  /**
   * @param {import("./jobs.js").Job} job
   * @param {number | null} left Seconds
   */
  show({ status, progress, stage }, left) {
    const percent = Math.floor(progress);
    const waiting = status === "queued";
    const doing = STAGES[/** @type {keyof STAGES} */ (stage)] ?? stage;
    const words = waiting
      ? "waiting its turn"
      : [doing, left === null ? "" : sayTimeLeft(left)].filter(Boolean).join(" · ");
    this.#figure.textContent = waiting ? "" : `${percent} %`;
    this.#words.textContent = words;
    this.#line.style.setProperty("--done", `${progress}%`);
    setAttribute(this.bar, "aria-valuenow", percent);
    setAttribute(this.bar, "aria-valuetext", waiting ? words : `${percent} %, ${words}`);
    this.element.classList.toggle("waiting", waiting);
  }
}
