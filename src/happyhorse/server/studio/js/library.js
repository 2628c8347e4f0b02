/** The page of everything that was made. @module */

import { find } from "./dom.js";
import { deleteJob, listJobs } from "./jobs.js";
import { openDetail } from "./detail.js";
import { wordsOf } from "./service.js";
import { oneSoundAtATime } from "./sound.js";
import { Shelf, shelve } from "./shelf.js";
import { forget } from "./clips.js";
import { undoable } from "./toast.js";

/** @typedef {import("./shelf.js").Spine} Spine */

/** @type {import("./jobs.js").Job[]} */
const jobs = [];
/** Deleted, but not yet on the server: that can still be undone. */
const gone = new Set();
const shelf = new Shelf(find("#clips"), open);
const words = /** @type {HTMLInputElement} */ (find("#words"));
let more = true;
let loading = false;

/** Loads a page of jobs; while something is searched for, all of them. */
async function load() {
  if (loading || !more) return;
  loading = true;
  try {
    do {
      const last = jobs.at(-1);
      const page = await listJobs({ status: "completed", ...(last ? { after: last.id } : {}) });
      jobs.push(...page.data);
      more = page.has_more && page.data.length > 0;
      show();
    } while (more && words.value.trim());
  } catch (error) {
    find("#trouble").textContent = wordsOf(error);
  } finally {
    loading = false;
  }
}

function show() {
  const all = shelve(jobs).filter(({ job }) => !gone.has(job.id));
  const asked = words.value.trim();
  const found = all.filter(({ job }) => matches(job.prompt, asked));
  shelf.show(found);
  find("#count").textContent = count(found.length, all.length, asked);
  find("#more").hidden = !more || Boolean(asked);
  find("#empty").hidden = found.length > 0 || more;
  find("#empty").textContent = asked ? `No prompt here has “${asked}” in it.` : "Nothing was made yet.";
}

/**
 * Whether all words that are asked for are in a prompt.
 * @param {string} prompt
 * @param {string} asked
 */
function matches(prompt, asked) {
  const plain = (/** @type {string} */ text) => text.normalize("NFKC").toLocaleLowerCase();
  return plain(asked)
    .split(/\s+/)
    .every((word) => plain(prompt).includes(word));
}

/**
 * @param {number} found
 * @param {number} all
 * @param {string} asked
 */
function count(found, all, asked) {
  const clips = (/** @type {number} */ number) => `${number}${more ? "+" : ""} clip${number === 1 ? "" : "s"}`;
  return asked ? `${found} of ${clips(all)}` : clips(all);
}

/** @param {Spine} spine */
function open(spine) {
  openDetail(spine, () => remove(spine));
}

/** @param {Spine} spine A clip and its render. */
function remove({ job, render }) {
  gone.add(job.id);
  show();
  const act = () => {
    for (const { id } of [...(render ? [render] : []), job]) {
      deleteJob(id).then(
        () => forget(`/v1/videos/${id}`),
        (error) => restore(job.id, wordsOf(error)),
      );
    }
  };
  undoable("Deleted.", act, () => restore(job.id), find("#clips"));
}

/**
 * @param {string} id
 * @param {string} [trouble] Why it could not be deleted.
 */
function restore(id, trouble = "") {
  gone.delete(id);
  find("#trouble").textContent = trouble;
  show();
}

oneSoundAtATime();
find("#more button").addEventListener("click", load);
find("#search").addEventListener("submit", (event) => event.preventDefault());
words.addEventListener("input", () => {
  show();
  load();
});
load();
