/** One clip of the library: playing, its recipe, and what can be done with it. @module */

import { makeAgain, vary } from "./again.js";
import { download, fileName, filmOf, posterOf } from "./clips.js";
import { button, el, setAttribute } from "./dom.js";
import { renderJob } from "./jobs.js";
import { wordsOf } from "./service.js";
import { sayDate, saySeconds } from "./time.js";

/** @typedef {import("./shelf.js").Spine} Spine */

/**
 * @param {Spine} spine
 * @param {() => void} onDelete
 */
export function openDetail(spine, onDelete) {
  const best = spine.render ?? spine.job;
  const trouble = el("p", { class: "trouble", role: "alert" });
  const dialog = el(
    "dialog",
    { "aria-labelledby": "detail-title", onclose: () => dialog.remove() },
    el(
      "div",
      { class: "dialog-head" },
      el("h2", { id: "detail-title" }, spine.job.prompt),
      button({ icon: "close", text: "Close", unseen: true, class: "bare", onclick: () => dialog.close() }),
    ),
    el(
      "div",
      { class: "detail" },
      film(best),
      el(
        "div",
        {},
        recipe(spine),
        trouble,
        buttons(spine, trouble, () => {
          dialog.close();
          onDelete();
        }),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}

/** @param {import("./jobs.js").Job} job */
function film(job) {
  const video = el("video", { controls: true, playsinline: true, "aria-label": job.prompt });
  posterOf(job.id).then(
    (url) => setAttribute(video, "poster", url),
    () => {},
  );
  filmOf(job.id).then(
    (url) => setAttribute(video, "src", url),
    () => {},
  );
  return el("div", {}, video);
}

/** @param {Spine} spine */
function recipe({ job, render }) {
  const {
    steps,
    guidance,
    sampler,
    shift,
    negative,
    weights,
    happyhorse: version,
    image,
    last_image,
    audio,
    video,
  } = job.recipe ?? {};
  const source = (/** @type {{path?: string} | null | undefined} */ given) => (given ? (given.path ?? "given") : null);
  /** @type {Array<[string, string | number | null | undefined]>} */
  const rows = [
    ["Made", sayDate(job.created_at)],
    ["Seed", job.seed],
    ["Size", render ? `${render.size}, rendered from ${job.size}` : job.size],
    ["Length", saySeconds(Number(job.seconds))],
    ["Not wanted", negative],
    ["First image", source(image)],
    ["Last image", source(last_image)],
    ["Sound", source(audio)],
    ["Film", source(video)],
    ["Model", job.model],
    ["Steps", steps && [steps, sampler, shift === undefined ? "" : `shift ${shift}`].filter(Boolean).join(", ")],
    [
      "Guidance",
      guidance && (guidance.every((/** @type {number} */ weight) => weight === 1) ? "none" : guidance.join(", ")),
    ],
    ["Weights", weights && String(weights).slice(0, 16)],
    ["Version", version],
  ];
  return el(
    "dl",
    { class: "recipe", "aria-label": "Recipe" },
    ...rows
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))),
  );
}

/**
 * @param {Spine} spine
 * @param {HTMLElement} trouble
 * @param {() => void} onDelete
 */
function buttons({ job, render }, trouble, onDelete) {
  const best = render ?? job;
  const attempt = (/** @type {() => Promise<unknown>} */ act) => () =>
    act().catch((error) => {
      trouble.textContent = wordsOf(error);
    });
  const leave = () => location.assign("./");
  return el(
    "div",
    { class: "detail-buttons" },
    button({ icon: "again", text: "Make it again", onclick: attempt(() => makeAgain(job).then(leave)) }),
    button({
      icon: "vary",
      text: "Vary",
      title: "The same with new seeds",
      onclick: attempt(() => vary(job).then(leave)),
    }),
    render || job.kind === "render"
      ? null
      : button({ icon: "render", text: "Render", onclick: attempt(() => renderJob(job.id).then(leave)) }),
    button({ icon: "download", text: "Download", onclick: attempt(() => download(best.id, fileName(best))) }),
    button({ icon: "delete", text: "Delete", onclick: onDelete }),
  );
}
