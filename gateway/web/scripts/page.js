// The page: signing in, and what the buttons around the chat do.

import { request } from "./api.js";
import { AdminView } from "./admin.js";
import { Chat } from "./chat.js";
import { ChatList } from "./chat-list.js";
import { installDrawer } from "./drawer.js";
import { element, make } from "./elements.js";
import { examplesFor } from "./examples.js";
import { ModelPicker } from "./models.js";
import { currentSession, signIn, signOut } from "./session.js";
import { Settings } from "./settings.js";
import { ChatSocket } from "./socket.js";
import { installTheme } from "./theme.js";

const REASON_NAME = "ovchat.reason"; // why the last session ended, told after the page has begun anew
const MODELS_PAUSE_MS = 5000;
const CLEAR_PAUSE_MS = 4000;
const question = element("question"), statusLine = element("status");

const picker = new ModelPicker(element("model"), element("variant"), () => setControls());
const settings = new Settings(() => chat.saveSettings());
const chat = new Chat(settings, picker, {
  show,
  changed: setControls,
  created() {
    history.replaceState(null, "", `#${chat.conversation.chatId}`);
    chats.load();
    chats.mark(chat.conversation.chatId);
  },
  ended() {
    chats.load();
    question.focus();
  },
  refused(text) {
    if (!question.value) question.value = text;
    grow();
    setControls();
    question.focus();
  },
});
const chats = new ChatList({
  open: (chatId) => go(`#${chatId}`),
  deleted: (chatId) => chatId === chat.conversation.chatId && startChat(),
  renamed(chatId, title) {
    if (chatId === chat.conversation.chatId) chat.conversation.title = title;
    setControls();
  },
  failed: (error) => show(error.message, true),
});
const admin = new AdminView((error) => error.status === 401 && leave(error.message));
const side = installDrawer(element("side"), element("open-side"), element("close-side"), element("shade"));
const panel = installDrawer(element("settings"), element("open-settings"), element("close-settings"));
let lost = false;
let modelsTimer = 0;
let clearTimer = 0;

function show(text, wrong = false) {
  if (statusLine.textContent !== text) statusLine.textContent = text;
  statusLine.classList.toggle("wrong", wrong);
}

function setControls() {
  const { conversation, busy } = chat;
  const open = chat.socket !== null && !picker.isEmpty;
  question.disabled = !open;
  element("send").disabled = !open || busy || !question.value.trim();
  element("send").hidden = busy;
  element("stop").hidden = !busy;
  picker.enable(open && !busy);
  element("clear").disabled = conversation.isEmpty;
  element("chat-title").textContent = conversation.title || "New chat";
  document.title = conversation.title ? `${conversation.title} – ovchat` : "ovchat";
  element("welcome").hidden = !conversation.isEmpty || chat.socket === null;
  if (!element("welcome").hidden) showWelcome();
}

function showWelcome() {
  element("welcome-model").textContent = picker.isEmpty
    ? "No model is published yet. An administrator converts one; it appears here by itself."
    : `You are talking to ${picker.name}.`;
  const language = picker.language;
  const list = element("examples");
  const key = picker.isEmpty ? "" : language;
  if (list.dataset.language === key) return;
  list.dataset.language = key;
  list.lang = language;
  list.replaceChildren(
    ...(picker.isEmpty ? [] : examplesFor(language)).map((text) =>
      make("li", {}, make("button", { type: "button", class: "example", text, onclick: () => ask(text) })),
    ),
  );
}

function ask(text) {
  const content = text.trim();
  if (!content || chat.socket === null || chat.busy || picker.isEmpty) return;
  question.value = "";
  grow();
  chat.ask(content);
}

// A browser without field-sizing leaves the box at its first height.
function grow() {
  question.style.height = "auto";
  question.style.height = `${Math.min(question.scrollHeight + 2, window.innerHeight * 0.4)}px`;
}

function mayLeaveChat() {
  if (!chat.socket?.unacknowledged) return true;
  show("One moment: your message is still on its way.", true);
  return false;
}

// Opens what the address names; going to where the page is already opens it again.
function go(hash) {
  side.close();
  if (location.hash === hash) route();
  else location.hash = hash;
}

