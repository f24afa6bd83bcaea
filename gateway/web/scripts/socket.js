// The chat socket of a browser: follows one generation at a time, resumed behind its last delta when the connection
// is lost.

const LONGEST_PAUSE_MS = 5000;
const RESUME_PAUSE_MS = 1000;
// Close codes that say "this session may not": the same one would be refused again.
const REFUSED_CODES = new Set([1008, 3000, 3003, 4401, 4403]);

// Unlike crypto.randomUUID this is there on a plain http page too.
function newRequestId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// on: {connected(), lost(), refused(reason), event(frame)}. Events come once and in order, each delta's seq one above
// the last; a generation ends with generation.finished, generation.failed or error.
export class ChatSocket {
  #retry = 0;
  #socket = null;
  #failures = 0;
  #closed = false;
  #command = null; // what asked for the generation that is followed; null where none is
  #generationId = null;
  #lastSeq = 0;
  #cancelWanted = false;

  constructor(on) {
    const address = new URL("/api/v1/ws", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.url = address.href;
    this.on = on;
    this.ready = false;
    this.#connect();
  }

  get busy() {
    return this.#command !== null;
  }

  // Whether a question is on its way whose generation is not known yet: leaving it now could lose it.
  get unacknowledged() {
    return this.#command !== null && this.#generationId === null;
  }

  // Where the socket is away the command goes out after the reconnection: its request_id makes that safe.
  ask(type, fields) {
    this.#begin({ type, request_id: newRequestId(), ...fields }, null);
    this.#send(this.#command);
  }

  // Follows a generation from its first word, such as one that was running when the page was opened.
  follow(generationId) {
    this.#begin({ type: "generation.resume" }, generationId);
    this.#resume();
  }

  // Stops following; the generation goes on without an audience.
  forget() {
    this.#command = null;
    this.#generationId = null;
  }

  cancel() {
    this.#cancelWanted = true;
    if (this.#generationId !== null) this.#send({ type: "generation.cancel", generation_id: this.#generationId });
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket.close();
  }

  #begin(command, generationId) {
    this.#command = command;
    this.#generationId = generationId;
    this.#lastSeq = 0;
    this.#cancelWanted = false;
  }

  #send(frame) {
    if (this.ready) this.#socket.send(JSON.stringify(frame));
  }

  #resume() {
    this.#send({ type: "generation.resume", generation_id: this.#generationId, after_seq: this.#lastSeq });
  }

  #connect() {
    this.ready = false;
    const socket = new WebSocket(this.url, ["ovchat"]);
    this.#socket = socket;
    socket.onmessage = (message) => this.#take(JSON.parse(message.data));
    socket.onclose = (event) => {
      if (this.#closed || socket !== this.#socket) return;
      this.ready = false;
      if (REFUSED_CODES.has(event.code)) {
        this.#closed = true;
        this.on.refused(event.reason);
        return;
      }
      this.on.lost();
      const pause = Math.min(250 * 2 ** this.#failures, LONGEST_PAUSE_MS);
      this.#failures += 1;
      this.#retry = setTimeout(() => this.#connect(), pause * (0.5 + Math.random() / 2));
    };
  }

  #take(frame) {
    if (frame.type === "session.ready") {
      this.ready = true;
      this.#failures = 0;
      this.on.connected();
      this.#sayAgain();
      return;
    }
    if (this.#command === null) return;
    if (frame.type === "error") {
      this.#takeError(frame);
      return;
    }
    if (frame.type === "generation.queued" && this.#command.request_id === frame.request_id) {
      const isNew = this.#generationId === null;
      this.#generationId = frame.generation_id;
      if (isNew && this.#cancelWanted) this.cancel();
    }
    if (frame.generation_id !== this.#generationId) return;
    if (frame.type === "generation.delta") {
      // One that is ahead was on its way when the generation was asked for anew: its turn comes with the others.
      if (frame.seq !== this.#lastSeq + 1) return;
      this.#lastSeq = frame.seq;
    }
    if (frame.type === "generation.finished" && frame.seq !== this.#lastSeq) this.#resume();
    else if (frame.type === "generation.finished" || frame.type === "generation.failed") this.#end(frame);
    else this.on.event(frame);
  }

  #takeError(frame) {
    const isOurs = frame.request_id
      ? frame.request_id === this.#command.request_id
      : !frame.generation_id || frame.generation_id === this.#generationId;
    if (!isOurs) return;
    if (this.#generationId !== null && frame.error.code === "redis_unavailable") {
      // A resume that found Redis away: the generation itself goes on.
      setTimeout(() => this.#sayAgain(), RESUME_PAUSE_MS);
      return;
    }
    this.#end(frame);
  }

  #sayAgain() {
    if (this.#command === null) return;
    if (this.#generationId === null) {
      this.#send(this.#command);
      return;
    }
    this.#resume();
    if (this.#cancelWanted) this.cancel();
  }

  #end(frame) {
    this.forget();
    this.on.event(frame);
  }
}
