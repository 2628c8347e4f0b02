/** The previews of one wish, beside each other. @module */

import { groupOf } from "./again.js";
import { announce } from "./announce.js";
import { compare } from "./compare.js";
import { button, el } from "./dom.js";
import { isFinished } from "./jobs.js";
import { keptOf, setKept } from "./kept.js";
import { wordsOf } from "./service.js";
import { Take } from "./take.js";
import { saySeconds } from "./time.js";

/** @typedef {import("./jobs.js").Job} Job */

/** A heading and its takes. */
export class Sheet {
  #facts = el("p", { class: "meta" });
  /** @type {Take[]} */
  #compared = [];

  /**
   * @param {Job[]} previews In their order.
   * @param {{watch: (job: Job) => void, timeLeft: (id: string) => number | null, vary: (job: Job) => void}} desk
   */
  constructor(previews, desk) {
    this.group = groupOf(previews[0]);
    const own = {
      ...desk,
      keep: (/** @type {Take} */ take) => this.#toggleKept(take),
      compare: (/** @type {Take} */ take) => this.#compare(take),
    };
    this.takes = previews.map((job, index) => new Take(job, index + 1, own));
    const title = el("h2", {}, previews[0].prompt);
    this.element = el(
      "section",
      { class: "sheet", "aria-label": previews[0].prompt },
      el(
        "header",
        { class: "sheet-head" },
        el("div", {}, title, this.#facts),
        button({
          icon: "vary",
          text: "Vary",
          class: "bare",
          title: "The same again with new seeds",
          onclick: () => desk.vary(previews[0]),
        }),
      ),
      el("div", { class: "takes" }, ...this.takes.map(({ element }) => element)),
    );
    this.#showKept();
    this.#count();
  }

  /**
   * @param {Job} job A preview or a render.
   * @returns {boolean} Whether it lies here.
   */
  show(job) {
    const take = this.takes.find((one) => one.job.id === job.id || one.job.id === job.remixed_from_video_id);
    if (!take || (take.job.id !== job.id && job.kind !== "render")) return false;
    const before = take.job.id === job.id ? take.job.status : take.render?.status;
    take.show(job);
    if (job.status === "completed" && before !== "completed")
      announce(`${take.name}${job.kind === "render" ? ", rendered," : ""} is ready.`);
    this.#count();
    return true;
  }

  tick() {
    for (const take of this.takes) take.tick();
  }

  #count() {
    const { size, seconds } = this.takes[0].job;
    const done = this.takes.filter(({ job }) => isFinished(job)).length;
    const ready = done === this.takes.length ? "" : ` · ${done} of ${this.takes.length} ready`;
    this.#facts.textContent = `${size} · ${saySeconds(Number(seconds))}${ready}`;
  }

  /** @param {Take} take The one that was kept is let go. */
  #toggleKept(take) {
    this.#keep(keptOf(this.group) === take.job.id ? "" : take.job.id);
  }

  /** @param {string} id Of a preview; empty for none. */
  #keep(id) {
    setKept(this.group, id);
    this.#showKept();
  }

  #showKept() {
    const kept = keptOf(this.group);
    for (const take of this.takes) take.kept = kept ? take.job.id === kept : null;
  }

  /** @param {Take} take The first is remembered, the second opens the comparison. */
  #compare(take) {
    const others = this.#compared.filter((one) => one !== take);
    this.#compared = others.length === this.#compared.length ? [...others, take] : others;
    for (const one of this.takes) one.compareButton.setAttribute("aria-pressed", String(this.#compared.includes(one)));
    if (this.#compared.length === 1) announce(`Choose another clip to compare with ${take.name}.`);
    if (this.#compared.length < 2) return;
    const [left, right] = this.#compared;
    this.#compared = [];
    compare(left, right, (chosen) => this.#keep(chosen.job.id))
      .catch((error) => take.say(wordsOf(error)))
      .finally(() => {
        for (const one of this.takes) one.compareButton.setAttribute("aria-pressed", "false");
        take.compareButton.focus();
      });
  }
}
