// The list of a user's chats: paged, searched by title, renamed and deleted in place.

import { get, request } from "./api.js";
import { keepFocus } from "./dialogs.js";
import { element, icon, make, renew } from "./elements.js";

const PAGE = 30;
const PAUSE_MS = 250;

// When a chat was last talked in, in the words of the list.
function age(updated_ms) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  const days = Math.ceil((midnight - updated_ms) / 86_400_000);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  return days <= 7 ? "Last 7 days" : days <= 30 ? "Last 30 days" : "Older";
}

function byAge(chats) {
  const groups = new Map();
  for (const chat of chats) {
    const name = age(chat.updated_ms);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(chat);
  }
  return groups;
}

export class ChatList {
  #cursor = null;
  #timer = 0;
  #round = 0;
  #chats = [];

  // on: {open(chatId), deleted(chatId), renamed(chatId, title), failed(error)}
  constructor(on) {
    this.on = on;
    this.list = element("chat-list");
    this.search = element("chat-search");
    this.more = element("more-chats");
    this.current = null;
    this.search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.load(), PAUSE_MS);
    });
    this.more.addEventListener("click", () => this.#fetch(this.#cursor));
  }

  load() {
    return this.#fetch(null);
  }

  mark(chatId) {
    this.current = chatId;
    for (const item of this.list.querySelectorAll("[data-chat]")) {
      const button = item.querySelector(".chat-name");
      if (item.dataset.chat === chatId) button?.setAttribute("aria-current", "page");
      else button?.removeAttribute("aria-current");
    }
  }

  async #fetch(cursor) {
    const round = ++this.#round;
    const query = new URLSearchParams({ limit: PAGE });
    if (cursor) query.set("cursor", cursor);
    if (this.search.value.trim()) query.set("search", this.search.value.trim());
    let page;
    try {
      page = await get(`/api/v1/chats?${query}`);
    } catch (error) {
      // A gateway that does not keep lists has none to show.
      if (error.status !== 404) this.on.failed(error);
      return;
    }
    if (round !== this.#round) return;
    this.#chats = cursor ? [...this.#chats, ...page.data] : page.data;
    this.#cursor = page.next_cursor;
    this.more.hidden = !page.next_cursor;
    // A title that is being changed and a question that is open are not taken away from under the reader's hands.
    if (!this.list.querySelector("input, .confirm")) this.#show();
  }

  #show() {
    element("no-chats").hidden = this.#chats.length > 0;
    element("no-chats").textContent = this.search.value.trim() ? "No chat has this in its title." : "No chats yet.";
    const groups = byAge(this.#chats);
    renew(
      this.list,
      ...[...groups].map(([name, chats]) =>
        make("section", {}, make("h3", { class: "group", text: name }), make("ul", {}, ...chats.map((chat) => this.#item(chat)))),
      ),
    );
    this.mark(this.current);
  }

  #item(chat) {
    const title = chat.title || "Untitled";
    const name = make("button", { type: "button", class: "chat-name quiet", text: title, title });
    name.addEventListener("click", () => this.on.open(chat.chat_id));
    const rename = make("button", { type: "button", class: "rename quiet square", "aria-label": `Rename ${title}`, title: "Rename" }, icon("pencil"));
    const remove = make("button", { type: "button", class: "delete quiet square", "aria-label": `Delete ${title}`, title: "Delete" }, icon("bin"));
    const item = make("li", { "data-chat": chat.chat_id }, name, rename, remove);
    rename.addEventListener("click", () => this.#rename(item, chat));
    remove.addEventListener("click", () => this.#askToDelete(item, chat));
    return item;
  }

  #rename(item, chat) {
    const field = make("input", { class: "new-title", maxlength: 200, "aria-label": "New title" });
    field.value = chat.title;
    let ended = false; // taking a focused field away takes its focus, which would end it a second time
    const end = async (save) => {
      if (ended) return;
      ended = true;
      const title = field.value.trim();
      field.readOnly = true; // while it stands there, a list that has just been read does not take the item's place
      if (save && title && title !== chat.title) {
        try {
          await request("PATCH", `/api/v1/chats/${encodeURIComponent(chat.chat_id)}`, { title });
          // The list may have been read anew meanwhile.
          for (const one of [chat, ...this.#chats]) if (one.chat_id === chat.chat_id) one.title = title;
          this.on.renamed(chat.chat_id, title);
        } catch (error) {
          this.on.failed(error);
        }
      }
      const fresh = this.#item(chat);
      item.replaceWith(fresh);
      this.mark(this.current);
      fresh.querySelector(".rename").focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) end(true);
      if (event.key === "Escape") end(false);
    });
    field.addEventListener("blur", () => end(true));
    item.replaceChildren(field);
    field.select();
  }

  #askToDelete(item, chat) {
    const yes = make("button", { type: "button", class: "confirm danger", text: "Delete" });
    const no = make("button", { type: "button", class: "keep", text: "Keep" });
    yes.addEventListener("click", async () => {
      try {
        await request("DELETE", `/api/v1/chats/${encodeURIComponent(chat.chat_id)}`);
      } catch (error) {
        if (error.status !== 404) {
          this.on.failed(error);
          return;
        }
      }
      this.#chats = this.#chats.filter((other) => other.chat_id !== chat.chat_id);
      this.#show();
      this.on.deleted(chat.chat_id);
      keepFocus("new-chat");
    });
    no.addEventListener("click", () => {
      const fresh = this.#item(chat);
      item.replaceWith(fresh);
      this.mark(this.current);
      fresh.querySelector(".delete").focus();
    });
    item.replaceChildren(make("span", { class: "grow chat-question", text: `Delete “${chat.title || "Untitled"}”?` }), yes, no);
    no.focus();
  }
}
