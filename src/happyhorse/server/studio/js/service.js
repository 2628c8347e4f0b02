/** Requests to the server, and its refusals in its own words. @module */

import { askForKey, savedKey } from "./key.js";

/** What the server refused, or that it could not be reached. */
export class Refusal extends Error {
  /**
   * @param {string} message What went wrong and the way out.
   * @param {{status?: number, code?: string, field?: string}} [facts]
   */
  constructor(message, { status = 0, code = "", field = "" } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    /** The field of the request that it is about; empty if it is about none. */
    this.field = field;
  }
}

/**
 * What is told of an error: the server's words, or ours for a mistake of this page.
 * @param {unknown} error
 * @returns {string}
 */
export function wordsOf(error) {
  if (error instanceof Refusal) return error.message;
  console.error(error);
  return "Something went wrong in this page. Reload it; nothing is lost.";
}

/**
 * Sends a request, with the key if there is one, and asks for a key if the server wants one.
 * @param {string} path
 * @param {RequestInit & {headers?: Record<string, string>}} [options]
 * @returns {Promise<Response>} An answer that is no refusal.
 * @throws {Refusal}
 */
export async function call(path, options = {}) {
  for (;;) {
    const key = savedKey();
    const answer = await reach(path, options, key);
    if (answer.ok) return answer;
    const refusal = await read(answer);
    if (answer.status !== 401) throw refusal;
    // Another request may have been given a key while this one was on its way.
    if (savedKey() === key && !(await askForKey(refusal.message))) throw refusal;
  }
}

/**
 * @param {string} path
 * @param {RequestInit & {headers?: Record<string, string>}} [options]
 * @returns {Promise<any>} The answer's JSON.
 */
export async function ask(path, options = {}) {
  return (await call(path, options)).json();
}

/**
 * @param {string} path
 * @param {unknown} body
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export function post(path, body, headers = {}) {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

/**
 * @param {string} path
 * @param {RequestInit & {headers?: Record<string, string>}} options
 * @param {string} key
 */
async function reach(path, options, key) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  try {
    return await fetch(path, { ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refusal("The server does not answer. Check that it is still running, then try again; nothing is lost.", {
      code: "offline",
    });
  }
}

/**
 * The refusal in an answer: {error: {message, code, param}}.
 * @param {Response} answer
 */
async function read(answer) {
  /** @type {{message?: string, code?: string, param?: string | null}} */
  let error = {};
  try {
    error = (await answer.json()).error ?? {};
  } catch {
    // Something between us and the server answered; its status is all there is to say.
  }
  const message = error.message || `The server answered with status ${answer.status}. Try again in a moment.`;
  return new Refusal(message, { status: answer.status, code: error.code ?? "", field: error.param ?? "" });
}
