// The page: signing in, and what the buttons around the chat do.

import { AdminView } from "./admin.js";
import { request } from "./api.js";
import { Chat } from "./chat.js";
import { clearChat, exportChat } from "./chat-actions.js";
import { ChatList } from "./chat-list.js";
import { Composer } from "./composer.js";
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
const statusLine = element("status");

const composer = new Composer({ ask, changed: () => setControls() });
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
    composer.focusUnlessElsewhere();
  },
  refused: (text) => composer.giveBack(text),
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
const admin = new AdminView({ refused: (error) => error.status === 401 && leave(error.message), modelsChanged: loadModels });
const side = installDrawer(element("side"), element("open-side"), element("close-side"), element("shade"));
const panel = installDrawer(element("settings"), element("open-settings"), element("close-settings"));
let lost = false;
let modelsTimer = 0;
let isAdmin = false;

function show(text, wrong = false) {
  if (statusLine.textContent !== text) statusLine.textContent = text;
  statusLine.classList.toggle("wrong", wrong);
}

function setControls() {
  const { conversation, busy } = chat;
  const open = chat.socket !== null && !picker.isEmpty;
  composer.show(open, busy);
  picker.enable(open && !busy);
  element("clear").disabled = conversation.chatId === null;
  element("export").disabled = conversation.chatId === null || busy;
  element("chat-title").textContent = conversation.title || "New chat";
  document.title = conversation.title ? `${conversation.title} – ovchat` : "ovchat";
  element("welcome").hidden = !conversation.isEmpty || chat.socket === null;
  if (!element("welcome").hidden) showWelcome();
}

function showWelcome() {
  element("welcome-model").textContent = !picker.isEmpty
    ? `You are talking to ${picker.name}.`
    : isAdmin
      ? "No model is published yet. Convert one; it appears here by itself."
      : "No model is published yet. An administrator converts one; it appears here by itself.";
  element("welcome-admin").hidden = !picker.isEmpty || !isAdmin;
  const language = picker.language;
  const list = element("examples");
  const key = picker.isEmpty ? "" : language;
  if (list.dataset.language === key) return;
  list.dataset.language = key;
  list.lang = language;
  list.replaceChildren(
    ...(picker.isEmpty ? [] : examplesFor(language)).map((text) =>
      make("li", {}, make("button", { type: "button", class: "example", text, onclick: () => composer.submit(text) })),
    ),
  );
}

// Whether a question was taken.
function ask(content) {
  if (chat.socket === null || chat.busy || picker.isEmpty) return false;
  chat.ask(content);
  return true;
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
  if (admin.show(name)) {
    panel.close();
    document.title = "Administration – ovchat";
    return;
  }
  if (chat.socket === null || !mayLeaveChat()) return;
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
  admin.show("");
  side.close();
  chat.start(options);
  chats.mark(null);
  composer.focus();
}

// Clearing begins anew with the same model and settings.
async function clear() {
  if (!mayLeaveChat()) return;
  const { chatId } = chat.conversation;
  try {
    if (!(await clearChat(chat))) return;
  } catch (error) {
    return show(error.message, true);
  }
  if (chatId === chat.conversation.chatId) startChat({ keepSettings: true });
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
  isAdmin = session.role === "admin";
  element("open-admin").hidden = !isAdmin;
  element("open-usage").hidden = isAdmin;
  admin.enter(session);
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
  composer.focus();
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
element("stop").addEventListener("click", () => chat.stop());
element("new-chat").addEventListener("click", () => startChat());
element("clear").addEventListener("click", clear);
element("export").addEventListener("click", () => exportChat(chat.conversation).catch((error) => show(error.message, true)));
element("leave").addEventListener("click", () => leave());
element("open-admin").addEventListener("click", () => go("#admin"));
element("open-usage").addEventListener("click", () => go("#admin/usage"));
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
