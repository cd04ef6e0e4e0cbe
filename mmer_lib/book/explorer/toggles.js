// Parts of a model, switched on and off: its score, its mistakes, and what it does with one
// utterance.

const ROW = 24, LEFT = 96;

// A check box; `show` returns it as `reasons` takes it.
function toggle(name, choose) {
  const input = html("input", { type: "checkbox", change: () => choose(input.checked) });
  const element = html("label", {}, input, name);
  return { element, show(on, why) {
    update(input, { disabled: Boolean(why) });
    input.checked = on;
    element.classList.toggle("off", Boolean(why));
    return [{ input, name, why }];
  } };
}

// One dot a run, their mean, and the mean of the whole model as a line.
function strip(width, { scores, mean }, whole, [low, high], name) {
  const right = width - 16, floor = 64;
  const x = (v) => 16 + ((v - low) / (high - low)) * (right - 16);
  const text = `all parts ${shown(whole)}`, half = 3.6 * text.length;
  const middle = Math.max(half, Math.min(width - half, x(whole)));
  return [
    ...axis(ticks(low, high, Math.floor(width / 90)), x, 16, right, floor, (v) => shown(v, 2)),
    line(x(whole), 22, x(whole), floor, "drop"),
    write(middle, 14, "middle", text),
    ...scores.map((v) => svg("circle", { cx: x(v), cy: 44, r: 5, class: "run" })),
    svg("path", { d: `M${x(mean)} 35l6 9l-6 9l-6-9z`, class: "mean-mark" }),
    write(right, floor + 38, "end", name),
  ];
}

function confusion(counts, classes) {
  const heads = classes.map((c) => html("th", { scope: "col" }, c));
  const rows = counts.map((row, k) => {
    const all = row.reduce((a, b) => a + b, 0);
    const cells = row.map((n) => html("td", { style: `--share: ${percent(all && n / all)}` },
      all ? percent(n / all) : "\u2013"));
    return html("tr", {}, html("th", { scope: "row" }, classes[k]), ...cells);
  });
  return [
    html("caption", {}, "Of the utterances of a row, which share is called what (all runs)"),
    html("thead", {}, html("tr", {}, html("td", {}), ...heads)),
    html("tbody", {}, ...rows),
  ];
}

// Bars from zero under a title, scale after scale; a value that is not there says so. Of several
// bars on the first scale the true one is named, on one bar the true value is marked.
function bars(width, scales, values, truth) {
  const parts = [];
  let y = 0;
  scales.forEach(([title, names, low, high], s) => {
    const x = (v) => LEFT + ((v - low) / (high - low)) * (width - LEFT - 54);
    const zero = x(Math.max(low, Math.min(high, 0)));
    const first = s === 0, several = names.length > 1;
    if (scales.length > 1) parts.push(svg("text", { x: 0, y: y + 16, class: "title" }, title));
    y += scales.length > 1 ? ROW : 0;
    names.forEach((name, k) => {
      const v = values[s][k], end = x(Math.max(low, Math.min(high, v ?? 0)));
      const text = first && several && k === truth ? `${name} (true)` : name;
      parts.push(write(LEFT - 8, y + 16, "end", text),
        svg("rect", { x: x(low), y: y + 4, width: x(high) - x(low), height: 15, class: "trough" }));
      if (v !== null) parts.push(svg("rect", { x: Math.min(zero, end), y: y + 4,
        width: Math.abs(end - zero), height: 15, class: "bar" }));
      if (low < 0) parts.push(line(zero, y + 2, zero, y + 21, "axis"));
      if (first && !several) parts.push(svg("path", { class: "truth",
        d: `M${x(truth)} ${y + 2}V${y + 21}` }));
      parts.push(write(x(high) + 48, y + 16, "end",
        v === null ? "\u2013" : shown(v, low < 0 ? 2 : 3)));
      y += ROW;
    });
    y += 6;
  });
  return { parts, height: y };
}

// The same in words.
const listed = (scales, values, truth) => scales.map(([title, names], s) =>
  `${title}: ${names.map((n, k) => `${n} ${values[s][k] === null ? "none" : shown(values[s][k])}`)
    .join(", ")}${s === 0 && names.length === 1 ? `, true ${shown(truth)}` : ""}`).join("; ");

// Words downwards, time to the right: the stronger, the more a frame attends to the word. Outlined:
// where the word is spoken. Right of it, how far the highway opens for each half of the word.
function reading(width, { attention, times, gates }, words, seconds) {
  const end = width - (gates ? 108 : 12), top = 20, floor = top + words.length * ROW;
  const x = (s) => LEFT + (s / seconds) * (end - LEFT);
  const step = times.length > 1 ? times[1] - times[0] : seconds;
  const most = attention ? Math.max(...attention.flat()) : 1;
  const cell = (left, wide, w, share) => svg("rect", { x: left.toFixed(1), y: top + w * ROW,
    width: wide.toFixed(1), height: ROW - 2, class: "cell", style: `opacity: ${share.toFixed(3)}` });
  const parts = words.map(([text], w) => write(LEFT - 8, top + w * ROW + 16, "end", text));
  if (attention) parts.push(
    ...attention.flatMap((row, t) => row.map((a, w) =>
      cell(x(times[t] - step / 2), x(step) - x(0) + 0.4, w, a / most))),
    ...words.map(([, start, stop], w) => svg("rect", { class: "spoken",
      x: x(start), y: top + w * ROW, width: x(stop) - x(start), height: ROW - 2 })));
  else parts.push(write((LEFT + end) / 2, (top + floor) / 2, "middle", "no frame reads a word"));
  parts.push(
    ...axis(ticks(0, seconds, Math.max(2, Math.floor((end - LEFT) / 60))), x, LEFT, end, floor),
    write(end, floor + 36, "end", "seconds"));
  if (gates) parts.push(
    ...["sound", "word"].flatMap((half, k) => {
      const at = end + 12 + k * 48;
      return [write(at + 22, 13, "middle", half), ...gates[k].flatMap((g, w) => [
        cell(at, 44, w, 0.6 * g),
        write(at + 22, top + w * ROW + 16, "middle", shown(g, 2)),
      ])];
    }),
    write(end + 58, floor + 18, "middle", "gate"));
  return { parts, height: floor + 42 };
}

