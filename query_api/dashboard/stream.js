// The live feed: new, changed and removed videos as they happen, picked up where it was cut.

const EVENTS = ["discovered", "updated", "removed"];
const FIRST_PAUSE = 2000;
const LONGEST_PAUSE = 30000;
const HIDDEN_TOO_LONG = 15000;

export class LiveStream {
  #source = null;
  #filters = new URLSearchParams();
  #lastId = null;
  #pause = FIRST_PAUSE;
  #retry = null;
  #hiding = null;
  #handlers;

  /** `handlers`: `event(type, data)`, `opened()`, `reset()`, `state("connecting" | "live" | "cut")`. */
  constructor(handlers) {
    this.#handlers = handlers;
    // A browser has few connections for one server: a page that nobody sees gives its own back.
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.#hiding);
      if (document.hidden) this.#hiding = setTimeout(() => this.#close(), HIDDEN_TOO_LONG);
      else if (this.#source === null) this.#open();
    });
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (shown) => shown.persisted && this.#open());
  }

  /** Listen to what passes these filters, from now on. */
  follow(filters) {
    if (this.#source !== null && String(filters) === String(this.#filters)) return;
    this.#filters = filters;
    this.#lastId = null;
    this.#open();
  }

  #open() {
    this.#close();
    this.#handlers.state("connecting");
    const asked = new URLSearchParams(this.#filters);
    if (this.#lastId !== null) asked.set("last_event_id", this.#lastId);
    const source = new EventSource(String(asked) === "" ? "/v1/live" : `/v1/live?${asked}`);
    this.#source = source;
    source.addEventListener("open", () => {
      this.#pause = FIRST_PAUSE;
      this.#handlers.state("live");
      this.#handlers.opened();
    });
    source.addEventListener("error", () => {
      this.#handlers.state("cut");
      // The browser tries again by itself after a lost connection, but not after a refusal.
      if (source.readyState === EventSource.CLOSED) this.#openLater();
    });
    source.addEventListener("reset", (event) => {
      this.#remember(event);
      this.#handlers.reset();
    });
    for (const type of EVENTS) {
      source.addEventListener(type, (event) => {
        this.#remember(event);
        this.#handlers.event(type, JSON.parse(event.data));
      });
    }
  }

  #remember(event) {
    if (event.lastEventId !== "") this.#lastId = event.lastEventId;
  }

  #openLater() {
    this.#close();
    this.#retry = setTimeout(() => this.#open(), this.#pause);
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
  }

  #close() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
  }
}
