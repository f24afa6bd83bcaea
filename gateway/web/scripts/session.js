// Signing in: a key is changed for a session cookie, which no script can read.

import { ApiError, request, setBearer } from "./api.js";

const KEY_NAME = "ovchat.key";

function base64url(text) {
  let binary = "";
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// A gateway without sessions: the key stays in this tab and goes along with everything.
async function openWithKey(key) {
  setBearer(key);
  try {
    await request("GET", "/api/v1/models");
  } catch (error) {
    setBearer(null);
    sessionStorage.removeItem(KEY_NAME);
    throw error;
  }
  sessionStorage.setItem(KEY_NAME, key);
  // A browser cannot set a header on a socket, so the key travels as a subprotocol.
  return { user: "", role: "admin", protocols: ["ovchat", `bearer.${base64url(key)}`] };
}

export async function signIn(key) {
  try {
    const session = await request("POST", "/api/v1/session", { key }, { Authorization: `Bearer ${key}` });
    return { ...session, protocols: ["ovchat"] };
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 405)) return openWithKey(key);
    throw error;
  }
}

// The session of an earlier visit; null where there is none.
export async function currentSession() {
  const kept = sessionStorage.getItem(KEY_NAME);
  if (kept) return openWithKey(kept).catch((error) => (error.status === 401 ? null : Promise.reject(error)));
  try {
    return { ...(await request("GET", "/api/v1/session")), protocols: ["ovchat"] };
  } catch (error) {
    if (error.status === 401 || error.status === 403 || error.status === 404) return null;
    throw error;
  }
}

export async function signOut() {
  sessionStorage.removeItem(KEY_NAME);
  await request("DELETE", "/api/v1/session").catch(() => null);
  setBearer(null);
}
