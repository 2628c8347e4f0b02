/** A place to drop a file on, or to choose one with. @module */

import { el, find, icon, setIcon } from "./dom.js";
import { KINDS, whyNot } from "./given.js";
import { saySeconds } from "./time.js";

/** One drop zone, with its preview and what is wrong with the file. */
export class Drop {
  /** @type {File | null} */
  file = null;
  #url = "";
  #input;
  #target;
  #facts = el("p", { class: "meta drop-facts" });
  #trouble;
  #remove;

  /** @param {import("./given.js").Medium} medium */
  constructor(medium) {
    this.medium = medium;
    const id = `drop-${medium.field}`;
    this.#input = el("input", {
      type: "file",
      class: "unseen",
      id,
      accept: KINDS[medium.kind].types.join(","),
      "aria-describedby": `${id}-trouble`,
      "aria-label": medium.title,
      onchange: () => this.#take(this.#input.files?.[0]),
    });
    this.#target = el("span", { class: "drop-target" });
    this.#trouble = el("p", { class: "trouble", id: `${id}-trouble`, role: "alert" });
    this.#remove = el(
      "button",
      {
        type: "button",
        class: "remove",
        hidden: true,
        "aria-label": `Remove ${medium.title.toLowerCase()}`,
        onclick: () => this.clear(),
      },
      icon("close"),
    );
    this.element = el(
      "div",
      { class: "drop" },
      el("label", { for: id }, this.#input, this.#target),
      this.#remove,
      this.#facts,
    );
    this.troubleElement = this.#trouble;
    this.#listen();
    this.#show();
  }

  /** @param {string} text What is wrong; empty if nothing is. */
  set trouble(text) {
    this.#trouble.textContent = text;
  }

  clear() {
    this.file = null;
    this.#input.value = "";
    this.trouble = "";
    this.#show();
    this.#input.focus();
  }

  #listen() {
    const over = (/** @type {boolean} */ is) => (/** @type {DragEvent} */ event) => {
      event.preventDefault();
      this.element.classList.toggle("over", is);
    };
    this.element.addEventListener("dragover", over(true));
    this.element.addEventListener("dragleave", over(false));
    this.element.addEventListener("drop", (event) => {
      over(false)(event);
      this.#take(event.dataTransfer?.files[0]);
    });
  }

  /** @param {File | undefined} file */
  async #take(file) {
    if (!file) return;
    this.trouble = whyNot(file, this.medium.kind);
    const wrong = this.#trouble.textContent || (await this.#unreadable(file));
    this.trouble = wrong;
    if (wrong) this.#input.value = "";
    else this.file = file;
    this.#show();
    if (!wrong) this.#measure();
  }

  /**
   * @param {File} file
   * @returns {Promise<string>} What is wrong with its content; empty if nothing is.
   */
  async #unreadable(file) {
    if (this.medium.kind !== "image") return "";
    try {
      (await createImageBitmap(file)).close();
      return "";
    } catch {
      return `${file.name} cannot be read as an image; it may be damaged. Save it again as PNG or JPEG.`;
    }
  }

  #show() {
    URL.revokeObjectURL(this.#url);
    this.#url = this.file ? URL.createObjectURL(this.file) : "";
    this.element.classList.toggle("filled", Boolean(this.file));
    this.#remove.hidden = !this.file;
    this.#facts.textContent = this.file?.name ?? "";
    this.#facts.title = this.file?.name ?? "";
    find("span", this.element).replaceChildren(...this.#preview());
    this.element.querySelector(".listen")?.remove();
    const audio = this.element.querySelector("audio");
    if (audio) this.element.append(listenButton(audio, this.medium.title));
  }

  /** Tells what the file asks of the clip: "measured", with its aspect or its seconds. */
  #measure() {
    const tell = (/** @type {{aspect?: number, seconds?: number}} */ detail) =>
      this.element.dispatchEvent(new CustomEvent("measured", { detail }));
    const medium = this.element.querySelector("img, audio");
    medium?.addEventListener("load", () => {
      const { naturalWidth, naturalHeight } = /** @type {HTMLImageElement} */ (medium);
      tell({ aspect: naturalWidth / naturalHeight });
    });
    medium?.addEventListener("loadedmetadata", () =>
      tell({ seconds: /** @type {HTMLMediaElement} */ (medium).duration }),
    );
  }

  /** @returns {Node[]} */
  #preview() {
    const { icon: sign, kind, title } = this.medium;
    if (!this.file) return [icon(sign), document.createTextNode(title)];
    if (kind === "image") return [el("img", { src: this.#url, alt: `${title}: ${this.file.name}` })];
    return [el("audio", { src: this.#url, "aria-label": `${title}: ${this.file.name}` })];
  }
}

/**
 * Plays and stops a sound, and says how long it is.
 * @param {HTMLAudioElement} audio
 * @param {string} title
 */
function listenButton(audio, title) {
  const sign = icon("play");
  const length = el("span");
  const show = () => setIcon(sign, audio.paused ? "play" : "pause");
  for (const kind of ["play", "pause", "ended"]) audio.addEventListener(kind, show);
  audio.addEventListener("loadedmetadata", () => {
    length.textContent = saySeconds(audio.duration);
  });
  const label = `Play or stop ${title.toLowerCase()}`;
  const toggle = () => (audio.paused ? audio.play() : audio.pause());
  return el("button", { type: "button", class: "listen", "aria-label": label, onclick: toggle }, sign, length);
}
