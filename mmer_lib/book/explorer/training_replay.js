// A training, replayed: utterances in a plane, similarity and gates up to an epoch.

const TALLEST = 380, CHART = 190, MARGIN = { left: 44, right: 10, top: 10, bottom: 36 };
const PAUSE = 700; // milliseconds an epoch

// Square, diamond, triangle for three modalities, a circle for what an utterance has once.
const CIRCLE = "M-5.5 0A5.5 5.5 0 1 1 5.5 0A5.5 5.5 0 1 1-5.5 0Z";
const mark = (marks, m) => (marks > 1 ? MARKS[m] : CIRCLE);
const score = (sentiment) => Math.max(-3, Math.min(3, Math.round(sentiment)));
const shade = (sentiment) => `shade${score(sentiment) < 0 ? "-minus" : ""}-${Math.abs(score(sentiment))}`;
const when = (epoch) => (epoch ? `after epoch ${epoch}` : "before training");

// The corners of what all moments need, and the scale that makes it fill a picture.
function fitted(moments, width, height) {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const points of moments)
    for (let k = 0; k < points.length; k += 2) {
      left = Math.min(left, points[k]);
      right = Math.max(right, points[k]);
      low = Math.min(low, points[k + 1]);
      high = Math.max(high, points[k + 1]);
    }
  const scale = Math.min((width - 24) / (right - left || 1), (height - 44) / (high - low || 1));
  return {
    scale,
    x: (v) => width / 2 + (v - (left + right) / 2) * scale,
    y: (v) => (height - 20) / 2 - (v - (low + high) / 2) * scale,
  };
}

// A round length that takes about a quarter of the picture.
function ruler(scale, unit, width, height) {
  const length = roundLength((width / 4 / scale) * unit);
  const long = (length / unit) * scale, y = height - 8;
  return [
    svg("path", { d: `M2 ${y - 8}v8h${long}v-8`, class: "ruler" }),
    write(long + 10, y, "start", `length ${length}`),
  ];
}

// Some curves over epochs: faint as a whole, and full up to the epoch; `bands` are (low, high).
function chart(width, { curves, bands = [], range: [low, high], last, epoch }) {
  const right = width - MARGIN.right, floor = CHART - MARGIN.bottom;
  const x = (v) => MARGIN.left + (v / last) * (right - MARGIN.left);
  const y = (v) => floor - ((v - low) / (high - low)) * (floor - MARGIN.top);
  const path = (points) =>
    (points.length > 1 ? pathOf(points.map(([e, v]) => [x(e), y(v)])) : "");
  const past = (points) => points.filter(([e]) => e <= epoch + 1e-6);
  return [
    ...levels(ticks(low, high, 5), y, MARGIN.left, right, (v) => shown(v, 2)),
    ...axis(ticks(0, last, Math.min(7, Math.floor((right - MARGIN.left) / 40))), x, MARGIN.left,
      right, floor),
    write(right, CHART - 3, "end", "epoch"),
    line(x(epoch), MARGIN.top, x(epoch), floor, "drop"),
    ...bands.map(([lower, upper], k) => {
      const there = past(lower), back = past(upper).reverse();
      return svg("path", { d: there.length > 1 ? `${path([...there, ...back])}Z` : "",
        class: `spread series-${k}` });
    }),
    ...curves.map((points, k) => svg("path", { d: path(points), class: `later series-${k}` })),
    ...curves.map((points, k) => svg("path", { d: path(past(points)), class: `sofar series-${k}` })),
    ...curves.map((points, k) => {
      const [e, v] = past(points).at(-1);
      return svg("circle", { cx: x(e), cy: y(v), r: 4, class: `now series-${k}` });
    }),
  ];
}

// A key of the curves, with the value of each at the epoch.
function entries(names) {
  const values = names.map(() => html("b", {}));
  const element = key(names.map((name, k) =>
    [html("span", {}, `${name} `, values[k]), svg("path", { d: "M2 7H32", class: `sofar series-${k}` })]));
  return { element, show: (texts) => texts.forEach((text, k) => (values[k].textContent = text)) };
}

