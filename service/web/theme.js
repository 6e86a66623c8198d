// Before the first paint: the theme chosen last time, if this browser remembers one.
try {
  const chosen = localStorage.getItem("twofold-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // storage is switched off: the system's theme is used
}
