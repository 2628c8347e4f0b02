/** Clips at one loudness: each is turned up or down by what was measured for it. @module */

/** @type {AudioContext | null} */
let context = null;

/**
 * Turns a film's sound up or down. Call it once for a film, when it is first played: browsers let no sound begin before.
 * @param {HTMLMediaElement} film
 * @param {number} factor What its samples are multiplied by.
 */
export function turn(film, factor) {
  // Also louder than the file itself, which a film's own volume cannot be.
  context ??= new AudioContext();
  context.resume();
  const gain = new GainNode(context, { gain: factor });
  new MediaElementAudioSourceNode(context, { mediaElement: film }).connect(gain).connect(context.destination);
}
