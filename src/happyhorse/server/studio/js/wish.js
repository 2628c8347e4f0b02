/** The form: what is asked for, and what the server has to say about each part of it. @module */

import { loadDraft, saveDraft } from "./draft.js";
import { Drop } from "./drop.js";
import { el, find, setAttribute, setIcon } from "./dom.js";
import { Estimate } from "./estimate.js";
import { MEDIA } from "./given.js";
import { drawSeed } from "./seed.js";
import { Refusal, wordsOf } from "./service.js";

/** @typedef {import("./jobs.js").Model} Model */
/** @typedef {import("./draft.js").Draft} Draft */

const NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight"];
const STEP = 0.5;
const ASPECTS = ["1:1", "16:9", "9:16"];

/** Where the page says what is wrong with a field of the request. */
const PLACES = { prompt: "prompt", size: "size", seconds: "seconds", seed: "seed", model: "model" };

/** The form and its drop zones. */
export class Wish {
  #drops = MEDIA.map((medium) => new Drop(medium));
  /** @type {Model[]} */
  #models = [];
  /** Whether the length is the person's own choice; else it is the model's. */
  #chosenSeconds = loadDraft().seconds !== undefined;
  #estimate = new Estimate((about, notes) => {
    find("#estimate").textContent = about;
    this.note(notes);
  });

  constructor() {
    this.form = /** @type {HTMLFormElement} */ (find("#wish"));
    for (const drop of this.#drops) {
      find("#drops").append(drop.element);
      find(".given").append(drop.troubleElement);
      drop.element.addEventListener("measured", (event) => this.#fit(/** @type {CustomEvent} */ (event).detail));
    }
    find("#roll").addEventListener("click", () => this.rollSeed());
    find("#lock").addEventListener("click", () => this.#lock(!this.#locked));
    find("#shorter").addEventListener("click", () => this.#step(-STEP));
    find("#longer").addEventListener("click", () => this.#step(STEP));
    this.form.addEventListener("input", () => this.#changed());
    this.#input("prompt").addEventListener("keydown", (event) => this.#sendOnEnter(event));
    this.fill({ prompt: "", seed: drawSeed(), ...loadDraft() });
  }

  /** @param {Model[]} models */
  set models(models) {
    this.#models = models;
    const chosen = loadDraft().model;
    find("#model").replaceChildren(...models.map(({ id }) => el("option", { selected: id === chosen }, id)));
    find("#model")
      .closest(".field")
      ?.toggleAttribute("hidden", models.length < 2);
    if (!this.#chosenSeconds && this.#model) this.fill({ seconds: this.#model.seconds });
    this.#changed();
  }

  /** @returns {Draft} */
  get draft() {
    const data = new FormData(this.form);
    return {
      prompt: String(data.get("prompt")),
      aspect: String(data.get("aspect")),
      size: String(data.get("size")).trim(),
      seconds: Number(data.get("seconds")),
      seed: Number(data.get("seed")),
      locked: this.#locked,
      count: Number(data.get("count")),
      model: String(data.get("model") ?? ""),
    };
  }

  /** @param {Draft} draft What it leaves out stays. */
  fill(draft) {
    const { aspect, locked, ...plain } = draft;
    for (const [name, value] of Object.entries(plain)) if (value !== undefined) this.#input(name).value = String(value);
    const radio = aspect && this.form.querySelector(`[name=aspect][value="${aspect}"]`);
    if (radio instanceof HTMLInputElement) radio.checked = true;
    if (locked !== undefined) this.#lock(locked);
    this.#changed();
  }

  /** @returns {FormData} The request. */
  get request() {
    const { prompt = "", aspect = "", size, seconds, seed, count, model } = this.draft;
    const form = new FormData();
    form.set("prompt", prompt);
    form.set("size", size || aspect);
    form.set("seconds", String(this.#input("seconds").value.trim() || seconds));
    form.set("seed", String(this.#input("seed").value.trim() || seed));
    form.set("n", String(count));
    if (model) form.set("model", model);
    for (const { medium, file } of this.#drops.filter(({ element }) => !element.hidden))
      if (file) form.set(medium.field, file, file.name);
    return form;
  }

  rollSeed() {
    this.fill({ seed: drawSeed() });
  }

  /** After clips were asked for: the next ones have another seed, unless it is locked. */
  sent() {
    if (!this.#locked) this.rollSeed();
  }

  /** The button says what it will do. */
  nameButton() {
    const { count = 0 } = this.draft;
    find("#make").textContent = `Make ${NUMBERS[count] ?? count}`;
  }

  clearTrouble() {
    for (const place of this.form.querySelectorAll(".trouble")) place.textContent = "";
    for (const field of this.form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  }

  /** @param {string[]} notes */
  note(notes) {
    find("#prompt-note").textContent = notes.join(" ");
  }

  /** @param {unknown} error Said next to the field that it is about. */
  showTrouble(error) {
    const message = wordsOf(error);
    const field = error instanceof Refusal ? error.field : "";
    const drop = this.#drops.find(({ medium }) => medium.field === field);
    if (drop) drop.trouble = message;
    else if (field in PLACES) this.#blame(field, message);
    else find("#trouble").textContent = message;
  }

  /**
   * @param {string} field
   * @param {string} message
   */
  #blame(field, message) {
    find(`#${field}-trouble`).textContent = message;
    const input = this.#input(field);
    if (field === "size" || field === "model") /** @type {HTMLDetailsElement} */ (find("#more")).open = true;
    input.setAttribute("aria-invalid", "true");
    input.focus();
  }

  get #locked() {
    return find("#lock").getAttribute("aria-pressed") === "true";
  }

  /** @param {boolean} locked */
  #lock(locked) {
    setAttribute(find("#lock"), "aria-pressed", String(locked));
    setIcon(/** @type {any} */ (find("#lock svg")), locked ? "lock" : "unlock");
    saveDraft(this.draft);
  }

  /** @param {{aspect?: number, seconds?: number}} measured The clip takes the shape of its image, the length of its sound. */
  #fit({ aspect, seconds }) {
    if (aspect) this.fill({ aspect: nearestAspect(aspect), size: "" });
    if (!seconds) return;
    // Whole frames, as the server counts them.
    const { seconds_max: longest = seconds, fps = 24 } = this.#model ?? {};
    const frames = Math.max(1, Math.floor(Math.min(seconds, longest) * fps));
    this.fill({ seconds: Number((frames / fps).toFixed(3)) });
  }

  /** @param {number} by */
  #step(by) {
    const { seconds_min: low = STEP, seconds_max: high = Infinity } = this.#model ?? {};
    const seconds = Math.round((Number(this.#input("seconds").value) + by) / STEP) * STEP || low;
    this.fill({ seconds: Math.min(high, Math.max(low, seconds)) });
  }

  get #model() {
    return this.#models.find(({ id }) => id === this.#input("model").value) ?? this.#models[0];
  }

  #changed() {
    this.nameButton();
    find(".shapes").classList.toggle("idle", Boolean(this.draft.size));
    const { takes, sizes = [] } = this.#model ?? {};
    for (const { medium, element, troubleElement } of this.#drops)
      element.hidden = troubleElement.hidden = Boolean(takes && !takes.includes(medium.taken));
    find("#sizes").replaceChildren(...sizes.map((value) => el("option", { value })));
    this.#input("size").placeholder = sizes[0] ?? "";
    grow(/** @type {any} */ (this.#input("prompt")));
    saveDraft(this.draft);
    this.#estimate.changed(this.draft);
  }

  /** @param {KeyboardEvent} event Enter sends, as in a line; with Shift it begins a new line. */
  #sendOnEnter(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.form.requestSubmit();
  }

  /**
   * @param {string} id
   * @returns {HTMLInputElement}
   */
  #input(id) {
    return find(`#${id}`);
  }
}

/**
 * @param {number} aspect Width over height.
 * @returns {string} One of ASPECTS.
 */
function nearestAspect(aspect) {
  const away = (/** @type {string} */ name) => {
    const [across, down] = name.split(":").map(Number);
    return Math.abs(Math.log((aspect * down) / across));
  };
  return ASPECTS.toSorted((one, other) => away(one) - away(other))[0];
}

/** @param {HTMLTextAreaElement} area As tall as what is in it, where the browser does not see to that itself. */
function grow(area) {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}