function render({ model, el }) {
  let data = model.get("data");
  const { factors, classes, utterances, scales } = data, live = model.get("tag") === "live";

  const { places, flat, set } = combination(model, factors);
  const moved = (n, k) => places().map((v, m) => (m === n ? k : v));
  const why = (n, k) => data.idle[flat(places())][factors[n].name] ?? data.missing[flat(moved(n, k))];

  const isSwitch = (f) => f.values.includes(true);
  const controls = factors.map((f, n) => isSwitch(f)
    ? toggle(f.name, (on) => set(n, f.values.indexOf(on)))
    : choice(f.name, f.values, (k) => set(n, k)));
  const switches = controls.filter((_, n) => isSwitch(factors[n])).map((c) => c.element);
  const others = controls.filter((_, n) => !isSwitch(factors[n])).map((c) => c.element);
  const whys = reasons();
  const score = picture(), chances = picture(), map = picture();
  const says = html("output", {});
  const mistakes = html("table", { class: "confusion" });
  const texts = utterances.map((u) => u.words.map(([text]) => text).join(" "));
  const chosen = choose(texts, (k) => change(model, { utterance: k }));
  const note = html("p", { class: "hint" });
  const holder = html("div", { class: "chart" }, score);
  const train = html("button", { type: "button", click: () => change(model, { asked: "train" }) },
    "Train this combination");
  const stop = html("button", { type: "button", click: () => change(model, { asked: "stop" }) },
    "Cancel");
  const done = html("progress", { max: 1, "aria-label": "progress of the training" });
  const status = html("span", { role: "status" });
  const below = html("div", {}, map);

  function drawControls() {
    const here = places();
    whys.show(factors.flatMap((f, n) => {
      const off = f.values.map((_, k) => (k === here[n] && !data.idle[flat(here)][f.name]
        ? "" : why(n, k)));
      return isSwitch(f) ? controls[n].show(f.values[here[n]], off.find(Boolean) ?? "")
        : controls[n].show(here[n], off);
    }));
    chosen.selectedIndex = model.get("utterance");
  }

  function drawPictures() {
    const outcome = data.outcomes[data.at[flat(places())]];
    const utterance = utterances[model.get("utterance")];
    const width = holder.clientWidth || 640;
    for (const one of [score, chances, map]) one.replaceChildren();
    mistakes.replaceChildren();
    note.textContent = utterance.note;
    if (!outcome) {
      const here = flat(places());
      const reason = data.missing[here] || data.waiting[here];
      says.textContent = reason ? `Nothing to show: ${reason}.` : "Computing \u2026";
      return;
    }
    says.textContent = outcome.says;
    draw(score, width, 104, strip(width, outcome, data.whole, data.range, data.score), outcome.says);
    mistakes.replaceChildren(...confusion(outcome.confusion, classes));
    const one = outcome.seen[model.get("utterance")], half = chances.parentElement.clientWidth || width;
    const drawn = bars(half, scales, one.values, utterance.truth);
    draw(chances, half, drawn.height, drawn.parts, listed(scales, one.values, utterance.truth));
    if (!data.map) return;
    const wide = below.clientWidth || width;
    const { parts, height } = reading(wide, one, utterance.words, utterance.seconds);
    draw(map, wide, height, parts, one.says);
  }

  function drawTraining() {
    const busy = model.get("asked") !== "";
    update(train, { disabled: busy });
    update(stop, { disabled: !busy });
    update(done, { hidden: !busy, value: model.get("progress") });
    status.textContent = model.get("status");
  }

  function drawAll() {
    data = model.get("data");
    drawControls();
    drawPictures();
  }

  const parts = [
    html("div", { class: "controls" },
      html("fieldset", {}, html("legend", {}, "parts"),
        html("div", { class: "choices" }, ...switches)), ...others),
    whys.element,
    origin(model.get("tag"), model.get("provenance")),
    holder, says,
    ...(live ? [html("p", { class: "training" }, train, stop, done, status)] : []),
    html("div", { class: "columns" },
      html("div", {}, mistakes),
      html("div", {}, labelled("Utterance", chosen), note, chances)),
    ...(data.map ? [html("p", { class: "hint" }, "Each row is a word: the stronger the colour, the "
      + "more a frame attends to it, up to the most in the picture; outlined while it is spoken. The "
      + "gate says how far the highway changes the half of the word that comes from its sound, and "
      + "the other."), below] : [])];
  const watched = [[["setting", "utterance", "data"], drawAll]];
  if (live) watched.push([["asked", "progress", "status"], drawTraining]);
  return mount({ model, el }, parts, watched, holder, drawPictures);
}

export default { render };
