/** Seeds. @module */

/** Six digits can be read aloud; the server takes any up to 2³¹ − 1. */
const DRAWN_BELOW = 1_000_000;

/** @returns {number} A seed drawn at random. */
export function drawSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] % DRAWN_BELOW;
}
