// Light, dark, or what the system says; the choice is kept in this browser.

import { icon } from "./elements.js";

const NAME = "ovchat.theme";
const ORDER = ["system", "light", "dark"];

export function installTheme(button) {
  let theme = localStorage.getItem(NAME) ?? "system";
  const apply = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.replaceChildren(icon(theme));
    button.title = `Theme: ${theme}`;
    button.setAttribute("aria-label", `Theme: ${theme}. Press to change.`);
  };
  button.addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    if (theme === "system") localStorage.removeItem(NAME);
    else localStorage.setItem(NAME, theme);
    apply();
  });
  apply();
}
