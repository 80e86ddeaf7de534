// Before the page is drawn: its theme, so that nothing flashes. A classic script, since modules wait.
(() => {
  let theme = "auto";
  try {
    theme = JSON.parse(localStorage.getItem("outrace") ?? "{}").theme;
  } catch {
    // Storage that is shut or broken: the system's theme.
  }
  if (theme !== "light" && theme !== "dark")
    theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = theme;
})();
