// One frame of an utterance at a time: heard, seen, and the words to which it attends.

const ROW = 24, NAMES = 112, LEFT = 56, RIGHT = 10, THUMB = 8;
const TOP = 8, BANK = 104, FAN = 46, BOX = 20;

const seconds = (s) => `${shown(s, 2)} s`;

// Rows for labels side by side, so that none touches the one before it in its row.
function rowsOf(labels) {
  const ends = [];
  return labels.map(({ middle, half }) => {
    let row = ends.findIndex((end) => end < middle - half);
    if (row < 0) row = ends.length;
    ends[row] = middle + half + 5;
    return row;
  });
}

// Time to the right: the filterbank; the words, each where it is spoken; from the chosen frame a
// line to every word, the wider the more it attends to it.
function scene(width, utterance, frame, weights, most) {
  const { words, times, step, picture } = utterance, end = width - RIGHT;
  const x = (s) => LEFT + (s / utterance.seconds) * (end - LEFT);
  const floor = TOP + BANK, boxes = floor + FAN, best = weights.indexOf(Math.max(...weights));
  const now = frame ? utterance.spoken[frame - 1] : -1;
  const labels = words.map(({ text, start, end: stop }) => {
    const half = 3.9 * text.length;
    return { half, middle: Math.min(Math.max(x((start + stop) / 2), half), width - half) };
  });
  const rows = rowsOf(labels), foot = boxes + BOX + 6 + 17 * (1 + Math.max(...rows));
  const left = frame ? x(times[frame - 1] - step / 2) : 3;
  const wide = frame ? x(step) - x(0) : LEFT - 10, from = left + wide / 2;
  const cursor = { x: left, width: wide, y: TOP - 4, height: BANK + 8, rx: 2 };
  return { x, height: foot + 40, parts: [
    svg("image", { href: picture.image, x: x(picture.from), y: TOP, height: BANK,
      width: x(picture.to) - x(picture.from), preserveAspectRatio: "none" }),
    svg("rect", { x: 3, y: TOP, width: LEFT - 10, height: BANK, class: "dummy" }),
    write(LEFT / 2 - 2, TOP + BANK / 2 + 4, "middle", "dummy",
      { class: "small", style: "font-size: 11px" }),
    ...words.flatMap((word, w) => {
      const to = x((word.start + word.end) / 2), share = weights[w] / most;
      return svg("path", { class: "strand",
        style: `stroke-width: ${(0.5 + 9 * share).toFixed(2)}; opacity: ${(0.15 + 0.7 * share).toFixed(3)}`,
        d: `M${from} ${floor + 5}C${from} ${floor + 30} ${to} ${boxes - 26} ${to} ${boxes}` });
    }),
    ...words.flatMap(({ text, start, end: stop }, w) => {
      const place = { x: x(start), width: x(stop) - x(start), y: boxes, height: BOX };
      return [
        svg("rect", { ...place, class: "trough" }),
        svg("rect", { ...place, class: "cell",
          style: `opacity: ${(weights[w] / most).toFixed(3)}` }),
        svg("rect", { ...place, class: w === now ? "spoken" : "edge" }),
        write(labels[w].middle, boxes + BOX + 16 + 17 * rows[w], "middle", text,
          { class: w === best ? "small value" : "small" }),
      ];
    }),
    ...axis(ticks(0, utterance.seconds, Math.max(2, Math.floor((end - LEFT) / 60))), x, LEFT, end,
      foot),
    write(end, foot + 36, "end", "seconds"),
    svg("rect", { ...cursor, class: "halo" }),
    svg("rect", { ...cursor, class: "cursor" }),
  ] };
}

// A bar a word; outlined while it is spoken, with a line at what each word gets from a reader who
// prefers none.
function bars(width, words, weights, now, most) {
  const x = (a) => NAMES + (a / most) * (width - NAMES - 46), even = x(1 / words.length);
  const best = weights.indexOf(Math.max(...weights));
  return [
    ...words.flatMap(({ text }, w) => {
      const place = { x: x(0), y: w * ROW + 4, height: 15 };
      const own = w === best ? "value" : false;
      return [
        write(NAMES - 8, w * ROW + 16, "end", text, { class: own }),
        svg("rect", { ...place, width: x(most) - x(0), class: "trough" }),
        svg("rect", { ...place, width: x(weights[w]) - x(0), class: "bar" }),
        ...(w === now ? [svg("rect", { ...place, width: x(most) - x(0), class: "spoken" })] : []),
        write(width - 2, w * ROW + 16, "end", shown(weights[w], 2), { class: own }),
      ];
    }),
    line(even, 0, even, words.length * ROW, "drop"),
  ];
}

// The frame and its two strongest words, in a sentence.
function sentence({ words, times, spoken }, frame, weights) {
  const [first, second] = weights.map((a, w) => [a, w]).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  const named = ([a, w]) => `${quoted(words[w].text)} (${shown(a, 2)})`;
  const word = frame && words[spoken[frame - 1]];
  const where = !frame ? "The dummy frame, which stands for the whole utterance"
    : word ? `${seconds(times[frame - 1])}, in ${quoted(word.text)} `
      + `(spoken ${shown(word.start, 2)} to ${seconds(word.end)})`
    : `${seconds(times[frame - 1])}, in no word`;
  const then = second ? `, then to ${named(second)}` : "";
  return `${where}: most attention to ${named(first)}${then}. `
    + `A reader that prefers no word gives each ${shown(1 / words.length, 2)}.`;
}

