// Signing in: a key is changed for a session cookie, which no script can read.

import { request } from "./api.js";

// Both give {user, role}; the latter, of an earlier visit, null where there is none.
export const signIn = (key) => request("POST", "/api/v1/session", { key });

export async function currentSession() {
  try {
    return await request("GET", "/api/v1/session");
  } catch (error) {
    if (error.status === 401 || error.status === 403) return null;
    throw error;
  }
}

export const signOut = () => request("DELETE", "/api/v1/session").catch(() => null);
