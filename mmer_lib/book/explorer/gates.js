// The gates of a highway network: words downwards, layers to the right; beside it, how the numbers
// of one word are spread in one layer.

const HALVES = ["sound", "word"], TALL = 96, LEFT = 34, RIGHT = 10, GAP = 44;

// How many of the numbers of a half lie where between 0 and 1, one panel a half.
function panels(width, { shares, means, sizes, start, most }) {
  const right = width - RIGHT, x = (g) => LEFT + g * (right - LEFT);
  return HALVES.flatMap((half, k) => {
    const top = 22 + k * (TALL + GAP), floor = top + TALL;
    const y = (share) => floor - (share / most) * TALL;
    const bar = 1 / shares[k].length;
    return [
      write(0, top - 8, "start", `${half} half: share of its ${sizes[k]} numbers`),
      ...levels(ticks(0, most, 3), y, LEFT, right, percent),
      ...shares[k].map((share, b) => svg("rect", { class: "bar", x: x(b * bar) + 0.5, y: y(share),
        width: x(bar) - x(0) - 1, height: floor - y(share) })),
      ...(start === null ? [] : [line(x(start), top, x(start), floor, "start")]),
      svg("path", { d: `M${x(means[k])} ${floor - 8}l6 8l-6 8l-6-8z`, class: "mean-mark" }),
      ...[0, 0.5, 1].map((g) => write(x(g), floor + 20, g === 1 ? "end" : "middle", String(g))),
    ];
  });
}

// One word in one layer, both halves, in a sentence.
function sentence(one, layer, word, sizes) {
  const parts = HALVES.map((half, k) => {
    const [mean, low, high, open] = ["mean", "low", "high", "open"]
      .map((name) => one[name][layer][k][word]);
    return `the ${sizes[k]} gates of its ${half} half are open by ${shown(mean, 2)} on average, `
      + `from ${shown(low, 2)} to ${shown(high, 2)}, ${percent(open)} of them above one half`;
  });
  const unknown = one.known[word] ? "" : " This word has no vector.";
  return `${quoted(one.words[word])} in layer ${layer + 1}: ${parts.join("; ")}.${unknown}`;
}

function render({ model, el }) {
  const { layers, sizes, start, most, utterances } = model.get("data");
  const every = Array.from({ length: layers }, (_, l) => l);
  const utterance = () => utterances[model.get("utterance")];
  const word = () => Math.min(model.get("word"), utterance().words.length - 1);

  const chosen = choose(utterances.map((u) => u.text), (k) =>
    change(model, { utterance: k, word: 0 }));
  const words = choose([], (k) => change(model, { word: k }));
  const slider = html("input", { type: "range", min: 1, max: layers, step: 1,
    input: () => change(model, { layer: slider.valueAsNumber - 1 }) });
  const layerLabel = labelled("", slider, "narrow");
  const note = html("p", { class: "hint" }), says = html("output", {});
  const table = html("table", { class: "gates" });
  const spread = picture({ class: "spread" }), holder = html("div", {}, spread);
  const entries = [["mean of the half", svg("path", { d: "M17 0l6 7l-6 7l-6-7z", class: "mean-mark" })]];
  if (start !== null) entries.push([`${shown(start, 2)}, a gate before training`,
    svg("path", { d: "M17 0V14", class: "start" })]);

  function drawTable() {
    const one = utterance(), l = model.get("layer"), w = word();
    const heads = every.map((k) => html("th", { scope: "colgroup", colspan: 2,
      class: k === l && "now" }, `layer ${k + 1}`));
    const halves = every.flatMap(() => HALVES.map((half) => html("th", { scope: "col" }, half)));
    const rows = one.words.map((text, n) => {
      const cells = every.flatMap((k) => HALVES.map((_, side) => {
        const mean = one.mean[k][side][n];
        return html("td", { style: `--share: ${percent(mean)}`, class: n === w && k === l && "now",
          click: () => change(model, { word: n, layer: k }) }, shown(mean, 2));
      }));
      const name = one.known[n] ? text : `${text} (no vector)`;
      const head = html("th", { scope: "row", class: n === w && "now",
        click: () => change(model, { word: n }) }, name);
      return html("tr", {}, head, ...cells);
    });
    table.replaceChildren(
      html("caption", {}, "Mean gate of each half: 1 replaces a number, 0 lets it pass"),
      html("thead", {}, html("tr", {}, html("td", {}), ...heads),
        html("tr", {}, html("td", {}), ...halves)),
      html("tbody", {}, ...rows));
  }

  function drawPicture() {
    const one = utterance(), l = model.get("layer"), w = word();
    const width = holder.clientWidth || 360;
    const shares = one.shares[l].map((side) => side[w]), means = one.mean[l].map((side) => side[w]);
    says.textContent = sentence(one, l, w, sizes);
    draw(spread, width, 2 * (TALL + GAP) + 10,
      panels(width, { shares, means, sizes, start, most }), says.textContent);
  }

  function drawAll() {
    const one = utterance(), l = model.get("layer");
    chosen.selectedIndex = model.get("utterance");
    words.replaceChildren(...one.words.map((text) => html("option", {}, text)));
    words.selectedIndex = word();
    slider.value = l + 1;
    layerLabel.firstChild.textContent = `Layer ${l + 1} of ${layers}`;
    update(slider, { "aria-valuetext": `layer ${l + 1}` });
    note.textContent = one.note;
    drawTable();
    drawPicture();
  }

  const parts = [
    html("div", { class: "controls" }, labelled("Utterance", chosen),
      labelled("Word", words, "narrow"), layerLabel),
    note, origin(model.get("tag"), model.get("provenance")),
    html("div", { class: "columns" },
      html("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "mean gates" }, table),
      html("div", { class: "readings" }, holder, key(entries))),
    says];
  return mount({ model, el }, parts, [[["utterance", "layer", "word"], drawAll]], holder, drawPicture);
}

export default { render };
