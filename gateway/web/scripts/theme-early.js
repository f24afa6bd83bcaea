// Runs before the page is drawn, so that a chosen theme does not flash the other one first.
const chosenTheme = localStorage.getItem("ovchat.theme");
if (chosenTheme === "light" || chosenTheme === "dark") document.documentElement.dataset.theme = chosenTheme;
