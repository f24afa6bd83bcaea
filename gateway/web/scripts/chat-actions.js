// What is done to a whole chat: taken along as a file, or cleared.

import { download, request } from "./api.js";
import { choose, confirmed } from "./dialogs.js";

const ENDINGS = { markdown: "md", json: "json" };
const LONGEST_NAME = 80;

// A title as the name of a file: nothing in it that a file system takes for its own.
function fileName(title, chatId) {
  const plain = title.replace(/[\p{C}\\/:*?"<>|]+/gu, " ").replace(/\s+/g, " ").replace(/^[. ]+/, "").trim();
  return [...plain].slice(0, LONGEST_NAME).join("").trim() || chatId;
}

// Asks for a format and saves the branch that is shown; does nothing where the reader thinks better of it.
export async function exportChat({ chatId, title }) {
  const format = await choose({
    title: "Export this chat",
    text: "The file has the messages that you see, with the model and the settings of each answer.",
    choices: [{ value: "markdown", label: "Markdown", look: "strong" }, { value: "json", label: "JSON" }, { label: "Cancel", look: "quiet" }],
  });
  if (format === null) return;
  const path = `/api/v1/chats/${encodeURIComponent(chatId)}/export?format=${format}`;
  await download(path, `${fileName(title, chatId)}.${ENDINGS[format]}`);
}

// Deletes the chat, if that is wanted; whether it is gone.
export async function clearChat(chat) {
  const isWanted = await confirmed({
    title: "Clear this chat?",
    text: "All its messages are deleted, on every device. The model and the settings stay as they are.",
    deed: "Clear",
  });
  if (!isWanted) return false;
  if (chat.busy) chat.stop();
  try {
    await request("DELETE", `/api/v1/chats/${encodeURIComponent(chat.conversation.chatId)}`);
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  return true;
}
