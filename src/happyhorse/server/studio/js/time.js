/** Time left, and times as people say them. Pure functions. @module */

const WINDOW = 20;

/**
 * Seconds until something is done, from how fast it went lately; null until there is something to go by.
 * @param {Array<[seconds: number, percent: number]>} samples Oldest first.
 * @param {number} now Seconds on the same clock.
 * @returns {number | null}
 */
export function timeLeft(samples, now) {
  const recent = samples.filter(([time]) => now - time <= WINDOW);
  const first = recent[0];
  const last = recent.at(-1);
  if (!first || !last || last[1] <= first[1]) return null;
  const rate = (last[1] - first[1]) / (last[0] - first[0]);
  return Math.max(0, (100 - last[1]) / rate - (now - last[0]));
}

/**
 * @param {number} seconds
 * @returns {string} "4 s left", "2 min left"
 */
export function sayTimeLeft(seconds) {
  if (seconds < 1) return "nearly done";
  if (seconds < 90) return `${Math.ceil(seconds)} s left`;
  return `${Math.ceil(seconds / 60)} min left`;
}

/**
 * @param {number} seconds
 * @returns {string} "2.5 s"
 */
export function saySeconds(seconds) {
  return `${Number(seconds.toFixed(2))} s`;
}

/**
 * @param {number} time Seconds since 1970.
 * @returns {string} The time if it was today, else the date, as the reader writes them.
 */
export function sayWhen(time) {
  const when = new Date(time * 1000);
  if (when.toDateString() === new Date().toDateString()) return when.toLocaleTimeString([], { timeStyle: "short" });
  return when.toLocaleDateString([], { dateStyle: "medium" });
}

/**
 * @param {number} time Seconds since 1970.
 * @returns {string} Date and time.
 */
export function sayDate(time) {
  return new Date(time * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}
