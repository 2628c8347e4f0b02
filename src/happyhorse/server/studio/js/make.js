/** The page where clips are made. @module */

import { groupOf, vary } from "./again.js";
import { announce } from "./announce.js";
import { el, find } from "./dom.js";
import { showExamples } from "./examples.js";
import { createJobs, isFinished, listJobs, listModels, randomKey } from "./jobs.js";
import { Sheet } from "./sheet.js";
import { oneSoundAtATime } from "./sound.js";
import { Watcher } from "./watch.js";
import { Wish } from "./wish.js";

/** @typedef {import("./jobs.js").Job} Job */

/** Sheets that are laid out when the page is opened, and with those that are not finished; the library has the rest. */
const [LAID_OUT, LAID_OUT_MOST] = [3, 12];

const wish = new Wish();
const place = find("#takes");
/** @type {Sheet[]} */
const sheets = [];
const watcher = new Watcher(show);
/** Names the request, so that sending it again after a lost answer makes nothing twice. */
let key = randomKey();
const desk = {
  watch: (/** @type {Job} */ job) => watcher.add(job),
  timeLeft: (/** @type {string} */ id) => watcher.timeLeft(id),
  vary: (/** @type {Job} */ job) => request(() => vary(job)),
};

/** @param {Job} job */
function show(job) {
  sheets.some((sheet) => sheet.show(job));
}

/** @param {Job[]} jobs */
function layOut(jobs) {
  const sheet = new Sheet(jobs, desk);
  sheets.unshift(sheet);
  place.querySelector(".empty")?.remove();
  place.prepend(sheet.element);
  jobs.forEach((job) => watcher.add(job));
}

/** Everything that was asked for before, also by another tab, as far as it is not finished, and the latest of the rest. */
async function findAgain() {
  const { data } = await listJobs();
  const previews = Map.groupBy(
    data.filter(({ kind }) => kind !== "render"),
    groupOf,
  );
  const open = new Set(data.filter((job) => !isFinished(job)).map((job) => job.remixed_from_video_id ?? job.id));
  const groups = [...previews.values()];
  const wanted = groups.filter((jobs, index) => index < LAID_OUT || jobs.some(({ id }) => open.has(id)));
  for (const jobs of wanted.slice(0, LAID_OUT_MOST).reverse()) layOut(jobs.toSorted((a, b) => a.seed - b.seed));
  for (const render of data.filter(({ kind }) => kind === "render").reverse()) {
    show(render);
    watcher.add(render);
  }
  if (!sheets.length)
    place.append(
      el(
        "p",
        { class: "empty" },
        el("strong", {}, "Nothing here yet"),
        "Write what should be seen and heard, or begin from an example.",
      ),
    );
}

/** @param {SubmitEvent} event */
async function send(event) {
  event.preventDefault();
  await request(async () => {
    const jobs = await createJobs(wish.request, key);
    wish.note([...new Set(jobs.flatMap(({ notes }) => notes ?? []))]);
    wish.sent();
    return jobs;
  });
}

/** @param {() => Promise<Job[]>} create */
async function request(create) {
  const button = /** @type {HTMLButtonElement} */ (find("#make"));
  wish.clearTrouble();
  button.disabled = true;
  button.textContent = "Sending";
  try {
    const jobs = await create();
    key = randomKey();
    layOut(jobs);
    announce(`${jobs.length} clips are being made.`);
    sheets[0].element.scrollIntoView({ block: "nearest" });
  } catch (error) {
    wish.showTrouble(error);
  } finally {
    button.disabled = false;
    wish.nameButton();
  }
}

async function begin() {
  oneSoundAtATime();
  wish.form.addEventListener("submit", send);
  wish.form.addEventListener("input", () => {
    key = randomKey();
  });
  showExamples((prompt, aspect) => {
    wish.fill({ prompt, ...(aspect ? { aspect, size: "" } : {}) });
    find("#prompt").focus();
  });
  // A file that misses its place must not take the page's.
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
  setInterval(() => sheets.forEach((sheet) => sheet.tick()), 500);
  try {
    wish.models = await listModels();
    await findAgain();
  } catch (error) {
    wish.showTrouble(error);
  }
}

begin();