async function route() {
  const name = decodeURIComponent(location.hash.slice(1));
  admin.show(name === "admin");
  if (name === "admin") panel.close();
  if (name === "admin" || chat.socket === null || !mayLeaveChat()) return;
  if (!name) {
    if (!chat.conversation.isEmpty) chat.start();
  } else if (name !== chat.conversation.chatId) {
    try {
      await chat.open(name);
    } catch (error) {
      startChat();
      show(error.status === 404 ? "This chat is not there any more." : error.message, true);
    }
  }
  chats.mark(chat.conversation.chatId);
  setControls();
}

function startChat(options) {
  if (!mayLeaveChat()) return;
  history.replaceState(null, "", location.pathname);
  admin.show(false);
  side.close();
  chat.start(options);
  chats.mark(null);
  question.focus();
}

// Clearing deletes the chat and begins anew with the same model and settings; a second press within a moment does it.
async function clearChat() {
  const button = element("clear");
  if (!button.classList.toggle("danger")) {
    clearTimeout(clearTimer);
    button.textContent = "Clear";
  } else {
    button.textContent = "Really clear?";
    clearTimer = setTimeout(() => {
      button.classList.remove("danger");
      button.textContent = "Clear";
    }, CLEAR_PAUSE_MS);
    return;
  }
  if (chat.conversation.chatId !== null) {
    if (chat.busy) chat.stop();
    try {
      await request("DELETE", `/api/v1/chats/${encodeURIComponent(chat.conversation.chatId)}`);
    } catch (error) {
      if (error.status !== 404) return show(error.message, true);
    }
  }
  startChat({ keepSettings: true });
  chats.load();
}

async function loadModels() {
  clearTimeout(modelsTimer);
  try {
    await picker.load();
  } catch (error) {
    if (error.status === 401) return leave(error.message);
  }
  if (picker.isEmpty && chat.socket !== null) modelsTimer = setTimeout(loadModels, MODELS_PAUSE_MS);
  setControls();
}

async function enter(session) {
  element("sign-in").hidden = true;
  element("app").hidden = false;
  element("user-name").textContent = session.user;
  element("open-admin").hidden = session.role !== "admin";
  chat.socket = new ChatSocket({
    connected() {
      if (lost) show(chat.busy ? "Connected again …" : "");
      lost = false;
    },
    lost() {
      lost = true;
      show("Connection lost, trying again …", true);
      // A browser does not tell a page that a socket was refused: whether the session is over is found out here.
      request("GET", "/api/v1/models").catch((error) => error.status === 401 && leave(error.message));
    },
    refused: (reason) => leave(reason || "The gateway refused the session."),
    event: (frame) => chat.take(frame),
  });
  chats.load();
  await loadModels();
  await route();
  question.focus();
}

// Begins the page anew, so that nothing that was read here is left for whoever signs in next.
async function leave(reason = "") {
  chat.socket?.close();
  await signOut();
  sessionStorage.setItem(REASON_NAME, reason);
  location.replace(location.pathname);
}

function showSignIn(reason) {
  element("sign-in").hidden = false;
  element("key-problem").textContent = reason;
  element("key").focus();
}

element("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  element("open").disabled = true;
  element("key-problem").textContent = "";
  try {
    await enter(await signIn(element("key").value.trim()));
  } catch (error) {
    element("key-problem").textContent = error.message;
  } finally {
    element("open").disabled = false;
    element("key").value = "";
  }
});
element("question-form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(question.value);
});
question.addEventListener("keydown", (event) => {
  // isComposing: Enter also ends the input of Chinese and Japanese words.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask(question.value);
  }
});
question.addEventListener("input", () => {
  grow();
  element("send").disabled = chat.busy || !question.value.trim();
});
element("stop").addEventListener("click", () => chat.stop());
element("new-chat").addEventListener("click", () => startChat());
element("clear").addEventListener("click", clearChat);
element("leave").addEventListener("click", () => leave());
element("open-admin").addEventListener("click", () => go("#admin"));
element("close-admin").addEventListener("click", () => go(chat.conversation.chatId ? `#${chat.conversation.chatId}` : "#"));
window.addEventListener("hashchange", () => element("app").hidden || route());
installTheme(element("theme"));
panel.onOpen = () => element("settings-title").focus();

async function begin() {
  try {
    const session = await currentSession();
    if (session) await enter(session);
    else showSignIn(sessionStorage.getItem(REASON_NAME) ?? "");
    sessionStorage.removeItem(REASON_NAME);
  } catch {
    // The gateway is away, such as while it restarts: the page waits for it.
    showSignIn("The gateway does not answer. Trying again …");
    setTimeout(begin, 2000);
  }
}
begin();
