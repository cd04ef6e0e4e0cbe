// Shared by the explorers: elements, texts, controls, axes, and the frame around a figure.

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

const percent = (share) => `${Math.round(100 * share)}%`;
const quoted = (text) => `\u201c${text}\u201d`;
const unique = (word) => `${word}-${Math.random().toString(36).slice(2, 12)}`;

// Where the numbers come from.
const origin = (tag, words) =>
  html("p", { class: "origin" }, html("span", { class: `tag ${tag}` }, tag), ` ${words}`);

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

// Shows the parts of a figure, and draws now and whenever a value of the model changes (`watched`:
// names of values, and what draws them) or the width of `holder`; returns how to stop.
function mount({ model, el }, parts, watched, holder, redraw) {
  el.append(frame(model, ...parts));
  const resized = new ResizeObserver(() => redraw());
  if (holder) resized.observe(holder);
  for (const [names, draw] of watched) {
    for (const name of names) model.on(`change:${name}`, draw);
    draw();
  }
  return () => {
    resized.disconnect();
    for (const [names, draw] of watched)
      for (const name of names) model.off(`change:${name}`, draw);
  };
}

// Changes values of the model, and tells the kernel where there is one.
function change(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

// Controls.

const labelled = (name, control, size = "wide") =>
  html("label", { class: size }, html("span", {}, name), control);

function choose(texts, chosen) {
  const select = html("select", { change: () => chosen(select.selectedIndex) });
  select.append(...texts.map((text) => html("option", {}, text)));
  return select;
}

// Radio buttons under a name; returns the fieldset, and how to say which is on and why others are
// off, which in turn returns the buttons as `reasons` takes them.
function choice(name, texts, choose) {
  const group = unique("choice");
  const inputs = texts.map((_, k) =>
    html("input", { type: "radio", name: group, value: k, change: () => choose(k) }));
  const labels = texts.map((text, k) => html("label", {}, inputs[k], text));
  const element = html("fieldset", {}, html("legend", {}, name),
    html("div", { class: "choices" }, ...labels));
  return { element, show(chosen, off) {
    const others = off.filter((why, k) => k !== chosen || why);
    const same = others.length > 1 && others.every((why) => why && why === others[0]);
    return inputs.map((input, k) => {
      input.checked = k === chosen;
      input.disabled = Boolean(off[k]);
      labels[k].classList.toggle("off", input.disabled);
      return { input, name: same ? name : `${name} ${texts[k]}`, why: off[k] };
    });
  } };
}

// A combination of factors (name, values) is a place in a list: the last changes fastest, as in
// Python's product. `places`: of the values of the setting; `flat`: the place of some.
const combination = (model, factors) => ({
  places: () => factors.map((f) => f.values.indexOf(model.get("setting")[f.name])),
  flat: (where) => where.reduce((sum, k, n) => sum * factors[n].values.length + k, 0),
  set: (n, k) => change(model,
    { setting: { ...model.get("setting"), [factors[n].name]: factors[n].values[k] } }),
});

// Why controls are off: a reason stands there once, after the names of those that it holds for,
// and each of them refers to it.
function reasons() {
  const element = html("ul", { class: "reasons" }), group = unique("why");
  return { element, show(controls) {
    const found = [...new Set(controls.map((c) => c.why).filter(Boolean))];
    element.replaceChildren(...found.map((why, k) => {
      const names = new Set(controls.filter((c) => c.why === why).map((c) => c.name));
      return html("li", {}, html("b", {}, [...names].join(", ")), ": ",
        html("span", { id: `${group}-${k}` }, why));
    }));
    update(element, { hidden: !found.length });
    for (const { input, why } of controls)
      update(input, { "aria-describedby": why ? `${group}-${found.indexOf(why)}` : null });
  } };
}

// Pictures.

const picture = (attributes = {}) => svg("svg", { role: "img", ...attributes });

// Puts parts into a picture of a width and height, and says what they show.
function draw(picture, width, height, parts, label) {
  update(picture, { viewBox: `0 0 ${width} ${height}`, height, "aria-label": label });
  picture.replaceChildren(...parts);
}

const line = (x1, y1, x2, y2, name) => svg("line", { x1, y1, x2, y2, class: name });

// Text at a place: "start", "middle" or "end" of it there.
const write = (x, y, anchor, text, attributes = {}) =>
  svg("text", { x, y, "text-anchor": anchor, ...attributes }, text);

// A line of a key: a small picture, in front of a text.
const sample = (element, width = 34) => svg("svg", { viewBox: `0 0 ${width} 14`,
  class: width < 34 && "dot", "aria-hidden": "true" }, element);
const key = (entries) => html("p", { class: "key" }, ...entries.map(([text, element]) =>
  html("span", {}, sample(element), text)));

// Square, diamond, triangle: three modalities, told apart without colour.
const MARKS = ["M-5-5H5V5H-5Z", "M0-6.5 6.5 0 0 6.5-6.5 0Z", "M0-6 6 4.6H-6Z"];

// The longest round length up to a limit.
function roundLength(limit) {
  const power = 10 ** Math.floor(Math.log10(limit));
  return Number((power * [5, 2, 1].find((k) => k * power <= limit)).toPrecision(1));
}

// Round numbers from low to high, at most `most` of them.
function ticks(low, high, most) {
  const power = 10 ** Math.floor(Math.log10((high - low) / most));
  const step = power * [1, 2, 5, 10].find((k) => (high - low) / (k * power) <= most);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  const place = (_, k) => Number(((first + k) * step).toFixed(9));
  return Array.from({ length: last - first + 1 }, place);
}

// Horizontal lines at round values, with their numbers on the left.
const levels = (values, y, left, right, format) => values.flatMap((v) => [
  line(left, y(v), right, y(v), v ? "grid" : "axis"),
  write(left - 7, y(v) + 4, "end", format(v)),
]);

// An axis to the right with a number at each of some values.
const axis = (values, x, left, right, floor, format = String) => [
  line(left, floor, right, floor, "axis"),
  ...values.flatMap((v) => [
    line(x(v), floor, x(v), floor + 5, "axis"),
    write(x(v), floor + 20, "middle", format(v)),
  ]),
];

// Values as the points of a path.
const pathOf = (points) => (points.length
  ? `M${points.map((point) => point.map((v) => v.toFixed(1)).join(" ")).join("L")}` : "");
