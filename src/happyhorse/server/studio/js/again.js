/** A clip made again, as it was or with new seeds; with all that it was asked with, pictures and sounds included. @module */

import { createJobs, randomKey, remixJob } from "./jobs.js";
import { drawSeed } from "./seed.js";

/** @typedef {import("./jobs.js").Job} Job */

const VARIATIONS = 4;

/**
 * @param {Job} job
 * @returns {Promise<Job[]>} The same clip.
 */
export function makeAgain(job) {
  return remix(job, job.seed, 1);
}

/**
 * @param {Job} job
 * @returns {Promise<Job[]>} Others of the same wish.
 */
export function vary(job) {
  return remix(job, drawSeed(), VARIATIONS);
}

/**
 * What shows which jobs belong together.
 * @param {Job} job
 * @returns {string}
 */
export function groupOf({ id, group, seed, remixed_from_video_id: source }) {
  // Variations of former versions have no group; their seeds begin at a multiple of their number.
  return group ?? (source ? `${source} ${Math.floor(seed / VARIATIONS)}` : id);
}

/**
 * @param {Job} job
 * @param {number} seed The first one.
 * @param {number} n Clips, with seeds that follow each other.
 * @returns {Promise<Job[]>}
 */
async function remix(job, seed, n) {
  const { id, kind, prompt } = job;
  if (kind !== "render") return remixJob(id, { prompt, seed, n }, randomKey());
  // A render cannot be remixed; one whose preview was deleted is made anew, preview and all.
  const form = new FormData();
  for (const name of /** @type {const} */ (["prompt", "size", "seconds", "model"])) form.set(name, job[name]);
  form.set("seed", String(seed));
  form.set("n", String(n));
  return createJobs(form, randomKey());
}
