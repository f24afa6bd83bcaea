// One chat's tree of messages and the branch of it that is shown.

export const ROOT = "root";

export class Conversation {
  constructor(chat = null) {
    this.chatId = chat?.chat_id ?? null;
    this.title = chat?.title ?? "";
    this.model = chat?.model ?? null;
    this.system = chat?.system ?? null;
    this.params = chat?.params ?? null;
    this.leaf = chat?.leaf_message_id ?? null;
    this.messages = new Map((chat?.messages ?? []).map((message) => [message.message_id, message]));
  }

  get isEmpty() {
    return this.messages.size === 0;
  }

  add(message) {
    this.messages.set(message.message_id, message);
    return message;
  }

  // Gives a message the id that the server chose for it.
  rename(from, to) {
    const message = this.messages.get(from);
    if (!message || from === to) return;
    this.messages.delete(from);
    message.message_id = to;
    this.messages.set(to, message);
    for (const other of this.messages.values()) if (other.parent_message_id === from) other.parent_message_id = to;
    if (this.leaf === from) this.leaf = to;
  }

  // The messages from the first one to the leaf.
  branch() {
    const path = [];
    for (let id = this.leaf; id !== null && this.messages.has(id); id = this.messages.get(id).parent_message_id) {
      path.unshift(this.messages.get(id));
    }
    return path;
  }

  // The versions of a message, itself among them, in the order in which they were made.
  versions(message) {
    return [...this.messages.values()].filter(
      (other) => other.parent_message_id === message.parent_message_id && other.role === message.role,
    );
  }

  // The end of the newest branch below a message.
  leafBelow(message) {
    let leaf = message;
    for (;;) {
      const children = [...this.messages.values()].filter((other) => other.parent_message_id === leaf.message_id);
      if (!children.length) return leaf.message_id;
      leaf = children.at(-1);
    }
  }

  get running() {
    return this.branch().find((message) => message.status === "running") ?? null;
  }

  // What the protocol names as the parent of a new version of a question.
  parentOf(message) {
    return message.parent_message_id ?? ROOT;
  }
}
