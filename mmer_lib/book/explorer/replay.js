// The similarity between modalities through training, for each setting of a grid.

const HEIGHT = 330, MARGIN = { left: 52, right: 16, top: 34, bottom: 46 };

// Of some candidates, those that lie at least `apart` from the one before.
function spaced(candidates, x, apart) {
  return candidates.reduce((kept, v) =>
    kept.length && x(v) - x(kept.at(-1)) < apart ? kept : [...kept, v], []);
}

// The frame of the chart: its scales, and its axes as elements.
function axes(width, [low, high], last, stretched, ofWhat) {
  const right = width - MARGIN.right, bottom = HEIGHT - MARGIN.bottom;
  const squeeze = stretched ? Math.sqrt : (v) => v;
  const x = (v) => MARGIN.left + (squeeze(v) / squeeze(last)) * (right - MARGIN.left);
  const y = (v) => bottom - ((v - low) / (high - low)) * (bottom - MARGIN.top);
  const epochs = stretched
    ? [0, ...(x(1) - x(0) > 70 ? [0.25] : []), 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200]
    : ticks(0, last, Math.min(8, Math.floor((right - MARGIN.left) / 45)));
  const elements = [
    ...ticks(low, high, 6).flatMap((v) => [
      svg("line", { x1: MARGIN.left, x2: right, y1: y(v), y2: y(v), class: v ? "grid" : "axis" }),
      svg("text", { x: MARGIN.left - 8, y: y(v) + 4, "text-anchor": "end" }, shown(v, 2)),
    ]),
    svg("line", { x1: MARGIN.left, x2: right, y1: bottom, y2: bottom, class: "axis" }),
    ...spaced(epochs.filter((v) => v <= last), x, 30).flatMap((v) => [
      svg("line", { x1: x(v), x2: x(v), y1: bottom, y2: bottom + 5, class: "axis" }),
      svg("text", { x: x(v), y: bottom + 20, "text-anchor": "middle" }, String(v)),
    ]),
    svg("text", { x: 0, y: 14 }, `cosine of ${ofWhat}`),
    svg("text", { x: right, y: HEIGHT - 6, "text-anchor": "end" },
      stretched ? "epoch, drawn at its square root" : "epoch"),
  ];
  return { x, y, elements };
}

function curves(found, { x, y }) {
  const path = (values) => `M${values.map((v, k) =>
    `${x(found.epochs[k]).toFixed(1)} ${y(v).toFixed(1)}`).join("L")}`;
  return [
    ...found.seeds.map((values) => svg("path", { d: path(values), class: "curve seed" })),
    svg("path", { d: path(found.mean), class: "curve under" }),
    svg("path", { d: path(found.mean), class: "curve mean" }),
  ];
}

// The highest point of the mean, and the interval of its epoch on the axis.
function peak({ peak: [epoch, value], around: [first, last] }, { x, y }, width) {
  const text = `${shown(value)} at epoch ${epoch.toFixed(1)}`, half = 4 * text.length;
  const middle = Math.max(MARGIN.left + half, Math.min(width - half, x(epoch)));
  const floor = HEIGHT - MARGIN.bottom;
  return [
    svg("line", { x1: x(epoch), x2: x(epoch), y1: y(value), y2: floor, class: "drop" }),
    svg("rect", { x: x(first) - 2, width: x(last) - x(first) + 4, y: floor - 3, height: 6, rx: 3 }),
    svg("circle", { cx: x(epoch), cy: y(value), r: 5.5, class: "peak" }),
    svg("text", { x: middle, y: y(value) - 13, "text-anchor": "middle", class: "value" }, text),
  ];
}

function key() {
  const sample = (element) => svg("svg", { viewBox: "0 0 34 14", "aria-hidden": "true" }, element);
  const line = (name) => sample(svg("path", { d: "M2 7H32", class: name }));
  const circle = svg("circle", { cx: 17, cy: 7, r: 5, class: "peak" });
  return html("p", { class: "key" },
    html("span", {}, line("curve seed"), "one seed"), html("span", {}, line("curve mean"), "mean"),
    html("span", {}, sample(circle), "highest point of the mean"),
    html("span", {}, sample(svg("rect", { x: 2, y: 4, width: 30, height: 6, rx: 3 })),
      "95% interval of its epoch"));
}

function render({ model, el }) {
  const { options, kinds, found, missing, last } = model.get("data");

  // A combination is a place in a list: the last option changes fastest, as in Python's product.
  const places = () => options.map((o) => o.values.indexOf(model.get("setting")[o.name]));
  const flat = (where) => where.reduce((sum, k, n) => sum * options[n].values.length + k, 0);
  const at = (where) => (where.includes(-1) ? undefined : found[flat(where)]);
  const kindAt = () => kinds.findIndex((k) => k.name === model.get("kind"));
  const reason = (where, kind) => {
    if (!at(where)) return "not in the grid";
    return at(where)[kind] ? "" : missing[flat(where)] || "not recorded";
  };

  const choices = options.map((o) => choice(o.name.replaceAll("_", " "), o.shown, (k) =>
    change(model, { setting: { ...model.get("setting"), [o.name]: o.values[k] } })));
  const ofWhat = choice("similarity of", kinds.map((k) => k.shown), (k) =>
    change(model, { kind: kinds[k].name }));
  const whys = reasons();
  const stretch = html("input", {
    type: "checkbox", change: () => change(model, { stretched: stretch.checked }),
  });
  const chart = svg("svg", { role: "img", height: HEIGHT });
  const holder = html("div", { class: "chart" }, chart);
  const says = html("output", {});

  function drawControls() {
    const here = places();
    const off = choices.map((one, n) => one.show(here[n], options[n].values.map((_, k) =>
      reason(here.map((v, m) => (m === n ? k : v)), model.get("kind")))));
    whys.show([...off, ofWhat.show(kindAt(), kinds.map((k) => reason(here, k.name)))].flat());
    stretch.checked = model.get("stretched");
  }

  function drawChart() {
    const width = holder.clientWidth || 640, kind = kinds[kindAt()];
    const curve = kind && at(places())?.[kind.name];
    update(chart, { viewBox: `0 0 ${width} ${HEIGHT}` });
    if (!curve) {
      says.textContent = `Nothing to show: ${reason(places(), model.get("kind"))}.`;
      return chart.replaceChildren();
    }
    const scales = axes(width, kind.range, last, model.get("stretched"), kind.shown);
    const drawn = [...curves(curve, scales), ...peak(curve, scales, width)];
    chart.replaceChildren(...scales.elements, ...drawn);
    const of = options.map((o, n) => `${o.name.replaceAll("_", " ")} ${o.shown[places()[n]]}`);
    update(chart, { "aria-label": `Cosine of ${kind.shown} over epochs: ${of.join(", ")}` });
    says.textContent = curve.says;
  }

  function draw() {
    drawControls();
    drawChart();
  }

  el.append(frame(model,
    html("div", { class: "controls" }, ...choices.map((c) => c.element), ofWhat.element),
    whys.element,
    origin(model.get("tag"), model.get("provenance")),
    holder, key(),
    html("p", {}, html("label", {}, stretch, "Stretch the first epoch")),
    says));
  const resized = new ResizeObserver(drawChart);
  resized.observe(holder);
  const stop = follow(model, ["setting", "kind", "stretched"], draw);
  return () => {
    resized.disconnect();
    stop();
  };
}

export default { render };
