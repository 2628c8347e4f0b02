/** One preview: waiting, being made, or there to be played, kept, compared, rendered and downloaded. @module */

import { announce } from "./announce.js";
import { download, fileName, filmOf, posterOf } from "./clips.js";
import { button, el, find, setAttribute, setIcon } from "./dom.js";
import { cancelJob, isFinished, renderJob } from "./jobs.js";
import { Player } from "./player.js";
import { Progress } from "./progress.js";
import { wordsOf } from "./service.js";

/** @typedef {import("./jobs.js").Job} Job */

/**
 * @typedef {object} Desk What a take tells the page it lies on.
 * @property {(job: Job) => void} watch A job began.
 * @property {(id: string) => number | null} timeLeft
 * @property {(take: Take) => void} keep
 * @property {(take: Take) => void} compare
 */

/** A card. */
export class Take {
  /** @type {Job | null} */
  render = null;
  /** @type {Player | null} */
  player = null;
  #media = el("div", { class: "take-media" });
  #trouble = el("p", { class: "trouble", role: "alert" });
  #facts = el("p", { class: "meta take-facts" });
  #progress;
  #rendering;
  #buttons;
  /** What the frame shows, so that a clip that plays is not disturbed. */
  #shown = "";

  /**
   * @param {Job} job
   * @param {number} number 1, 2, 3, ... in its sheet.
   * @param {Desk} desk
   */
  constructor(job, number, desk) {
    this.job = job;
    this.desk = desk;
    this.name = `clip ${number}`;
    this.#progress = new Progress(`Progress of ${this.name}`, () => this.#cancel(this.job));
    this.#rendering = new Progress(
      `Progress of the render of ${this.name}`,
      () => this.render && this.#cancel(this.render),
    );
    this.keepButton = button({ icon: "keep", text: "Keep", "aria-pressed": "false", onclick: () => desk.keep(this) });
    this.compareButton = button({
      icon: "compare",
      text: "Compare",
      "aria-pressed": "false",
      onclick: () => desk.compare(this),
    });
    this.renderButton = button({ icon: "render", text: "Render", onclick: () => this.#askForRender() });
    const save = button({
      icon: "download",
      text: `Download ${this.name}`,
      unseen: true,
      onclick: () => this.#download(),
    });
    const buttons = [this.keepButton, this.compareButton, this.renderButton, save];
    for (const one of buttons) one.classList.add("bare");
    this.#buttons = el(
      "div",
      { class: "take-buttons", role: "group", "aria-label": `What to do with ${this.name}` },
      ...buttons,
    );
    this.element = el(
      "article",
      { class: "take", "aria-label": capital(this.name) },
      this.#media,
      this.#rendering.element,
      this.#facts,
      this.#buttons,
      this.#trouble,
    );
    this.element.addEventListener("trouble", (event) => this.say(/** @type {CustomEvent} */ (event).detail));
    const [width, height] = job.size.split("x");
    this.element.style.setProperty("--shape", `${width} / ${height}`);
    this.show(job);
  }

  /** @returns {Job} The render once it is there, else the preview. */
  get best() {
    return this.render?.status === "completed" ? this.render : this.job;
  }

  /** @param {Job} job Its own, or the render's. */
  show(job) {
    if (job.id === this.job.id) this.job = job;
    else this.render = job;
    this.#showMedia();
    this.#showRender();
    this.#facts.textContent = `seed ${this.job.seed}${this.best === this.render ? ` · ${this.best.size}` : ""}`;
    this.#buttons.hidden = this.job.status !== "completed";
    if (job.status === "failed") this.say(job.error?.message ?? "It could not be made.");
  }

  /** Tells the time that is left; it passes also when nothing happens. */
  tick() {
    if (!isFinished(this.job)) this.#progress.show(this.job, this.desk.timeLeft(this.job.id));
    if (this.render && !isFinished(this.render)) this.#rendering.show(this.render, this.desk.timeLeft(this.render.id));
  }

  #showMedia() {
    const { id, status } = this.best;
    const shown = isFinished(this.job) ? `${id} ${status}` : "progress";
    if (shown === "progress") this.#progress.show(this.job, this.desk.timeLeft(id));
    if (shown === this.#shown) return;
    // Nobody's clip is taken away while it plays.
    if (this.player && !this.player.video.paused)
      return this.player.video.addEventListener("pause", () => this.#showMedia(), { once: true });
    this.#shown = shown;
    if (this.job.status === "completed") this.#showPlayer();
    else
      this.#media.replaceChildren(
        shown === "progress" ? this.#progress.element : el("p", { class: "take-none" }, status),
      );
  }

  #showPlayer() {
    const { id, seconds } = this.best;
    this.player = new Player({
      label: this.name,
      seconds: Number(seconds),
      film: () => filmOf(id),
      poster: () => posterOf(id),
    });
    this.#media.replaceChildren(this.player.element);
  }

  #showRender() {
    const running = Boolean(this.render && !isFinished(this.render));
    this.#rendering.element.hidden = !running;
    if (this.render && running) this.#rendering.show(this.render, this.desk.timeLeft(this.render.id));
    const done = this.render?.status === "completed";
    this.renderButton.disabled = running || done;
    const text = this.renderButton.querySelector(".text");
    if (text) text.textContent = done ? "Rendered" : "Render";
  }

  async #askForRender() {
    this.say("");
    await this.#try(async () => {
      const job = await renderJob(this.job.id);
      this.show(job);
      this.desk.watch(job);
      announce(`Rendering ${this.name}.`);
    });
  }

  /** @param {Job} job */
  async #cancel(job) {
    await this.#try(async () => this.show({ ...job, ...(await cancelJob(job.id)) }));
  }

  async #download() {
    await this.#try(() => download(this.best.id, fileName(this.best)));
  }

  /** @param {() => Promise<void>} act */
  async #try(act) {
    try {
      await act();
    } catch (error) {
      this.say(wordsOf(error));
    }
  }

  /** @param {string} text */
  say(text) {
    this.#trouble.textContent = text;
  }

  /** @param {boolean | null} kept null while nothing is chosen yet. */
  set kept(kept) {
    this.element.classList.toggle("faded", kept === false);
    this.element.classList.toggle("kept", kept === true);
    setAttribute(this.keepButton, "aria-pressed", String(kept === true));
    setIcon(find("svg", this.keepButton), kept ? "kept" : "keep");
  }
}

/** @param {string} text */
function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}
