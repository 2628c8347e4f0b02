/** A clip made again, as it was or with new seeds; with all that it was asked with, pictures and sounds included. @module */

import { createJobs, randomKey } from "./jobs.js";
import { drawSeed } from "./seed.js";
import { post } from "./service.js";

/** @typedef {import("./jobs.js").Job} Job */

const VARIATIONS = 4;

/**
 * @param {Job} job
 * @returns {Promise<Job[]>} The same clip.
 */
export async function makeAgain(job) {
  return [await remix(job, job.seed)];
}

/**
 * @param {Job} job
 * @returns {Promise<Job[]>} Others of the same wish.
 */
export function vary(job) {
  // They begin at a multiple of their number, by which ``groupOf`` finds them again.
  const first = VARIATIONS * Math.floor(drawSeed() / VARIATIONS);
  return Promise.all(Array.from({ length: VARIATIONS }, (_, index) => remix(job, first + index)));
}

/**
 * What shows which jobs belong together.
 * @param {Job} job
 * @returns {string}
 */
export function groupOf({ id, group, seed, remixed_from_video_id: source }) {
  return group ?? (source ? `${source} ${Math.floor(seed / VARIATIONS)}` : id);
}

/**
 * @param {Job} job
 * @param {number} seed
 * @returns {Promise<Job>}
 */
async function remix(job, seed) {
  const { id, kind, prompt } = job;
  if (kind !== "render") return post(`/v1/videos/${id}/remix`, { prompt, seed }, { "Idempotency-Key": randomKey() });
  // A render cannot be remixed; one whose preview was deleted is made anew, preview and all.
  const form = new FormData();
  for (const name of /** @type {const} */ (["prompt", "size", "seconds", "model"])) form.set(name, job[name]);
  form.set("seed", String(seed));
  return (await createJobs(form, randomKey()))[0];
}
