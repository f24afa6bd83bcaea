// The chat socket of a browser: one question at a time, resumed behind its last delta when the connection is lost.

const LONGEST_PAUSE_MS = 5000;
// Close codes that say "this key may not": the same key would be refused again.
const REFUSED_CODES = new Set([1008, 3000, 3003, 4401, 4403]);

function base64url(text) {
  let binary = "";
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// Unlike crypto.randomUUID this is there on a plain http page too.
function newRequestId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// on: {connected(), lost(), refused(reason), event(frame)}. Events come once and in order, each delta's seq one above
// the last; a question ends with generation.finished, generation.failed or error.
export class ChatSocket {
  constructor(url, key, on) {
    this.url = url;
    this.key = key;
    this.on = on;
    this.question = null;
    this.generationId = null;
    this.lastSeq = 0;
    this.cancelWanted = false;
    this.failures = 0;
    this.closed = false;
    this.#connect();
  }

  get busy() {
    return this.question !== null;
  }

  // Where the socket is away the question goes out after the reconnection: its request_id makes that safe.
  ask(question) {
    this.question = { type: "chat.send", request_id: newRequestId(), ...question };
    this.generationId = null;
    this.lastSeq = 0;
    this.cancelWanted = false;
    this.#send(this.question);
  }

  cancel() {
    this.cancelWanted = true;
    if (this.generationId !== null) this.#send({ type: "generation.cancel", generation_id: this.generationId });
  }

  close() {
    this.closed = true;
    clearTimeout(this.retry);
    this.socket.close();
  }

  #send(frame) {
    if (this.ready) this.socket.send(JSON.stringify(frame));
  }

  #connect() {
    this.ready = false;
    // A browser cannot set a header on a socket, so the key travels as a subprotocol.
    const socket = new WebSocket(this.url, ["ovchat", `bearer.${base64url(this.key)}`]);
    this.socket = socket;
    socket.onmessage = (message) => this.#take(JSON.parse(message.data));
    socket.onclose = (event) => {
      if (this.closed || socket !== this.socket) return;
      this.ready = false;
      if (REFUSED_CODES.has(event.code)) {
        this.closed = true;
        this.on.refused(event.reason);
        return;
      }
      this.on.lost();
      const pause = Math.min(250 * 2 ** this.failures, LONGEST_PAUSE_MS);
      this.failures += 1;
      this.retry = setTimeout(() => this.#connect(), pause * (0.5 + Math.random() / 2));
    };
  }

  #take(frame) {
    if (frame.type === "session.ready") {
      this.ready = true;
      this.failures = 0;
      this.on.connected();
      this.#sayAgain();
      return;
    }
    if (frame.type === "error") {
      if (this.question === null) return;
      if (frame.request_id && frame.request_id !== this.question.request_id) return;
      if (!frame.request_id && this.generationId !== null && frame.error.type === "service_unavailable") {
        // A resume that found Redis away: the generation itself goes on.
        setTimeout(() => this.#sayAgain(), 1000);
        return;
      }
      this.#end(frame);
      return;
    }
    if (frame.type === "generation.queued" && this.question?.request_id === frame.request_id) {
      const isNew = this.generationId === null;
      this.generationId = frame.generation_id;
      if (isNew && this.cancelWanted) this.cancel();
    }
    if (this.question === null || frame.generation_id !== this.generationId) return;
    if (frame.type === "generation.delta") {
      if (frame.seq <= this.lastSeq) return;
      this.lastSeq = frame.seq;
    }
    if (frame.type === "generation.finished" || frame.type === "generation.failed") this.#end(frame);
    else this.on.event(frame);
  }

  #sayAgain() {
    if (this.question === null) return;
    if (this.generationId === null) {
      this.#send(this.question);
      return;
    }
    this.#send({ type: "generation.resume", generation_id: this.generationId, after_seq: this.lastSeq });
    if (this.cancelWanted) this.cancel();
  }

  #end(frame) {
    this.question = null;
    this.generationId = null;
    this.on.event(frame);
  }
}