const dotted = (d, name, text) => html("span", {},
  sample(svg("path", { d, transform: "translate(7 7)", class: name }), 14), text);
const shades = () => html("p", { class: "key dots" }, "sentiment",
  ...[-3, -2, -1, 0, 1, 2, 3].map((s) => dotted(CIRCLE, `place ${shade(s)}`, shown(s, 0))));
const shapes = (names) => names.map((name, m) => dotted(mark(names.length, m), "here", name));

function render({ model, el }) {
  const { utterances, trainings, views, ranges, gates } = model.get("data");
  const training = () => trainings.find((t) => t.name === model.get("training"));
  const view = () => views.find((v) => v.name === model.get("view"));
  const last = () => training().mae.length - 1;
  const epoch = () => Math.min(model.get("epoch"), last());
  const parts = Object.keys(trainings[0].gates);
  const pairs = Object.keys(trainings[0].similarity).filter((k) => k.startsWith("h "))
    .map((k) => k.slice(2));
  const cosine = (kind, pair) => training().similarity[`${kind} ${pair}`];
  const moments = () => training().similarity.epoch, here = () => moments().indexOf(epoch());
  let timer = null;

  // Controls.
  const which = choice("training", trainings.map((t) => t.name), (k) => {
    pause();
    change(model, { training: trainings[k].name, epoch: Math.min(model.get("epoch"),
      trainings[k].mae.length - 1) });
  });
  const embedded = choice("embedding of", views.map((v) => v.shown), (k) =>
    change(model, { view: views[k].name }));
  const slider = html("input", { type: "range", min: 0, step: 1, input() {
    pause();
    change(model, { epoch: Number(slider.value) });
  } });
  const play = html("button", { type: "button", click: () => (timer === null ? start() : pause()) },
    "Play");
  const followed = choose(utterances.map((u) => `${shown(u.sentiment, 1)}: ${u.text}`), (k) =>
    change(model, { utterance: k }));
  const count = html("b", {}), says = html("output", {});

  function step() {
    change(model, { epoch: epoch() + 1 });
    if (epoch() >= last()) pause();
  }

  function start() {
    if (epoch() >= last()) change(model, { epoch: 0 });
    timer = setInterval(step, PAUSE);
    play.textContent = "Pause";
    update(says, { "aria-live": "off" }); // a line every moment is too much to be read aloud
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    update(says, { "aria-live": null });
  }

  // Pictures.
  const plane = picture({ class: "plane" }), alike = picture(), open = picture();
  const cosines = entries(pairs.map((p) => p.replace("-", "\u2013"))), means = entries(parts);
  const alikeOf = html("p", { class: "title" });
  const inPlane = html("p", { class: "title" }), markKey = html("p", { class: "key" });
  let places = [], link = null, trails = [], at = null, ahead = -1;

  // The marks stay the same elements from epoch to epoch, so that they can glide.
  function setPlane() {
    const { marks, points, unit } = training().views[view().name];
    const width = plane.parentElement.clientWidth || 400;
    const height = Math.min(TALLEST, width);
    at = fitted(points, width, height);
    places = utterances.flatMap((u) => marks.map((_, m) =>
      svg("path", { d: mark(marks.length, m), class: `place ${shade(u.sentiment)}` })));
    trails = marks.map(() => svg("path", { class: "trail" }));
    link = svg("path", { class: "link" });
    ahead = -1;
    draw(plane, width, height, ruler(at.scale, unit, width, height));
    markKey.replaceChildren(...shapes(marks.length > 1 ? marks : ["one vector an utterance"]));
  }

  function drawPlane() {
    const { marks, points } = training().views[view().name];
    const now = points[epoch()], n = marks.length, first = model.get("utterance") * n;
    const spot = (moment, k) =>
      [at.x(moment[2 * k]).toFixed(1), at.y(moment[2 * k + 1]).toFixed(1)].join(" ");
    places.forEach((place, k) => {
      const chosen = k >= first && k < first + n;
      place.classList.toggle("chosen", chosen);
      update(place, { transform: `translate(${spot(now, k)})${chosen ? " scale(1.5)" : ""}` });
    });
    if (ahead !== first) { // what is followed lies in front
      const chosen = places.slice(first, first + n);
      plane.append(...places.filter((p) => !chosen.includes(p)), ...trails, link, ...chosen);
      ahead = first;
    }
    const past = points.slice(0, epoch() + 1);
    trails.forEach((trail, m) =>
      update(trail, { d: `M${past.map((moment) => spot(moment, first + m)).join("L")}` }));
    update(link, { d: n > 1
      ? `M${marks.map((_, m) => spot(now, first + m)).join("L")}Z` : null });
    inPlane.textContent = view().shown;
    update(plane, { "aria-label": `${utterances.length} utterances, ${view().shown}, ${
      when(epoch())}, in the plane of the largest variance after the last epoch` });
  }

  function drawCharts() {
    const t = training(), kind = view().compared, width = alike.parentElement.clientWidth || 400;
    const along = (values) => values.map((v, k) => [moments()[k], v]);
    const byEpoch = (values) => values.map((v, e) => [e, v]);
    const shared = { last: last(), epoch: epoch() };
    alikeOf.textContent = `Cosine of ${kind} between modalities`;
    draw(alike, width, CHART, chart(width, { ...shared, range: ranges[kind],
      curves: pairs.map((p) => along(cosine(kind, p))) }),
    `Cosine of ${kind} over epochs, three pairs of modalities`);
    cosines.show(pairs.map((p) => shown(cosine(kind, p)[here()], 2)));
    draw(open, width, CHART, chart(width, { ...shared, range: gates,
      curves: parts.map((p) => byEpoch(t.gates[p][0])),
      bands: parts.map((p) => [-1, 1].map((sign) =>
        byEpoch(t.gates[p][0].map((v, e) => v + sign * t.gates[p][1][e])))) }),
    "Mean gate of each part over epochs");
    means.show(parts.map((p) => shown(t.gates[p][0][epoch()], 2)));
  }

  // The epoch in words.
  function tell() {
    const t = training(), e = epoch(), kind = view().compared;
    const pair = (p) => `${p.replace("-", "\u2013")} ${shown(cosine(kind, p)[here()], 2)}`;
    const gate = (p) => `${p} ${shown(t.gates[p][0][e], 2)} (${shown(t.gates[p][1][e], 2)})`;
    says.textContent = `${e ? `After epoch ${e} of ${last()}` : "Before training"}, ${t.name}: `
      + `error (MAE) on the development session ${shown(t.mae[e])}${
        e === t.best ? ", the least, so these weights are kept" : ""}. `
      + `Cosine of ${kind}: ${pairs.map(pair).join(", ")}. `
      + `Mean gate (SD between utterances): ${parts.map(gate).join(", ")}. `
      + `The plane holds ${percent(t.views[view().name].share[e])} of the variance of ${view().name}.`;
  }

  function drawControls() {
    which.show(trainings.indexOf(training()), trainings.map(() => ""));
    embedded.show(views.indexOf(view()), views.map(() => ""));
    update(slider, { max: last(), "aria-valuetext": when(epoch()) });
    slider.value = epoch();
    count.textContent = `${epoch()} of ${last()}`;
    followed.selectedIndex = model.get("utterance");
  }

  function move() {
    drawControls();
    drawPlane();
    drawCharts();
    tell();
  }

  function drawAll() {
    setPlane();
    move();
  }

  const shownParts = [
    html("div", { class: "controls" }, which.element, embedded.element),
    origin(model.get("tag"), model.get("provenance")),
    says,
    html("div", { class: "columns replay" },
      html("div", {}, inPlane, html("div", {}, plane), shades(), markKey,
        labelled("Follow an utterance (sentiment: words)", followed)),
      html("div", {}, alikeOf, cosines.element, html("div", {}, alike),
        html("p", { class: "title" }, "Mean gate of each part, \u00b1 SD between utterances"),
        means.element, html("div", {}, open))),
    html("div", { class: "steer" }, play, labelled("Epoch", slider), count)];
  const watched = [[["training", "view"], drawAll], [["epoch", "utterance"], move]];
  const stop = mount({ model, el }, shownParts, watched, plane.parentElement, drawAll);
  return () => {
    pause();
    stop();
  };
}

export default { render };
