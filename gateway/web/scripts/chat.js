// The chat that is open: asks, follows the answer, and keeps the page in step with the conversation.

import { get, request } from "./api.js";
import { Conversation, ROOT } from "./conversation.js";
import { element, reconcile } from "./elements.js";
import { TurnView } from "./turns.js";

const QUESTION = "new-question";
const ANSWER = "new-answer";
// Whoever has scrolled up by more than this reads there and is not taken down.
const NEAR_END_PX = 80;
const LONGEST_SPOKEN = 4000;

export class Chat {
  #views = new Map();
  #answer = null; // the message that the running generation writes
  #round = 0; // counts openings, so that a slow one does not come over a later one
  #place = ""; // in the queue, in words
  #loading = ""; // what the model's loading has come to, in words
  #follows = true; // whether the reader is at the end of the chat, and wants to stay there
  #restored = null; // a question that the server refused: back into the box with it

  // on: {show(text, wrong), changed(), created(), ended(), refused(text)}
  constructor(settings, picker, on) {
    this.settings = settings;
    this.picker = picker;
    this.on = on;
    this.socket = null;
    this.conversation = new Conversation();
    this.scroller = element("chat-view");
    this.list = element("turns");
    this.scroller.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.scroller;
      this.#follows = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
      this.toEnd.hidden = this.#follows;
    });
    this.toEnd = element("to-end");
    this.toEnd.addEventListener("click", () => this.#toEnd());
  }

  get busy() {
    return this.socket?.busy ?? false;
  }

  // Empties the page for a new chat; the settings stay where they are told to.
  start({ keepSettings = false } = {}) {
    this.#round += 1;
    this.settings.flush();
    this.socket?.forget();
    this.conversation = new Conversation();
    this.#answer = this.#restored = null;
    this.#views.clear();
    if (!keepSettings) this.settings.set({});
    this.on.show("");
    this.render();
  }

  // Opens a stored chat; an answer that still runs goes on streaming.
  async open(chatId) {
    const round = ++this.#round;
    const chat = await get(`/api/v1/chats/${encodeURIComponent(chatId)}`);
    if (round !== this.#round) return; // another one was opened meanwhile
    this.start();
    this.conversation = new Conversation(chat);
    this.settings.set(chat);
    const last = this.conversation.branch().at(-1);
    const provenance = last?.provenance;
    this.picker.select(chat.model ?? (provenance ? `${provenance.model}:${provenance.variant}` : ""));
    this.render();
    this.#followRunning();
    this.#toEnd();
  }

  // Asks below a message, or where the chat has come to.
  ask(content, parentMessageId = null) {
    const { conversation } = this;
    const parent = parentMessageId ?? conversation.leaf;
    const above = parent === ROOT ? null : parent;
    this.#restored = { content, leaf: conversation.leaf };
    conversation.add({ message_id: QUESTION, parent_message_id: above, role: "user", content, status: "done" });
    this.#begin(QUESTION);
    this.socket.ask("chat.send", {
      chat_id: conversation.chatId,
      model: this.picker.name,
      content,
      parent_message_id: conversation.chatId === null ? null : parent,
      system: this.settings.system.value.trim() || null,
      params: this.settings.params,
    });
    this.#afterAsking();
  }

  edit(message, content) {
    if (this.busy || this.picker.isEmpty) return;
    this.ask(content, this.conversation.parentOf(message));
  }

  regenerate(message) {
    if (this.busy) return;
    this.#restored = { content: "", leaf: this.conversation.leaf };
    this.#begin(message.parent_message_id);
    this.socket.ask("chat.regenerate", {
      chat_id: this.conversation.chatId,
      message_id: message.message_id,
      params: this.settings.params,
    });
    this.#afterAsking();
  }

  stop() {
    this.on.show("Stopping");
    this.socket?.cancel();
  }

  // Shows another version of a message and what followed it; the next question goes on from there.
  choose(message) {
    if (this.busy) return;
    this.conversation.leaf = this.conversation.leafBelow(message);
    this.render();
    this.#views.get(message)?.node.querySelector(".copy").focus();
    this.save({ leaf_message_id: this.conversation.leaf });
    this.#followRunning();
  }

  async save(change) {
    if (this.conversation.chatId === null) return;
    try {
      await request("PATCH", `/api/v1/chats/${encodeURIComponent(this.conversation.chatId)}`, change);
    } catch (error) {
      if (error.status !== 404) this.on.show(error.message, true);
    }
  }

  saveSettings() {
    return this.save({ system: this.settings.system.value.trim() || null, params: this.settings.params });
  }

  render() {
    const branch = this.conversation.branch();
    reconcile(
      this.list,
      branch.map((message) => {
        const view = this.#views.get(message) ?? this.#newView(message);
        view.update(this.conversation.versions(message), this.busy);
        return view.node;
      }),
    );
    this.on.changed();
  }

  take(frame) {
    const answer = this.#answer;
    switch (frame.type) {
      case "generation.queued":
        this.#takeQueued(frame);
        break;
      case "model.loading":
        this.#loading = `Loading ${frame.model}` + (!frame.progress ? "" : ` ${Math.round(frame.progress * 100)} %`);
        this.#showWaiting();
        break;
      case "generation.started":
        this.on.show("Thinking …");
        answer.provenance = { params: this.settings.params, ...answer.provenance, ...placeOf(frame) };
        answer.note = frame.dropped_turns > 0 ? `The ${frame.dropped_turns} oldest turns no longer fit the model.` : null;
        break;
      case "generation.delta":
        if (frame.channel === "reasoning") answer.reasoning = (answer.reasoning ?? "") + frame.text;
        else if (frame.channel === "answer") answer.content += frame.text;
        this.on.show("Answering …");
        this.#views.get(answer)?.update(this.conversation.versions(answer), true);
        break;
      case "generation.resumed":
        this.on.show("Another worker goes on …");
        break;
      case "generation.finished":
        answer.provenance = { ...answer.provenance, usage: frame.usage, timings: frame.timings };
        answer.finish_reason = frame.finish_reason;
        this.#end("done", null);
        break;
      case "generation.failed":
        this.#end("failed", frame.error);
        break;
      case "error":
        this.#takeError(frame.error);
        break;
    }
    if (this.#follows) this.#toEnd();
  }

  #toEnd() {
    this.#follows = true;
    this.toEnd.hidden = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  #newView(message) {
    const view = new TurnView(message, {
      edit: (asked, text) => this.edit(asked, text),
      regenerate: (answer) => this.regenerate(answer),
      version: (other) => this.choose(other),
      changed: () => this.#follows && this.#toEnd(),
    });
    this.#views.set(message, view);
    return view;
  }

  #begin(parent) {
    this.#answer = this.conversation.add({
      message_id: ANSWER, parent_message_id: parent, role: "assistant", content: "", status: "running",
    });
    this.conversation.leaf = ANSWER;
  }

  #afterAsking() {
    this.#place = this.#loading = "";
    this.on.show("Sending …");
    this.render();
    this.#toEnd();
  }

  #takeQueued(frame) {
    const { conversation } = this;
    conversation.rename(QUESTION, frame.user_message_id);
    conversation.rename(ANSWER, frame.message_id);
    this.#restored = null;
    this.#place = frame.position > 0 ? `${frame.position} before you` : "you are next";
    this.#showWaiting();
    if (conversation.chatId === null) {
      conversation.chatId = frame.chat_id;
      conversation.title = conversation.branch()[0]?.content.split("\n", 1)[0] ?? "";
      this.on.created();
    }
  }

  #showWaiting() {
    this.on.show([this.#loading || "Waiting", this.#place].filter(Boolean).join(" · "));
  }

  #takeError(error) {
    const isStored = error.code === "journal_expired" || error.code === "generation_not_found";
    if (isStored && this.conversation.chatId !== null) {
      this.open(this.conversation.chatId).catch((problem) => this.on.show(problem.message, true));
    } else if (this.#restored !== null) {
      // Nothing was stored: the page goes back to how it was, and the text to where it can be sent again.
      for (const id of [QUESTION, ANSWER]) this.conversation.messages.delete(id);
      this.conversation.leaf = this.#restored.leaf;
      const { content } = this.#restored;
      this.#restored = null;
      this.#answer = null;
      this.on.show(error.message, true);
      this.render();
      this.on.refused(content);
    } else {
      this.#end("failed", error);
    }
  }

  #end(status, error) {
    const answer = this.#answer;
    this.#answer = null;
    answer.status = status;
    answer.error = error;
    this.on.show("");
    this.render();
    element("spoken").textContent = error ? error.message : answer.content.slice(0, LONGEST_SPOKEN) || "The answer is empty.";
    this.on.ended();
  }

  #followRunning() {
    const running = this.conversation.running;
    if (running === null || this.socket === null) return;
    running.content = "";
    this.#answer = running;
    this.#restored = null;
    this.#place = this.#loading = "";
    this.on.show("Waiting for the answer …");
    this.socket.follow(running.message_id);
    this.render();
  }
}

function placeOf({ model, variant, device, worker_id }) {
  return { model, variant, device, worker_id };
}
