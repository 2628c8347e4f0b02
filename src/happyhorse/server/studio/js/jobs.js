/** Jobs as the server tells of them, and what can be asked of it. @module */

import { ask, call, post } from "./service.js";

/**
 * @typedef {object} Job
 * @property {string} id
 * @property {"generate" | "render" | "extend"} kind
 * @property {"queued" | "in_progress" | "completed" | "failed" | "cancelled"} status
 * @property {number} progress 0 to 100
 * @property {string | null} [stage]
 * @property {string} model
 * @property {string} prompt
 * @property {string} size "WxH"
 * @property {string} seconds
 * @property {number} seed
 * @property {number} created_at Seconds since 1970
 * @property {number | null} [completed_at]
 * @property {{code: string, message: string} | null} [error]
 * @property {string | null} [group] Shared by the previews of one wish
 * @property {string | null} [remixed_from_video_id] What it was made from
 * @property {Record<string, any> | null} [recipe] How to make it again
 * @property {string[]} [notes] What was asked for in vain
 */

/**
 * @typedef {object} Model
 * @property {string} id
 * @property {string[]} sizes "WxH"
 * @property {number} seconds The default
 * @property {number} seconds_min
 * @property {number} seconds_max
 * @property {boolean} renders
 * @property {string[]} takes What a clip can be made with beside a prompt
 * @property {number} fps
 */

const FINISHED = ["completed", "failed", "cancelled"];

/** @param {Job} job */
export function isFinished(job) {
  return FINISHED.includes(job.status);
}

/** @returns {Promise<Model[]>} */
export async function listModels() {
  return (await ask("/v1/models")).data;
}

/**
 * One page of jobs, the newest first.
 * @param {{after?: string, status?: string}} [options]
 * @returns {Promise<{data: Job[], has_more: boolean, last_id: string | null}>}
 */
export function listJobs(options = {}) {
  const query = new URLSearchParams({ limit: "100", order: "desc", ...options });
  return ask(`/v1/videos?${query}`);
}

/**
 * @param {string} id
 * @returns {Promise<Job>}
 */
export function getJob(id) {
  return ask(`/v1/videos/${id}`);
}

/**
 * Asks for clips. A repeated request with the same key makes nothing new.
 * @param {FormData} form
 * @param {string} key
 * @returns {Promise<Job[]>}
 */
export async function createJobs(form, key) {
  const answer = await ask("/v1/videos", { method: "POST", body: form, headers: { "Idempotency-Key": key } });
  return answer.data ?? [answer];
}

/**
 * Asks for other clips of a job's wish.
 * @param {string} id
 * @param {{prompt: string, seed: number, n: number}} changes
 * @param {string} key
 * @returns {Promise<Job[]>}
 */
export async function remixJob(id, changes, key) {
  const answer = await post(`/v1/videos/${id}/remix`, changes, { "Idempotency-Key": key });
  return answer.data ?? [answer];
}

/**
 * What a wish would take; nothing is made.
 * @param {{prompt: string, size: string, seconds: number, n: number, model?: string}} wish
 * @returns {Promise<{inference_time_s: number, queue_time_s: number, measured: boolean, notes: string[]}>}
 */
export function estimateJobs(wish) {
  return post("/v1/videos", { ...wish, dry_run: true });
}

/**
 * @param {string} id Of a preview.
 * @returns {Promise<Job>} Its render.
 */
export function renderJob(id) {
  return post(`/v1/videos/${id}/render`, {}, { "Idempotency-Key": randomKey() });
}

/**
 * @param {string} id
 * @returns {Promise<Job>}
 */
export function cancelJob(id) {
  return post(`/v1/videos/${id}/cancel`, {});
}

/**
 * Deletes a job and its clip; also while the page is being left.
 * @param {string} id
 */
export async function deleteJob(id) {
  await call(`/v1/videos/${id}`, { method: "DELETE", keepalive: true });
}

/** @returns {string} 32 random hex digits; unlike crypto.randomUUID also on a page without TLS. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