function render({ model, el }) {
  const { layers, heads, utterances } = model.get("data");
  const utterance = () => utterances[model.get("utterance")];
  const row = () => Math.min(model.get("frame"), utterance().times.length);
  const frameAt = (s) => {
    const { times, step } = utterance(), nearest = Math.round((s - times[0]) / step) + 1;
    return Math.max(1, Math.min(times.length, nearest));
  };
  const word = () => (row() ? utterance().words[utterance().spoken[row() - 1]] : undefined);

  const select = choose(utterances.map((u) => u.text), (k) => change(model, {
    utterance: k, frame: row() && Math.ceil(utterances[k].times.length / 2),
  }));
  const layer = choice("layer", layers, (k) => change(model, { layer: k }));
  const head = choice("head", heads.map(String), (k) => change(model, { head: k }));
  const note = html("p", { class: "hint" });
  const view = picture({ class: "scene", click: press }), holder = html("div", {}, view);
  const slider = html("input", { type: "range", min: 1, step: 1,
    input: () => moved(slider.valueAsNumber) });
  const dummy = html("input", { type: "checkbox",
    change: () => moved(dummy.checked ? 0 : slider.valueAsNumber) });
  const sound = html("audio", { controls: true, preload: "metadata",
    "aria-label": "sound of the utterance", play: follows, pause: ends, seeked: sought });
  const say = html("button", { type: "button", click: playWord });
  const chart = picture(), below = html("div", {}, chart);
  const says = html("output", {});

  // The sound moves the frame, and the frame the sound. While one word is played, `until` is where
  // it ends and `before` the frame to return to; `asked` is where we put the sound ourselves.
  let until = null, before = 0, asked = 0, loaded = null, plot = null;

  function seek(s) {
    asked = s;
    sound.currentTime = s;
  }

  function go(k) {
    if (k) seek(utterance().times[k - 1]);
    if (k !== model.get("frame")) change(model, { frame: k });
  }

  function moved(k) {
    if (until !== null || !k) sound.pause();
    until = null;
    go(k);
  }

  function press(event) {
    const box = view.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * plot.width;
    moved(at < LEFT - 4 ? 0 : frameAt(((at - plot.x(0)) / (plot.x(1) - plot.x(0)))));
  }

  function playWord() {
    const { start, end } = word();
    before = row();
    seek(start);
    until = end;
    sound.play().catch((error) => { // a pause that comes before the beginning is no fault
      if (error.name !== "AbortError") throw error;
    });
  }

  function hear() {
    if (until !== null && sound.currentTime >= until) return sound.pause();
    const k = frameAt(sound.currentTime);
    if (k !== model.get("frame")) change(model, { frame: k });
  }

  function follows() {
    update(says, { "aria-live": "off" }); // no voice over the voice
    const tick = () => {
      if (sound.paused) return;
      hear();
      requestAnimationFrame(tick);
    };
    tick();
  }

  function ends() {
    update(says, { "aria-live": "polite" });
    const back = until !== null;
    until = null;
    if (back) go(before);
  }

  function sought() {
    if (Math.abs(sound.currentTime - asked) > 0.01) hear();
  }

  function drawPictures() {
    const one = utterance(), { words } = one, maps = one.maps[model.get("layer")];
    const k = row(), weights = maps[model.get("head")][k], most = Math.max(...maps.flat(2));
    const text = sentence(one, k, weights);
    const width = holder.clientWidth || 640;
    const { x, height, parts } = scene(width, one, k, weights, most);
    plot = { x, width };
    draw(view, width, height, parts, text);
    const left = x(one.times[0]) - THUMB, right = width - x(one.times.at(-1)) - THUMB;
    slider.style.marginInline = `${left}px ${right}px`;
    slider.style.width = `${width - left - right}px`;
    const room = below.clientWidth || width, tall = words.length * ROW;
    draw(chart, room, tall, bars(room, words, weights, k ? one.spoken[k - 1] : -1, most),
      words.map((w, n) => `${w.text} ${shown(weights[n], 2)}`).join(", "));
    says.textContent = text;
  }

  function drawAll() {
    const one = utterance(), k = row();
    if (loaded !== one) {
      loaded = one;
      until = null;
      update(sound, { src: one.sound });
    }
    select.selectedIndex = model.get("utterance");
    layer.show(model.get("layer"), layers.map(() => ""));
    head.show(model.get("head"), heads.map(() => ""));
    note.textContent = one.note;
    slider.max = one.times.length;
    if (k) slider.value = k;
    const at = one.times[slider.value - 1], inside = one.words[one.spoken[slider.value - 1]];
    update(slider, { "aria-valuetext": seconds(at) + (inside ? `, in ${inside.text}` : "") });
    dummy.checked = !k;
    say.disabled = !word();
    say.textContent = word() ? `Play this word: ${quoted(word().text)}` : "Play this word";
    drawPictures();
  }

  const parts = [
    html("div", { class: "controls" }, labelled("Utterance", select),
      ...(layers.length > 1 ? [layer.element] : []), head.element),
    note, origin(model.get("tag"), model.get("provenance")),
    holder,
    labelled("Frame", slider, "slide"),
    html("div", { class: "controls player" }, sound, say,
      html("label", {}, dummy, "Dummy frame")),
    says, below,
    html("p", { class: "hint" }, "Outlined: the word that is spoken in this frame; bold: the word "
      + "that gets most. Broken line: what each word would get from a reader that prefers none. "
      + "One scale for all frames and heads of an utterance.")];
  const watched = [[["utterance", "layer", "head", "frame"], drawAll]];
  const stop = mount({ model, el }, parts, watched, holder, drawPictures);
  return () => {
    sound.pause();
    stop();
  };
}

export default { render };
