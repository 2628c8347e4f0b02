/** Two films on one clock. @module */

/** More apart than this, in seconds, and the second film is put where the first is: a little over a frame. */
const APART = 0.05;

/** Plays, stops and scrubs films together; the first leads, and they begin again when the shorter one ends. */
export class Clock {
  /**
   * @param {HTMLVideoElement[]} films The first leads.
   * @param {(time: number) => void} onTime
   */
  constructor(films, onTime) {
    this.films = films;
    this.onTime = onTime;
    this.playing = false;
    /** Called when they begin to play and when they stop. */
    this.onChange = () => {};
  }

  /** @returns {number} Seconds, of the shorter film. */
  get duration() {
    return Math.min(...this.films.map((film) => film.duration || 0));
  }

  async play() {
    if (this.films[0].currentTime >= this.duration - APART) this.seek(0);
    this.#say(true);
    try {
      await Promise.all(this.films.map((film) => film.play()));
    } catch (error) {
      this.pause();
      throw error;
    }
    requestAnimationFrame(() => this.#tick());
  }

  pause() {
    this.#say(false);
    this.films.forEach((film) => film.pause());
    this.seek(this.films[0].currentTime);
  }

  /** @param {number} time */
  seek(time) {
    for (const film of this.films) film.currentTime = time;
    this.onTime(time);
  }

  /** @param {boolean} playing */
  #say(playing) {
    this.playing = playing;
    this.onChange();
  }

  #tick() {
    if (!this.playing) return;
    const [leader, ...others] = this.films;
    if (leader.currentTime >= this.duration - 0.01 || leader.ended) {
      this.seek(0);
      this.films.forEach((film) => film.play().catch(() => {}));
    }
    for (const film of others) {
      if (Math.abs(film.currentTime - leader.currentTime) > APART) film.currentTime = leader.currentTime;
    }
    this.onTime(leader.currentTime);
    requestAnimationFrame(() => this.#tick());
  }
}
