/** Two clips side by side, in step. @module */

import { Clock } from "./clock.js";
import { filmOf } from "./clips.js";
import { button, el, icon, setAttribute, setIcon } from "./dom.js";
import { Refusal } from "./service.js";

/** @typedef {import("./take.js").Take} Take */

/**
 * Opens the comparison; it is over when it is closed.
 * @param {Take} left
 * @param {Take} right
 * @param {(chosen: Take) => void} onKeep
 * @returns {Promise<void>}
 */
export async function compare(left, right, onKeep) {
  const takes = [left, right];
  const films = await Promise.all(takes.map(film));
  const scrub = el("input", {
    type: "range",
    class: "compare-scrub",
    min: 0,
    max: 1,
    step: 1 / 24,
    value: 0,
    "aria-label": "Position in both clips",
    oninput: () => clock.seek(scrub.valueAsNumber),
  });
  const clock = new Clock(films, (time) => {
    scrub.value = String(time);
  });
  scrub.max = String(clock.duration);
  const dialog = el("dialog", { class: "compare", "aria-label": "Two clips in step" });
  const keep = (/** @type {Take} */ take) => {
    onKeep(take);
    dialog.close();
  };
  dialog.append(
    el("div", { class: "compare-films" }, ...takes.map((take, index) => side(take, films[index], () => keep(take)))),
    el(
      "div",
      { class: "compare-bar" },
      playButton(clock),
      scrub,
      soundChoice(films, takes),
      button({ icon: "close", text: "Close", unseen: true, class: "bare", onclick: () => dialog.close() }),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  hear(films, 0);
  await clock.play().catch(() => {});
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      clock.pause();
      dialog.remove();
      resolve();
    });
  });
}

/** @param {Take} take */
async function film(take) {
  const video = el("video", { playsinline: true, muted: true, "aria-label": take.name });
  video.muted = true;
  video.src = await filmOf(take.best.id);
  await new Promise((ready, refuse) => {
    video.addEventListener("loadedmetadata", ready);
    video.addEventListener("error", () => refuse(new Refusal(`${take.name} cannot be played in this browser.`)));
  });
  return video;
}

/**
 * @param {Take} take
 * @param {HTMLVideoElement} video
 * @param {() => void} onKeep
 */
function side(take, video, onKeep) {
  return el(
    "figure",
    {},
    video,
    el(
      "figcaption",
      {},
      el("span", {}, `seed ${take.job.seed}`),
      button({ icon: "keep", text: `Keep ${take.name}`, onclick: onKeep }),
    ),
  );
}

/** @param {Clock} clock */
function playButton(clock) {
  const toggle = button({ icon: "pause", text: "Pause", unseen: true, class: "bare" });
  const show = () => {
    setIcon(/** @type {any} */ (toggle.querySelector("svg")), clock.playing ? "pause" : "play");
    setAttribute(toggle, "title", clock.playing ? "Pause" : "Play");
    setAttribute(toggle, "aria-label", clock.playing ? "Pause both" : "Play both");
  };
  clock.onChange = show;
  toggle.addEventListener("click", () => (clock.playing ? clock.pause() : clock.play().catch(() => {})));
  return toggle;
}

/**
 * Which of the two is heard.
 * @param {HTMLVideoElement[]} films
 * @param {Take[]} takes
 */
function soundChoice(films, takes) {
  const choices = takes.map((take, index) =>
    el(
      "label",
      { class: "choice" },
      el("input", {
        class: "unseen",
        type: "radio",
        name: "heard",
        checked: index === 0,
        onchange: () => hear(films, index),
      }),
      el("span", { class: "button" }, index ? "Right" : "Left"),
      el("span", { class: "unseen" }, `: hear ${take.name}`),
    ),
  );
  return el("fieldset", { class: "heard" }, el("legend", { class: "unseen" }, "Sound of"), icon("sound"), ...choices);
}

/**
 * @param {HTMLVideoElement[]} films
 * @param {number} index
 */
function hear(films, index) {
  films.forEach((film, number) => {
    film.muted = number !== index;
  });
}
