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
    ...levels(ticks(low, high, 6), y, MARGIN.left, right, (v) => shown(v, 2)),
    ...axis(spaced(epochs.filter((v) => v <= last), x, 30), x, MARGIN.left, right, bottom),
    write(0, 14, "start", `cosine of ${ofWhat}`),
    write(right, HEIGHT - 6, "end", stretched ? "epoch, drawn at its square root" : "epoch"),
  ];
  return { x, y, elements };
}

// One curve a seed, their mean, its highest point, and the interval of its epoch on the axis.
function curves({ epochs, seeds, mean, peak: [epoch, value], around: [first, last] }, { x, y }, width) {
  const path = (values, name) =>
    svg("path", { d: pathOf(values.map((v, k) => [x(epochs[k]), y(v)])), class: `curve ${name}` });
  const text = `${shown(value)} at epoch ${epoch.toFixed(1)}`, half = 4 * text.length;
  const middle = Math.max(MARGIN.left + half, Math.min(width - half, x(epoch)));
  const floor = HEIGHT - MARGIN.bottom;
  return [
    ...seeds.map((values) => path(values, "seed")), path(mean, "under"), path(mean, "mean"),
    line(x(epoch), y(value), x(epoch), floor, "drop"),
    svg("rect", { x: x(first) - 2, width: x(last) - x(first) + 4, y: floor - 3, height: 6, rx: 3 }),
    svg("circle", { cx: x(epoch), cy: y(value), r: 5.5, class: "peak" }),
    write(middle, y(value) - 13, "middle", text, { class: "value" }),
  ];
}

const samples = () => key([
  ["one seed", svg("path", { d: "M2 7H32", class: "curve seed" })],
  ["mean", svg("path", { d: "M2 7H32", class: "curve mean" })],
  ["highest point of the mean", svg("circle", { cx: 17, cy: 7, r: 5, class: "peak" })],
  ["95% interval of its epoch", svg("rect", { x: 2, y: 4, width: 30, height: 6, rx: 3 })],
]);

function render({ model, el }) {
  const { options, kinds, found, missing, last } = model.get("data");

  const { places, flat, set } = combination(model, options);
  const at = (where) => (where.includes(-1) ? undefined : found[flat(where)]);
  const kindAt = () => kinds.findIndex((k) => k.name === model.get("kind"));
  const reason = (where, kind) => {
    if (!at(where)) return "not in the grid";
    return at(where)[kind] ? "" : missing[flat(where)] || "not recorded";
  };

  const choices = options.map((o, n) => choice(o.name.replaceAll("_", " "), o.values, (k) => set(n, k)));
  const ofWhat = choice("similarity of", kinds.map((k) => k.shown), (k) =>
    change(model, { kind: kinds[k].name }));
  const whys = reasons();
  const stretch = html("input", {
    type: "checkbox", change: () => change(model, { stretched: stretch.checked }),
  });
  const chart = picture(), holder = html("div", { class: "chart" }, chart);
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
    says.textContent = curve?.says ?? `Nothing to show: ${reason(places(), model.get("kind"))}.`;
    if (!curve) return draw(chart, width, HEIGHT, [], says.textContent);
    const scales = axes(width, kind.range, last, model.get("stretched"), kind.shown);
    const of = options.map((o, n) => `${o.name.replaceAll("_", " ")} ${o.values[places()[n]]}`);
    draw(chart, width, HEIGHT, [...scales.elements, ...curves(curve, scales, width)],
      `Cosine of ${kind.shown} over epochs: ${of.join(", ")}`);
  }

  function drawAll() {
    drawControls();
    drawChart();
  }

  const parts = [
    html("div", { class: "controls" }, ...choices.map((c) => c.element), ofWhat.element),
    whys.element,
    origin(model.get("tag"), model.get("provenance")),
    holder, samples(),
    html("p", {}, html("label", {}, stretch, "Stretch the first epoch")),
    says];
  return mount({ model, el }, parts, [[["setting", "kind", "stretched"], drawAll]], holder, drawChart);
}

export default { render };
