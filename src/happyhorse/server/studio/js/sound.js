/** One clip sounds at a time: whatever begins to play stops the others. Muted ones go on. @module */

/** Watches the whole page; call it once. */
export function oneSoundAtATime() {
  document.addEventListener(
    "play",
    ({ target }) => {
      if (!(target instanceof HTMLMediaElement) || target.muted) return;
      for (const other of document.querySelectorAll("video, audio")) {
        if (other instanceof HTMLMediaElement && other !== target && !other.muted) other.pause();
      }
    },
    // Media events do not bubble, but they can be caught on the way down.
    true,
  );
}
