// The triangle of three representations, their mean S, and their individual parts as arrows.

const WIDTH = 400, HEIGHT = 360, RADIUS = 135, LIMIT = 1.25;
const PAIRS = [[0, 1], [0, 2], [1, 2]];
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const dot = (a, b) => a.reduce((sum, x, k) => sum + x * b[k], 0);
const norm = (a) => Math.sqrt(dot(a, a));
const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

// Lengths and cosines of a triangle in its plane; from the origin of the space, the plane's zero is
// [alongX, alongY] along it and `off` away from it. A vector shorter than `least` has no direction.
function measure(corners, [alongX, alongY, off], least) {
  const centre = [0, 1].map((k) => mean(corners.map((c) => c[k])));
  const parts = corners.map((c) => [c[0] - centre[0], c[1] - centre[1]]);
  const whole = ([x, y]) => [x + alongX, y + alongY, off];
  const cosines = (vectors) => {
    const lengths = vectors.map(norm);
    const found = PAIRS.map(([a, b]) =>
      Math.min(lengths[a], lengths[b]) < least
        ? null
        : dot(vectors[a], vectors[b]) / (lengths[a] * lengths[b]));
    return [...found, found.includes(null) ? null : mean(found)];
  };
  return {
    centre,
    lengths: [...parts.map(norm), norm(whole(centre))],
    i: cosines(parts),
    h: cosines(corners.map(whole)),
  };
}

const pixel = (reach, [x, y]) =>
  [WIDTH / 2 + (x / reach) * RADIUS, HEIGHT / 2 - (y / reach) * RADIUS];

// Gives each label the place that covers least of what is there: boxes [x, y, width, height].
function place(labels, taken) {
  const cover = ([x, y, w, h], [u, v, a, b]) =>
    Math.max(0, (w + a) / 2 - Math.abs(x - u)) * Math.max(0, (h + b) / 2 - Math.abs(y - v));
  const beyond = ([x, y, w, h]) =>
    Math.max(0, w / 2 - x, x + w / 2 - WIDTH) + Math.max(0, h / 2 - y, y + h / 2 - HEIGHT);
  return labels.map(({ width, places }) => {
    const costs = places.map(([x, y], rank) => {
      const box = [x, y, width, 24];
      return taken.reduce((sum, other) => sum + cover(box, other), 50 * beyond(box) + rank);
    });
    const cost = Math.min(...costs), [x, y] = places[costs.indexOf(cost)];
    taken.push([x, y, width, 24]);
    return { x, y, cost };
  });
}

// Places for a label around a point, the given direction first, `gap` away from it.
function around([x, y], angle, width, gap) {
  return [0, 0.5, -0.5, 1, -1, 1.6, -1.6, 2.3, -2.3, 3.1].map((turn) => {
    const dx = Math.cos(angle + turn), dy = Math.sin(angle + turn);
    const far = gap + Math.abs(dx) * (width / 2) + Math.abs(dy) * 12;
    return [x + dx * far, y + dy * far];
  });
}

// An arrow from one point to another that stops short of it.
function arrow([x, y], [u, v]) {
  const long = Math.hypot(u - x, v - y);
  if (long < 22) return "";
  const [dx, dy] = [(u - x) / long, (v - y) / long];
  const at = (along, across) =>
    `${x + dx * along - dy * across} ${y + dy * along + dx * across}`;
  const tip = long - 11;
  return `M${at(6, 0)}L${at(tip, 0)}M${at(tip - 9, 5)}L${at(tip, 0)}L${at(tip - 9, -5)}`;
}

// A letter with a small word under it.
const letter = (name, word) =>
  svg("text", { class: "letter" }, name, svg("tspan", { dy: 5, "font-size": "0.8em" }, word));
const labelWidth = (word) => 16 + 7.6 * word.length;

function cells(rowName, values) {
  return html("tr", {}, html("th", { scope: "row" }, rowName),
    ...values.map(() => html("td", {}, "")));
}

function table(caption, columns, rows) {
  const heads = columns.map((c) =>
    html("th", { scope: "col", class: c.length === 1 && "sign" }, c));
  return html("table", {}, html("caption", {}, caption),
    html("thead", {}, html("tr", {}, html("td", {}), ...heads)), html("tbody", {}, ...rows));
}

