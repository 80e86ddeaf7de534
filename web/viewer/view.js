// The view: its settings, applied to the page, and its menu.

import { loadSettings, PHONE, saveSettings } from "./settings.js";

export class ViewSettings {
  #settings = loadSettings();
  #elements;
  #darkQuery = matchMedia("(prefers-color-scheme: dark)");
  #phoneQuery = matchMedia(PHONE);
  /** The settings were applied: `({ wrap, unfold, … })`. */
  onApply = () => {};

  constructor(elements) {
    this.#elements = elements;
    this.#darkQuery.addEventListener("change", () => this.apply());
    document.addEventListener("change", ({ target }) => {
      const { setting } = target.dataset;
      if (setting) this.change(setting, target.checked);
      else if (target.name === "theme") this.change("theme", target.value);
    });
    const { toggleChannels, channelList } = elements;
    toggleChannels.addEventListener("click", () => this.toggle("sidebar"));
    channelList.addEventListener("click", ({ target }) => {
      if (this.#phoneQuery.matches && target.closest("a")) this.change("sidebar", false);
    });
    // On a phone the channels would cover the lines.
    if (this.#phoneQuery.matches) this.#settings.sidebar = false;
  }

  change(name, value) {
    this.#settings[name] = value;
    saveSettings(this.#settings);
    this.apply();
  }

  toggle(name) {
    this.change(name, !this.#settings[name]);
  }

  apply() {
    const settings = this.#settings;
    const { lines, toggleChannels } = this.#elements;
    const root = document.documentElement;
    root.classList.toggle("no-times", !settings.times);
    root.classList.toggle("no-numbers", !settings.numbers);
    root.classList.toggle("no-channels", !settings.sidebar);
    toggleChannels.setAttribute("aria-expanded", String(settings.sidebar));
    lines.classList.toggle("wrap", settings.wrap);
    root.dataset.theme = this.#isDark ? "dark" : "light";
    for (const box of document.querySelectorAll("[data-setting]")) {
      box.checked = settings[box.dataset.setting];
    }
    for (const radio of document.querySelectorAll("[name=theme]")) {
      radio.checked = radio.value === settings.theme;
    }
    this.onApply(settings);
  }

  get #isDark() {
    const { theme } = this.#settings;
    return theme === "dark" || (theme === "auto" && this.#darkQuery.matches);
  }
}

/** The menu closes when one of its buttons, or anything outside it, is clicked. */
export class ViewMenu {
  #menu;

  /** `actions` are pairs of a button in the menu and what it does. */
  constructor(menu, actions) {
    this.#menu = menu;
    for (const [button, act] of actions) {
      button.addEventListener("click", () => {
        this.close();
        act();
      });
    }
    document.addEventListener("click", ({ target }) => {
      if (menu.open && !menu.contains(target)) this.close();
    });
  }

  close() {
    this.#menu.open = false;
  }
}
