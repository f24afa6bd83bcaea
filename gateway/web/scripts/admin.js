// What there is besides chats: the pool, models, people, usage, the audit log. Nothing is asked for while it is not shown.

import { Audit } from "./audit.js";
import { Conversions } from "./conversions.js";
import { element } from "./elements.js";
import { Loading } from "./loading.js";
import { People } from "./people.js";
import { Pool } from "./pool.js";
import { Published } from "./published.js";
import { Usage } from "./usage.js";

// Hidden are the parts that are about a chat.
const CHAT_PARTS = ["chat-view", "foot", "pickers", "export", "clear", "open-settings"];

export class AdminView {
  #shown = null; // the name of the page that is shown
  #pages;
  #names = [];

  // on: {refused(error), modelsChanged()}
  constructor(on) {
    this.on = on;
    const published = new Published(on.refused);
    const loading = new Loading(() => pool.read());
    const pool = new Pool(on.refused, (workers) => loading.offer(workers));
    this.#pages = {
      admin: [pool, loading],
      "admin/models": [published, new Conversions(() => published.read())],
      "admin/people": [new People()],
      "admin/usage": [new Usage()],
      "admin/audit": [new Audit(on.refused)],
    };
  }

  // A user sees their own usage and nothing else of this.
  enter({ user, role }) {
    const isAdmin = role === "admin";
    this.#names = isAdmin ? Object.keys(this.#pages) : ["admin/usage"];
    element("admin-pages").hidden = !isAdmin;
    element("admin-title").textContent = isAdmin ? "Administration" : "Your usage";
    for (const part of Object.values(this.#pages).flat()) part.enter?.({ user, isAdmin });
  }

  // Shows the page of a name; false, and none, where it is not the name of one.
  show(name) {
    const page = this.#names.includes(name) ? name : null;
    if (page === this.#shown) return page !== null;
    const before = this.#shown;
    this.#shown = page;
    for (const part of this.#pages[before] ?? []) part.stop();
    element("admin-view").hidden = page === null;
    for (const id of CHAT_PARTS) element(id).hidden = page !== null;
    for (const part of document.querySelectorAll("[data-page]")) part.hidden = part.dataset.page !== page;
    for (const link of element("admin-pages").children) {
      if (link.hash === `#${page}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (page === null) {
      this.on.modelsChanged();
      return false;
    }
    if (before === null) element("admin-title").focus();
    for (const part of this.#pages[page]) part.start();
    return true;
  }
}
