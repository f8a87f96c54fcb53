// Light or dark: as the system says, until the reader chooses. Not a module, so that it runs before the first paint.
(() => {
  "use strict";
  const root = document.documentElement;
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is forbidden: the system's choice it is
    }
  }

  function remember(theme) {
    try {
      if (theme === null) localStorage.removeItem("theme");
      else localStorage.setItem("theme", theme);
    } catch {
      // It lasts as long as this page.
    }
  }

  function apply(theme) {
    const dark = theme === null ? systemIsDark.matches : theme === "dark";
    root.dataset.theme = dark ? "dark" : "light";
    root.classList.toggle("dark-mode", dark); // what Swagger UI looks at
    document.getElementById("theme")?.setAttribute("aria-pressed", String(dark));
  }

  apply(chosen());
  systemIsDark.addEventListener("change", () => apply(chosen()));
  document.addEventListener("DOMContentLoaded", () => {
    apply(chosen());
    document.getElementById("theme").addEventListener("click", () => {
      const dark = root.dataset.theme !== "dark";
      const theme = dark === systemIsDark.matches ? null : dark ? "dark" : "light";
      remember(theme);
      apply(dark ? "dark" : "light");
    });
  });
})();
