/** What the server says of a wish before it is sent: how long it will take, and words that its model does not know. @module */

import { estimateJobs } from "./jobs.js";
import { Refusal } from "./service.js";

/** Milliseconds without a key stroke. */
const PAUSE = 900;

/** Asks when a wish has not changed for a moment. */
export class Estimate {
  #timer = 0;
  #asked = "";

  /** @param {(about: string, notes: string[]) => void} onAnswer */
  constructor(onAnswer) {
    this.onAnswer = onAnswer;
  }

  /** @param {import("./draft.js").Draft} draft */
  changed({ prompt = "", aspect = "", size, seconds = 0, count: n = 1, model }) {
    const wish = { prompt: prompt.trim(), size: size || aspect, seconds, n, ...(model ? { model } : {}) };
    const asked = JSON.stringify(wish);
    if (asked === this.#asked) return;
    this.#asked = asked;
    clearTimeout(this.#timer);
    if (!wish.prompt) this.onAnswer("", []);
    else this.#timer = setTimeout(() => this.#ask(wish, asked), PAUSE);
  }

  /**
   * @param {Parameters<typeof estimateJobs>[0]} wish
   * @param {string} asked
   */
  async #ask(wish, asked) {
    try {
      const { inference_time_s: work, queue_time_s: wait, measured, notes } = await estimateJobs(wish);
      if (asked === this.#asked) this.onAnswer(measured ? sayAbout(work + wait) : "", notes);
    } catch (error) {
      // What is wrong is said when the wish is sent; nobody likes to be corrected in mid-sentence.
      if (!(error instanceof Refusal)) throw error;
      if (asked === this.#asked) this.onAnswer("", []);
    }
  }
}

/** @param {number} seconds */
function sayAbout(seconds) {
  return seconds < 90
    ? `ready in about ${Math.max(1, Math.round(seconds))} s`
    : `ready in about ${Math.round(seconds / 60)} min`;
}
