// The platform's HTTP interface. The browser sends the session's cookie by itself.

const KEPT_MS = 60_000;

export class ApiError extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? (status ? `The gateway answered ${status}.` : "The gateway does not answer."));
    this.status = status;
    this.code = body?.error?.code ?? null;
    this.param = body?.error?.param ?? null; // the field that is refused, as in variants.0.recipe.group_size
  }
}

function headers(extra = {}) {
  // The first header is what a page of another site cannot send: it keeps forged requests out.
  return { "X-Requested-With": "ovchat", ...extra };
}

async function answer(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }),
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
    });
  } catch {
    throw new ApiError(0, null);
  }
  if (response.ok) return response;
  throw new ApiError(response.status, parsed(await response.text()));
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null; // Something between the page and the gateway answered; its words are not for the reader.
  }
}

export async function request(method, path, body) {
  return parsed(await (await answer(method, path, body)).text());
}

// Saves what a path gives as a file of the reader.
export async function download(path, name) {
  const address = URL.createObjectURL(await (await answer("GET", path)).blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  // The browser has begun to read it by then; what is never revoked stays in memory.
  setTimeout(() => URL.revokeObjectURL(address), KEPT_MS);
}

export const get = (path) => request("GET", path);
export const post = (path, body) => request("POST", path, body);

// Yields {id, data} of a server-sent event stream until it ends; a broken one throws.
export async function* events(path, lastId, signal) {
  const response = await fetch(path, {
    headers: headers({ Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) }),
    cache: "no-store",
    signal,
  });
  if (!response.ok) throw new ApiError(response.status, null);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field("data")) yield { id: field("id"), data: JSON.parse(field("data")) };
    }
  }
}
