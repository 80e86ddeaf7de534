// The settings that the browser keeps between visits.

const KEY = "outrace";

/** The width up to which the page has its phone layout. */
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
    // Storage is blocked or broken: the defaults apply.
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
    // Storage is blocked: the settings last for this visit.
  }
}
