// A part of the page that slides in where there is no room for it: opened by a button, closed by Escape.

const NARROW = window.matchMedia("(max-width: 52rem)");

export function installDrawer(part, opener, closer, shade = null) {
  const drawer = {
    onOpen: () => closer.focus(),
    open() {
      part.hidden = false;
      part.classList.add("open");
      opener.setAttribute("aria-expanded", "true");
      if (shade) shade.hidden = false;
      drawer.onOpen();
    },
    close() {
      if (!part.classList.contains("open")) return;
      part.classList.remove("open");
      // The list of chats stands beside the chat where there is room; the settings are away until asked for.
      if (shade === null) part.hidden = true;
      opener.setAttribute("aria-expanded", "false");
      if (shade) shade.hidden = true;
    },
  };
  opener.addEventListener("click", () => (part.classList.contains("open") ? drawer.close() : drawer.open()));
  const closeAndReturn = () => {
    drawer.close();
    opener.focus();
  };
  closer.addEventListener("click", closeAndReturn);
  shade?.addEventListener("click", closeAndReturn);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && part.classList.contains("open") && part.contains(document.activeElement)) closeAndReturn();
  });
  NARROW.addEventListener("change", () => shade && drawer.close());
  return drawer;
}
