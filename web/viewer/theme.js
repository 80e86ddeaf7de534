// Before the page is drawn: the theme that was chosen here, so that nothing flashes. A classic script, since modules wait.
(() => {
  try {
    const theme = JSON.parse(localStorage.getItem("outrace") ?? "{}").theme;
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage that is shut or broken: the system's theme.
  }
})();
