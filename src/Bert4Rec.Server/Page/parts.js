// The parts that the page is made of.

/** An element with properties and children; a property that is no property of its kind is an attribute. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made)
      made[name] = value;
    else
      made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** An item's token, and under it what is known of it. */
export function itemText({ item, fields }) {
  const values = Object.entries(fields).filter(([, value]) => value !== "");
  return element("div", { className: "item", title: values.map(([name, value]) => `${name}: ${value}`).join("\n") },
    element("b", {}, item),
    element("span", {}, values.map(([, value]) => value).join(" · ")));
}

/** Bars, one under the other, each with its number; shares are of the whole width. */
export function bars(rows) {
  return element("div", { className: "bars" }, ...rows.flatMap(({ share, text, isSecond }) => {
    const filled = element("div");
    filled.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
    return [element("div", { className: isSecond ? "bar second" : "bar" }, filled), element("span", {}, text)];
  }));
}

/** A button; its name for those who do not see it says which item is meant. */
export const button = (text, name, onclick, properties = {}) =>
  element("button", { type: "button", ariaLabel: name, title: name, onclick, ...properties }, text);

export const buttons = (...all) => element("div", { className: "buttons" }, ...all);

export const percent = share => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}%`;

export const number = value => value.toLocaleString("en");