// The mean cosine of the parts on a line, with the band that it cannot leave.
function band() {
  const x = (value) => 150 + (value + 5 / 12) * 640;
  const tick = (value, text) => [
    line(x(value), 22, x(value), 40, "axis"), write(x(value), 56, "middle", text),
  ];
  const mark = svg("path", { d: "M0 0-6-11H6Z", class: "here" });
  const view = picture({ viewBox: "0 0 300 62", class: "band" });
  view.append(
    svg("path", { d: `M${x(-1 / 2)} 24H${x(-1 / 3)}V38H${x(-1 / 2)}Z`, class: "allowed" }),
    line(8, 31, 292, 31, "axis"),
    ...tick(-1 / 2, "\u22121/2"), ...tick(-1 / 3, "\u22121/3"), mark);
  return { view, show(value) {
    const text = `Mean cosine ${shown(value)} on a line; allowed are \u22121/2 to \u22121/3`;
    update(view, { "aria-label": text });
    const left = x(value ?? 0);
    update(mark, { transform: `translate(${left} 21)`, display: value === null && "none" });
  } };
}

function render({ model, el }) {
  const data = model.get("data"), { modalities } = data;
  const recorded = () => data.corners[model.get("utterance")];
  const scale = () => Math.max(...recorded().map(norm)) || 1; // each utterance fills the picture
  const corners = () => {
    const moved = model.get("corners");
    return model.get("free") && moved.length ? moved : recorded();
  };

  // Controls.
  const select = choose(data.labels.map((text, k) => `${k + 1}. ${text}`), (k) =>
    change(model, { corners: [], utterance: k }));
  const free = html("input", {
    type: "checkbox", change: () => change(model, { corners: [], free: free.checked }),
  });
  const reset = html("button",
    { type: "button", click: () => change(model, { corners: [] }) }, "Reset");
  const note = html("p", { class: "note" });
  const where = html("div");
  const hint = html("p", { class: "hint", id: unique("hint") },
    "Drag a corner, or reach it with Tab and move it with the arrow keys (with Shift, farther).");

  // Picture.
  const edges = svg("path", { class: "edges" }), ghost = svg("path", { class: "ghost" });
  const centre = svg("circle", { r: 6, class: "centre" });
  const arrows = modalities.map(() => svg("path", { class: "arrow" }));
  const points = modalities.map((_, m) => svg("g", {
    class: "corner", keydown: (event) => press(event, m), pointerdown: (event) => grab(event, m),
  }, svg("circle", { r: 24, class: "hit" }), svg("circle", { r: 15, class: "ring" }),
  svg("path", { d: MARKS[m], class: "mark", transform: "scale(1.4)" })));
  const tinted = (elements) => elements.map((e, m) => {
    e.style.setProperty("--own", data.colours[m]);
    return e;
  });
  const words = [
    ...modalities.map((m) => letter("h", m)), svg("text", { class: "letter" }, "S"),
    ...modalities.map((m) => letter("i", m)),
  ];
  const ruler = svg("path", { class: "ruler" }), length = svg("text", { y: 354 });
  const view = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "picture" },
    ruler, length, ghost, edges, ...tinted(arrows), centre, ...words, ...tinted(points));

  // Readings.
  const lengths = cells("length", [...modalities, "S"]);
  const pairs = [...PAIRS.map(([a, b]) => `${modalities[a]}, ${modalities[b]}`), "mean"];
  const cosines = pairs.map((name) => cells(name, ["i", "h"]));
  const meanLine = band();
  const says = html("output", {});

  function move(m, [x, y], save) {
    const limit = LIMIT * scale(), keep = (v) => Math.max(-limit, Math.min(limit, v));
    model.set("corners", corners().map((c, k) => (k === m ? [keep(x), keep(y)] : c)));
    if (save) model.save_changes();
  }

  function press(event, m) {
    if (!model.get("free") || !KEYS[event.key]) return;
    event.preventDefault();
    const step = scale() * (event.shiftKey ? 0.1 : 0.02), [dx, dy] = KEYS[event.key];
    move(m, [corners()[m][0] + dx * step, corners()[m][1] + dy * step], true);
  }

  function grab(event, m) {
    if (!model.get("free")) return;
    event.preventDefault();
    points[m].focus();
    points[m].setPointerCapture(event.pointerId);
    const unit = (WIDTH / view.getBoundingClientRect().width) * (scale() / RADIUS);
    const [x, y] = corners()[m];
    const drag = (now) => move(m,
      [x + (now.clientX - event.clientX) * unit, y - (now.clientY - event.clientY) * unit], false);
    const drop = () => {
      points[m].removeEventListener("pointermove", drag);
      model.save_changes();
    };
    points[m].addEventListener("pointermove", drag);
    points[m].addEventListener("lostpointercapture", drop, { once: true });
  }

  function drawPicture(found) {
    const reach = scale(), unit = roundLength(reach / 2), long = (unit / reach) * RADIUS;
    update(ruler, { d: `M12 343v8h${long}v-8` });
    update(length, { x: 20 + long });
    length.textContent = `length ${unit}`;
    const at = corners().map((c) => pixel(reach, c)), middle = pixel(reach, found.centre);
    const path = (ps) => `M${ps.map((p) => p.join(" ")).join("L")}Z`;
    update(edges, { d: path(at) });
    const moved = model.get("free") && model.get("corners").length;
    update(ghost, { d: moved ? path(recorded().map((c) => pixel(reach, c))) : "" });
    update(centre, { cx: middle[0], cy: middle[1] });
    const outward = at.map(([x, y]) => Math.atan2(y - middle[1], x - middle[0]));
    const taken = [[...middle, 14, 14], [70, 346, 140, 24], ...at.map((p) => [...p, 24, 24])];
    const widths = modalities.map(labelWidth);
    const halfway = ([x, y]) => [middle[0] + 0.55 * (x - middle[0]), middle[1] + 0.55 * (y - middle[1])];
    const spots = place([
      ...at.map((p, m) => ({ width: widths[m], places: around(p, outward[m], widths[m], 14) })),
      { width: 18, places: around(middle, outward[0] + 1, 18, 7) },
      ...at.map((p, m) => ({ width: widths[m],
        places: around(halfway(p), outward[m] + 1.6, widths[m], 5) })),
    ], taken);
    words.forEach((word, k) => { // a part goes without its label where there is no room
      const { x, y, cost } = spots[k];
      update(word, { x, y: y + 4, display: k > 3 && cost > 40 && "none" });
    });
    at.forEach((p, m) => {
      update(arrows[m], { d: arrow(middle, p) });
      update(points[m], { transform: `translate(${p[0]} ${p[1]})` });
    });
  }

  // A corner is a slider with two coordinates while it can be moved, else a part of the picture.
  function drawRoles() {
    const on = model.get("free"), limit = LIMIT * scale();
    const name = `Triangle of h ${modalities.join(", h ")}, with their mean S`;
    update(view, { role: on ? "group" : "img", "aria-label": name });
    points.forEach((point, m) => {
      const [x, y] = corners()[m];
      update(point, {
        role: on && "slider", tabindex: on && "0", "data-x": x, "data-y": y,
        "aria-label": on && `corner h ${modalities[m]}`, "aria-describedby": on && hint.id,
        "aria-roledescription": on && "movable corner",
        "aria-valuemin": on && (-limit).toFixed(3), "aria-valuemax": on && limit.toFixed(3),
        "aria-valuenow": on && x.toFixed(3),
        "aria-valuetext": on && `x ${shown(x, 2)}, y ${shown(y, 2)}`,
      });
    });
  }

  function drawReadings(found) {
    found.lengths.forEach((v, k) => (lengths.cells[k + 1].textContent = shown(v)));
    cosines.forEach((row, k) => {
      row.cells[1].textContent = shown(found.i[k]);
      row.cells[2].textContent = shown(found.h[k]);
    });
    const value = found.i[3];
    meanLine.show(value);
    says.textContent = value === null
      ? "A corner lies on S: that part has no direction, so its cosines are undefined."
      : `The mean cosine of the parts i is ${shown(value)}. Wherever the corners lie, `
        + "it stays between \u22121/2 and \u22121/3.";
  }

  function drawAll() {
    const on = model.get("free"), chosen = model.get("utterance");
    const found = measure(corners(), data.offsets[chosen], 1e-6 * scale());
    select.selectedIndex = chosen;
    free.checked = on;
    reset.disabled = !on;
    hint.hidden = !on;
    note.textContent = [quoted(data.labels[chosen]), data.notes[chosen]].filter(Boolean).join(" \u00b7 ");
    where.replaceChildren(on && model.get("corners").length
      ? origin("free", "Moved by hand: no model gave this triangle. Dashed: the model\u2019s.")
      : origin(model.get("tag"), model.get("provenance")));
    drawPicture(found);
    drawRoles();
    drawReadings(found);
  }

  const parts = [
    html("div", { class: "controls" }, labelled("Utterance", select),
      html("label", {}, free, "Free: move the corners"), reset),
    note, where,
    html("div", { class: "columns" },
      html("div", {}, view, hint),
      html("div", { class: "readings" },
        table("Length of the parts i, and of S", [...modalities, "S"], [lengths]),
        table("Cosine between", ["i", "h"], cosines),
        meanLine.view, says))];
  return mount({ model, el }, parts, [[["utterance", "free", "corners"], drawAll]]);
}

export default { render };
