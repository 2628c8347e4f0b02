/** Clips and their posters as object URLs: fetched with the key, once each. @module */

import { call } from "./service.js";

/** @type {Map<string, Promise<string>>} */
const urls = new Map();

/**
 * @param {string} path
 * @returns {Promise<string>} A blob: URL.
 */
export function objectUrl(path) {
  let url = urls.get(path);
  if (!url) {
    url = load(path);
    urls.set(path, url);
    // What failed may be asked for again.
    url.catch(() => urls.delete(path));
  }
  return url;
}

/** @param {string} path */
async function load(path) {
  return URL.createObjectURL(await (await call(path)).blob());
}

/** @param {string} id */
export function filmOf(id) {
  return objectUrl(`/v1/videos/${id}/content`);
}

/** @param {string} id */
export function posterOf(id) {
  return objectUrl(`/v1/videos/${id}/content?variant=thumbnail`);
}

/**
 * Saves a clip as a file, with the recipe inside it.
 * @param {string} id
 * @param {string} name
 */
export async function download(id, name) {
  const link = document.createElement("a");
  link.href = await filmOf(id);
  link.download = name;
  link.click();
}

/**
 * Frees the memory of what is not shown any more.
 * @param {string} folder Of the paths.
 */
export function forget(folder) {
  for (const [path, url] of urls) {
    if (!path.startsWith(`${folder}/`)) continue;
    urls.delete(path);
    url.then(URL.revokeObjectURL, () => {});
  }
}

/**
 * A file name that says what is in it: "a-red-ball-bounces-on-wood-7.mp4".
 * @param {{prompt: string, seed: number, size: string}} job
 */
export function fileName({ prompt, seed, size }) {
  const words = prompt
    .normalize()
    .replace(/[^\p{Letter}\p{Number}]+/gu, "-")
    .replace(/^-+|-+$/g, "");
  return `${words.slice(0, 60) || "clip"}-${size}-${seed}.mp4`;
}
