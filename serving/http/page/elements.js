// Small things that every module here needs: elements, and figures as people read them.

export const byId = (id) => document.getElementById(id);

/** An element with properties and children; texts are never taken for markup. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Terms and values of a <dl>; a value that is null is left out. */
export function figures(list, entries) {
  list.replaceChildren(
    ...entries
      .filter(([, value]) => value != null)
      .map(([term, value, kind = ""]) =>
        element("div", {}, element("dt", { textContent: term, className: kind && `dot ${kind}` }), element("dd", { textContent: value })),
      ),
  );
}

export const seconds = (value) =>
  value >= 1 ? `${value.toFixed(2)} s` : `${(1000 * value).toFixed(value < 0.0995 ? 1 : 0)} ms`;

export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

export const times = (ratio) => `${ratio.toFixed(1)}×`;

export const count = (value) => value.toLocaleString("en");

/** "German" for de_DE, as the browser knows it; the code itself where it does not. */
export function languageName(code) {
  try {
    const known = new Intl.DisplayNames("en", { type: "language", fallback: "none" }).of(code.split(/[_-]/)[0]);
    return known ?? code;
  } catch {
    return code;
  }
}
