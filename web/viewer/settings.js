// What was chosen here, kept from one visit to the next.

const KEY = "outrace";

/** The width up to which the page is laid out for a phone. */
export const PHONE = "(max-width: 640px)";

const DEFAULTS = {
  wrap: false,
  times: true,
  numbers: true,
  unfold: false,
  theme: "auto",
  sidebar: true,
};

export function loadSettings() {
  const settings = { ...DEFAULTS };
  if (matchMedia(PHONE).matches)
    Object.assign(settings, { wrap: true, times: false, numbers: false });
  let stored = {};
  try {
    stored = JSON.parse(localStorage.getItem(KEY) ?? "{}");
  } catch {
    // Storage that is shut or broken: the defaults.
  }
  for (const name of Object.keys(DEFAULTS)) {
    if (typeof stored?.[name] === typeof DEFAULTS[name]) settings[name] = stored[name];
  }
  return settings;
}

export function saveSettings(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // Then only for this visit.
  }
}
