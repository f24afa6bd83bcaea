// Users and their keys: made, limited, revoked, and a user's end.

import { get, post, request } from "./api.js";
import { day } from "./dates.js";
import { confirmed, keepFocus, showSecret } from "./dialogs.js";
import { element, make, renew } from "./elements.js";
import { fill } from "./form-dialog.js";
import { table } from "./table.js";

const LIMITS = { max_concurrent: "at once", requests_per_minute: "a minute", tokens_per_day: "tokens a day" };

const LABELS = { max_concurrent: "Answers at once", requests_per_minute: "Requests a minute", tokens_per_day: "Tokens a day" };
const MOST = { max_concurrent: 1e6, requests_per_minute: 1e6, tokens_per_day: 1e12 };

const keyPath = (key) => `/api/v1/keys/${encodeURIComponent(key.key_id)}`;

function limitsText(limits) {
  const known = Object.entries(LIMITS).filter(([name]) => limits[name] !== null && limits[name] !== undefined);
  const parts = known.map(([name, unit]) => `${limits[name] === 0 ? "any" : limits[name].toLocaleString()} ${unit}`);
  if (limits.weight !== undefined && limits.weight !== 1) parts.push(`weight ${limits.weight}`);
  return parts.join(", ") || "defaults";
}

export class People {
  #me = "";
  #round = 0;

  constructor() {
    this.problem = element("people-problem");
    element("key-wish").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#make(event.target);
    });
  }

  enter({ user }) {
    this.#me = user;
  }

  start() {
    this.problem.textContent = element("key-wish-problem").textContent = "";
    return this.#read();
  }

  stop() {
    this.#round += 1;
  }

  async #read() {
    const round = ++this.#round;
    try {
      const [users, keys] = await Promise.all([get("/api/v1/users"), get("/api/v1/keys")]);
      if (round !== this.#round) return;
      element("known-users").replaceChildren(...users.data.map(({ user }) => make("option", { value: user })));
      renew(
        element("people"),
        ...users.data.map((user) => this.#person(user, keys.data.filter((key) => key.user === user.user))),
      );
    } catch (error) {
      this.problem.textContent = error.message;
    }
  }

  #person(user, keys) {
    const facts = [
      user.active_keys === 1 ? "1 working key" : `${user.active_keys} working keys`,
      user.last_used_day ? `last seen ${user.last_used_day}` : "never seen",
    ];
    // Those that work come first, the newest on top.
    const ordered = [...keys].sort((a, b) => a.revoked - b.revoked || b.created_ms - a.created_ms);
    return make(
      "section",
      { class: "person", "data-user": user.user },
      make(
        "div",
        { class: "row" },
        make("h4", { class: "grow" }, user.user,
          user.role === "admin" ? make("span", { class: "tag", text: "admin" }) : null,
          user.user === this.#me ? make("span", { class: "tag", text: "you" }) : null,
          make("span", { class: "faint small", text: facts.join(" · ") })),
        make("button", { type: "button", class: "danger small erase", text: "Erase", "aria-label": `Erase the user ${user.user}`, onclick: () => this.#erase(user.user) }),
      ),
      table(`Keys of ${user.user}`, ["Key", "Role", "Limits", "Made", "Last used", ""], ordered.map((key) => this.#row(key))),
    );
  }

  #row(key) {
    const name = key.name || key.key_id;
    return [
      make("span", { text: name, title: key.key_id }),
      key.role,
      limitsText(key.limits),
      day(key.created_ms),
      key.last_used_day ?? "never",
      key.revoked
        ? make("span", { class: "state", text: "revoked" })
        : make("span", { class: "deeds" },
          make("button", { type: "button", class: "small limit", text: "Limits", "aria-label": `Change the limits of the key ${name} of ${key.user}`, onclick: () => this.#limit(key, name) }),
          make("button", { type: "button", class: "small revoke", text: "Revoke", "aria-label": `Revoke the key ${name} of ${key.user}`, onclick: () => this.#revoke(key, name) })),
    ];
  }

  async #make(form) {
    const problem = element("key-wish-problem");
    const button = form.querySelector("[type=submit]");
    const user = element("key-user").value.trim();
    const given = Object.keys(LIMITS).map((name) => [name, element(`limit-${name}`).value]).filter(([, value]) => value !== "");
    problem.textContent = "";
    button.disabled = true;
    try {
      const { key } = await post("/api/v1/keys", {
        user,
        name: element("key-name").value.trim(),
        role: element("key-role").value,
        limits: Object.fromEntries(given.map(([name, value]) => [name, Number(value)])),
      });
      form.reset();
      button.disabled = false;
      button.focus();
      this.#read();
      await showSecret({
        title: `A key for ${user}`,
        text: "Copy it now and hand it on safely: it is shown this one time, and only its hash is kept.",
        label: `The new key of ${user}`,
        secret: key,
      });
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  }

  // Only what was changed is asked for, so that the audit log tells that.
  async #limit(key, name) {
    const fields = Object.keys(LIMITS).map((limit) => ({
      name: limit, type: "number", value: key.limits[limit], min: 0, max: MOST[limit], step: 1, placeholder: "default", label: LABELS[limit],
    }));
    const saved = await fill({
      title: `Limits of ${name} of ${key.user}`,
      text: "Left empty, the platform's defaults hold; 0 is without limit. They hold within a second.",
      fields: [
        ...fields,
        { name: "weight", type: "number", value: key.limits.weight, required: true, min: 0.001, max: 1000, step: "any", label: "Weight", hint: "Share of a full pool beside other users' shares; 1 is everybody's." },
      ],
      deed: "Save",
      save: async (wish) => {
        const changes = Object.entries(wish).filter(([limit, value]) => value !== (key.limits[limit] ?? null));
        if (changes.length) await request("PATCH", keyPath(key), { limits: Object.fromEntries(changes) });
      },
    });
    if (saved) await this.#read();
  }

  #revoke(key, name) {
    const own = key.user === this.#me ? " If it is the one that you signed in with, you are signed out." : "";
    return this.#end({
      title: `Revoke ${name} of ${key.user}?`,
      text: `Within a second it opens nothing any more, and what is signed in with it is signed out.${own}`,
      deed: "Revoke",
    }, keyPath(key));
  }

  #erase(user) {
    return this.#end({
      title: `Erase ${user}?`,
      text: "All keys, sessions, chats and usage of this user are deleted, and what still runs for them is cancelled. Nobody can undo this.",
      deed: "Erase",
      typed: user,
    }, `/api/v1/users/${encodeURIComponent(user)}`);
  }

  async #end(question, path) {
    if (!(await confirmed(question))) return;
    this.problem.textContent = "";
    try {
      await request("DELETE", path);
    } catch (error) {
      this.problem.textContent = error.message;
      return;
    }
    await this.#read();
    keepFocus("people-title");
  }
}
