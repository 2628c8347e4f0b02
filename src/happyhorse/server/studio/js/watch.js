/** Follows jobs until they are finished: by events where a connection is to be had, by asking again otherwise. @module */

import { readEvents } from "./events.js";
import { getJob, isFinished } from "./jobs.js";
import { call, Refusal } from "./service.js";
import { timeLeft } from "./time.js";

/** @typedef {import("./jobs.js").Job} Job */

/** A browser opens six connections to a server, for all tabs together; the rest must stay free for everything else. */
const STREAMS = 2;
const ASK_AGAIN = 2000;
/** The oldest: they are the next to change. */
const ASKED_AT_ONCE = 6;

/** Follows any number of jobs, and tells of each change. */
export class Watcher {
  /** @type {Map<string, Job>} */
  #jobs = new Map();
  /** @type {Map<string, Array<[number, number]>>} */
  #samples = new Map();
  /** @type {Set<string>} */
  #streams = new Set();
  #asking = false;

  /** @param {(job: Job) => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
  }

  /** @param {Job} job */
  add(job) {
    if (isFinished(job)) return;
    this.#jobs.set(job.id, job);
    this.#note(job);
    this.#openStreams();
    this.#askAgain();
  }

  /** @param {string} id */
  remove(id) {
    this.#jobs.delete(id);
    this.#samples.delete(id);
  }

  /**
   * @param {string} id
   * @returns {number | null} Seconds
   */
  timeLeft(id) {
    return timeLeft(this.#samples.get(id) ?? [], now());
  }

  /** @param {Job} job */
  #update(job) {
    const before = this.#jobs.get(job.id);
    if (!before) return;
    if (isFinished(job)) this.remove(job.id);
    else {
      this.#jobs.set(job.id, job);
      this.#note(job);
    }
    this.onChange(job);
    this.#openStreams();
  }

  /** @param {Job} job */
  #note(job) {
    if (job.status !== "in_progress") return;
    const samples = this.#samples.get(job.id) ?? [];
    if (samples.at(-1)?.[1] !== job.progress) samples.push([now(), job.progress]);
    this.#samples.set(job.id, samples.slice(-100));
  }

  #openStreams() {
    // Those that run come first, then those that will run next.
    const waiting = [...this.#jobs.values()].filter((job) => !this.#streams.has(job.id));
    waiting.sort((a, b) => Number(b.status === "in_progress") - Number(a.status === "in_progress"));
    for (const job of waiting.slice(0, STREAMS - this.#streams.size)) this.#follow(job.id);
  }

  /** @param {string} id */
  async #follow(id) {
    this.#streams.add(id);
    await this.#attempt(() => this.#listen(id));
    if (this.#jobs.has(id)) {
      // The stream broke off, or there is none to be had.
      await pause(ASK_AGAIN);
      await this.#attempt(() => this.#askFor(id));
    }
    this.#streams.delete(id);
    this.#openStreams();
  }

  /** @param {string} id */
  async #listen(id) {
    const stopped = new AbortController();
    const answer = await call(`/v1/videos/${id}/events`, { signal: stopped.signal });
    if (!answer.body) return;
    for await (const event of readEvents(answer.body)) {
      const job = this.#jobs.get(id);
      if (!job) break;
      const told = JSON.parse(event.data);
      if (told.status === "deleted") this.remove(id);
      else if (isFinished(told)) this.#update(await getJob(id));
      else if (told.status) this.#update({ ...job, ...pick(told) });
    }
    stopped.abort();
  }

  /** Asks for those that have no stream. */
  async #askAgain() {
    if (this.#asking) return;
    this.#asking = true;
    while (this.#jobs.size) {
      await pause(ASK_AGAIN);
      const silent = [...this.#jobs.keys()].filter((id) => !this.#streams.has(id));
      for (const id of silent.slice(0, ASKED_AT_ONCE)) await this.#attempt(() => this.#askFor(id));
    }
    this.#asking = false;
  }

  /** @param {() => Promise<void>} act The server may be away for a while; the next attempt will tell. */
  async #attempt(act) {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof TypeError)) throw error;
    }
  }

  /** @param {string} id */
  async #askFor(id) {
    try {
      this.#update(await getJob(id));
    } catch (error) {
      // Deleted elsewhere: nothing more will happen to it.
      if (error instanceof Refusal && error.status === 404) this.remove(id);
      else throw error;
    }
  }
}

/** @param {number} milliseconds */
function pause(milliseconds) {
  return new Promise((done) => setTimeout(done, milliseconds));
}

function now() {
  return performance.now() / 1000;
}

/**
 * @param {Record<string, any>} told
 * @returns {Partial<Job>}
 */
function pick({ status, progress, stage }) {
  return { status, ...(progress === undefined ? {} : { progress }), ...(stage === undefined ? {} : { stage }) };
}
