/** Server-sent events over fetch, because EventSource cannot send a key. @module */

/**
 * @typedef {object} ServerEvent
 * @property {string} id
 * @property {string} kind
 * @property {string} data
 */

/**
 * The events in a stream of text, one after the other, until it ends.
 * @param {ReadableStream<any>} body Bytes.
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (text + value.replaceAll("\r\n", "\n")).split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parseEvent(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * @param {string} block The lines of one event.
 * @returns {ServerEvent | null} null for a comment that only keeps the connection open.
 */
export function parseEvent(block) {
  const event = { id: "", kind: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, name = "", value = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "id") event.id = value;
    else if (name === "event") event.kind = value;
    else if (name === "data") event.data += (event.data && "\n") + value;
  }
  return event.data ? event : null;
}
