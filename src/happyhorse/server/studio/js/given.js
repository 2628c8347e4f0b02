/** What may be given for a clip, and what is checked of a file before it is sent. @module */

/**
 * @typedef {object} Medium
 * @property {string} field Its name in the request.
 * @property {string} taken What models that take it call it.
 * @property {string} title
 * @property {string} icon
 * @property {"image" | "sound"} kind
 */

/** @type {Medium[]} */
export const MEDIA = [
  { field: "input_reference", taken: "image", title: "First image", icon: "first", kind: "image" },
  { field: "last_image_reference", taken: "last_image", title: "Last image", icon: "last", kind: "image" },
  { field: "audio_reference", taken: "audio", title: "Sound", icon: "sound", kind: "sound" },
];

const MEGABYTE = 2 ** 20;

/** What the server takes; it looks at the bytes again, and says so if they are not what they are called. */
export const KINDS = {
  image: { types: ["image/png", "image/jpeg", "image/webp"], names: "a PNG, JPEG or WebP", bytes: 20 * MEGABYTE },
  sound: {
    types: [
      "audio/wav",
      "audio/x-wav",
      "audio/mpeg",
      "audio/mp4",
      "audio/x-m4a",
      "audio/aac",
      "audio/flac",
      "audio/x-flac",
      "audio/ogg",
    ],
    names: "a WAV, MP3, M4A, FLAC or Ogg",
    bytes: 50 * MEGABYTE,
  },
};

/**
 * Why a file cannot be sent, and the way out; empty if it can.
 * @param {{name: string, type: string, size: number}} file
 * @param {"image" | "sound"} kind
 */
export function whyNot(file, kind) {
  const { types, names, bytes } = KINDS[kind];
  if (!types.includes(file.type))
    return `${file.name} is not ${kind === "image" ? "an image" : "a sound"} that can be read; give ${names} file.`;
  if (file.size === 0) return `${file.name} is empty; choose another file.`;
  if (file.size <= bytes) return "";
  return `${file.name} has ${sayMegabytes(file.size)}; the limit is ${sayMegabytes(bytes)}. Make it smaller first.`;
}

/** @param {number} bytes */
function sayMegabytes(bytes) {
  return `${Number((bytes / MEGABYTE).toFixed(1))} MB`;
}
