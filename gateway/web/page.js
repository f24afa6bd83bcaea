// The chat page: a key, a model, one box. Everything that comes from the server is shown as text, never as markup.

import { ChatSocket } from "/static/socket.js";

const KEY_NAME = "ovchat.key";
const element = (id) => document.getElementById(id);
const keyForm = element("key-form"), keyField = element("key"), modelField = element("model");
const turns = element("turns"), statusLine = element("status"), main = document.querySelector("main");
const questionForm = element("question-form"), questionField = element("question");
const sendButton = element("send"), stopButton = element("stop");
const newChatButton = element("new-chat"), leaveButton = element("leave");

let socket = null;
let chatId = null;
let answer = null; // the list item that the running answer is written into

function show(text, wrong = false) {
  statusLine.textContent = text;
  statusLine.classList.toggle("wrong", wrong);
}

function addTurn(kind, text = "") {
  const item = document.createElement("li");
  item.className = kind;
  item.textContent = text;
  turns.append(item);
  main.scrollTop = main.scrollHeight;
  return item;
}

function setControls() {
  const open = socket !== null && modelField.options.length > 0;
  const busy = socket?.busy ?? false;
  questionField.disabled = !open;
  sendButton.disabled = !open || busy;
  sendButton.hidden = busy;
  stopButton.hidden = !busy;
  modelField.disabled = !open || busy;
  newChatButton.disabled = !open || busy;
}

function append(text) {
  // Whoever has scrolled up to read is left there.
  const follow = main.scrollHeight - main.scrollTop - main.clientHeight < 60;
  answer ??= addTurn("answer");
  answer.append(text);
  if (follow) main.scrollTop = main.scrollHeight;
}

function take(frame) {
  switch (frame.type) {
    case "generation.queued":
      chatId = frame.chat_id;
      show(frame.position > 0 ? `Waiting, ${frame.position} before this one` : "Waiting");
      break;
    case "model.loading":
      show(`Loading ${frame.model}` + (frame.progress == null ? "" : ` ${Math.round(frame.progress * 100)} %`));
      break;
    case "generation.started":
      show(`Reading ${frame.prompt_tokens} tokens`);
      if (frame.dropped_turns > 0) addTurn("note", `The ${frame.dropped_turns} oldest turns no longer fit the model.`);
      break;
    case "generation.delta":
      show("");
      if (frame.channel === "answer") append(frame.text);
      break;
    case "generation.resumed":
      show("Another worker goes on");
      break;
    case "generation.finished":
      end(frame.finish_reason === "cancelled" ? "Stopped." : frame.finish_reason === "length" ? "Cut at the length limit." : "");
      break;
    case "generation.failed":
    case "error":
      end("");
      addTurn("wrong", frame.error.message);
      break;
  }
}

function end(note) {
  answer = null;
  show("");
  if (note) addTurn("note", note);
  setControls();
  questionField.focus();
}

async function readModels(key) {
  const response = await fetch("/api/v1/models", { headers: { Authorization: `Bearer ${key}` } });
  const body = await response.json();
  if (!response.ok) throw Object.assign(new Error(body.error?.message ?? `HTTP ${response.status}`), { status: response.status });
  return body.data;
}

function fillModels(models) {
  const names = models.flatMap((found) => [
    ...(found.default_variant ? [found.model] : []),
    ...found.variants.map((variant) => `${found.model}:${variant.variant}`),
  ]);
  const chosen = modelField.value;
  modelField.replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(chosen)) modelField.value = chosen;
}

async function open(key) {
  show("Opening");
  let models;
  try {
    models = await readModels(key);
  } catch (error) {
    if (error.status === 401 || error.status === 403) sessionStorage.removeItem(KEY_NAME);
    keyForm.hidden = false;
    show(error.status ? error.message : "The gateway does not answer.", true);
    return;
  }
  sessionStorage.setItem(KEY_NAME, key);
  keyField.value = "";
  keyForm.hidden = true;
  leaveButton.hidden = false;
  fillModels(models);
  const address = new URL("/api/v1/ws", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new ChatSocket(address.href, key, {
    connected: () => show(models.length ? "" : "No model is published yet: convert one with `ovchat convert`, then reload."),
    lost: () => {
      show("Connection lost, trying again", true);
      // A browser does not tell a page that a socket was refused, so a key that is no longer good is found out here.
      readModels(key).catch((error) => error.status === 401 && leave(error.message));
    },
    refused: (reason) => leave(reason || "The gateway refused the key."),
    event: take,
  });
  setControls();
  questionField.focus();
}

function leave(reason = "") {
  socket?.close();
  socket = null;
  sessionStorage.removeItem(KEY_NAME);
  leaveButton.hidden = true;
  keyForm.hidden = false;
  newChat();
  show(reason, reason !== "");
}

function newChat() {
  chatId = null;
  answer = null;
  turns.replaceChildren();
  show("");
  setControls();
}

function ask() {
  const content = questionField.value.trim();
  if (!content || socket === null || socket.busy || !modelField.value) return;
  addTurn("asked", content);
  questionField.value = "";
  show("Sending");
  socket.ask({ model: modelField.value, content, chat_id: chatId });
  setControls();
}

keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  open(keyField.value.trim());
});
questionForm.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
questionField.addEventListener("keydown", (event) => {
  // isComposing: Enter also ends the input of Chinese and Japanese words.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask();
  }
});
stopButton.addEventListener("click", () => socket?.cancel());
newChatButton.addEventListener("click", newChat);
leaveButton.addEventListener("click", () => leave());

const kept = sessionStorage.getItem(KEY_NAME);
if (kept) open(kept);
else keyForm.hidden = false;
