// Sets the theme before the first paint, so that the page does not flash in the other one. This is
// a classic script because modules run too late.
(() => {
  let theme = "auto";
  try {
    theme = JSON.parse(localStorage.getItem("outrace") ?? "{}").theme;
  } catch {
    // Storage is blocked or broken: the system's theme applies.
  }
  if (theme !== "light" && theme !== "dark")
    theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = theme;
})();
