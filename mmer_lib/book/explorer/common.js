// Shared by the explorers: elements, numbers as a page shows them, and the frame around a figure.

const html = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function fill(element, attributes, children) {
  update(element, attributes);
  element.append(...children);
  return element;
}

// Sets attributes; true stands alone, false and null are taken away, functions listen.
function update(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === false || value == null) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

// A number with a real minus sign; what is undefined says so.
function shown(x, digits = 3) {
  if (x === null) return "undefined";
  const text = x.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "\u2212");
}

const unique = (word) => `${word}-${Math.random().toString(36).slice(2, 12)}`;

// The figure with its caption. JupyterLab takes the arrow keys from whatever does not forbid it.
function frame(model, ...parts) {
  const caption = model.get("caption");
  if (caption) parts.push(html("figcaption", {}, caption));
  const attributes = { class: "mmer-explorer", "aria-label": model.get("label") };
  const figure = html("figure", attributes, ...parts);
  for (const control of figure.querySelectorAll("input, select, button, audio, .corner"))
    update(control, { "data-lm-suppress-shortcuts": "true" });
  return figure;
}

// Where the numbers come from.
const origin = (tag, words) =>
  html("p", { class: "origin" }, html("span", { class: `tag ${tag}` }, tag), ` ${words}`);

// Draws now and whenever one of these values of the model changes; returns how to stop.
function follow(model, names, draw) {
  for (const name of names) model.on(`change:${name}`, draw);
  draw();
  return () => names.forEach((name) => model.off(`change:${name}`, draw));
}

// Changes values of the model, and tells the kernel where there is one.
function change(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}
