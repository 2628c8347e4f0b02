/** Prompts to begin from: the kinds of scenes, and speech in every language. @module */

import { el, find } from "./dom.js";

/**
 * @typedef {object} Speech
 * @property {string} language
 * @property {string} name In its own words.
 * @property {string} lang For screen readers and fonts.
 * @property {string} prompt With {sentence} in it.
 * @property {string[]} sentences
 */

/**
 * Fills the page's lists; ``choose`` is called with what is chosen.
 * @param {(prompt: string, aspect?: string) => void} choose
 */
export async function showExamples(choose) {
  const { scenes, speech } = await (await fetch("examples.json")).json();
  find("#examples").append(
    ...scenes.map((/** @type {{prompt: string, aspect: string}} */ { prompt, aspect }) =>
      el(
        "li",
        {},
        choice(prompt, () => choose(prompt, aspect)),
      ),
    ),
  );
  find("#languages").append(...speech.map((/** @type {Speech} */ one) => line(one, choose)));
}

/**
 * @param {Speech} speech
 * @param {(prompt: string) => void} choose
 */
function line({ language, name, lang, prompt, sentences }, choose) {
  const say = (/** @type {string} */ sentence) => choose(prompt.replace("{sentence}", sentence));
  return el(
    "li",
    {},
    el("span", { lang }, name),
    el(
      "div",
      {},
      choice(prompt.replace("{sentence}", "…"), () => say(sentences[0])),
      el(
        "div",
        { class: "sentences", role: "group", "aria-label": `Sentences in ${language}` },
        ...sentences.map((sentence) => choice(sentence, () => say(sentence), lang)),
      ),
    ),
  );
}

/**
 * @param {string} text
 * @param {() => void} onclick
 * @param {string} [lang]
 */
function choice(text, onclick, lang) {
  return el("button", { type: "button", lang, onclick }, text);
}
