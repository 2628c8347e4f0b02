/** Clips as a grid of posters. @module */

import { posterOf } from "./clips.js";
import { el } from "./dom.js";
import { sayWhen } from "./time.js";

/** @typedef {import("./jobs.js").Job} Job */

/**
 * @typedef {object} Spine A clip on the shelf.
 * @property {Job} job
 * @property {Job | null} render
 */

/**
 * Finished clips, each with its render, the newest first.
 * @param {Job[]} jobs
 * @returns {Spine[]}
 */
export function shelve(jobs) {
  const renders = new Map(
    jobs
      .filter(isRender)
      .reverse()
      .map((job) => [job.remixed_from_video_id, job]),
  );
  const here = new Set(jobs.map(({ id }) => id));
  const own = jobs.filter((job) => !isRender(job) || !here.has(job.remixed_from_video_id ?? ""));
  return own.map((job) => ({ job, render: renders.get(job.id) ?? null }));
}

/** @param {Job} job */
function isRender({ kind }) {
  return kind === "render";
}

/** The grid; posters are fetched when they come into view. */
export class Shelf {
  /** @type {Map<string, {key: string, element: HTMLLIElement}>} */
  #places = new Map();
  #sight = new IntersectionObserver((entries) => entries.forEach((entry) => this.#seen(entry)), {
    rootMargin: "400px",
  });

  /**
   * @param {HTMLElement} list
   * @param {(spine: Spine) => void} onOpen
   */
  constructor(list, onOpen) {
    this.list = list;
    this.onOpen = onOpen;
  }

  /** @param {Spine[]} spines */
  show(spines) {
    this.list.replaceChildren(...spines.map((spine) => this.#place(spine)));
  }

  /** @param {Spine} spine Those that were shown before keep their element and poster. */
  #place(spine) {
    const key = `${spine.job.id} ${spine.render?.id ?? ""}`;
    const before = this.#places.get(spine.job.id);
    if (before?.key === key) return before.element;
    const element = this.#build(spine);
    this.#places.set(spine.job.id, { key, element });
    this.#sight.observe(element);
    return element;
  }

  /** @param {Spine} spine */
  #build(spine) {
    const { job, render } = spine;
    const facts = [`seed ${job.seed}`, (render ?? job).size, sayWhen(job.created_at)].join(" · ");
    return el(
      "li",
      { "data-id": job.id },
      el(
        "button",
        { type: "button", class: "spine", onclick: () => this.onOpen(spine) },
        el("span", { class: "poster" }),
        el("span", { class: "title" }, job.prompt),
        el("span", { class: "meta" }, facts),
      ),
    );
  }

  /** @param {IntersectionObserverEntry} entry */
  async #seen({ isIntersecting, target }) {
    if (!isIntersecting) return;
    this.#sight.unobserve(target);
    try {
      const src = await posterOf(target.getAttribute("data-id") ?? "");
      target.querySelector(".poster")?.append(el("img", { src, alt: "" }));
    } catch {
      // A clip without a poster is still there to be opened.
    }
  }
}
