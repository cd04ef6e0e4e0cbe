// For explorers that choose among the combinations of some options.

// Radio buttons under a name; returns the fieldset and how to say which are on and which off, and
// why: beside each, or beside the name where it is the same for all.
function choice(name, texts, choose) {
  const group = unique("choice");
  const inputs = texts.map((_, k) =>
    html("input", { type: "radio", name: group, value: k, change: () => choose(k) }));
  const whys = texts.map(() => html("span", {}));
  const labels = texts.map((text, k) => html("label", {}, inputs[k], text, whys[k]));
  const shared = html("span", {});
  const element = html("fieldset", {}, html("legend", {}, name, shared),
    html("div", { class: "choices" }, ...labels));
  return { element, show(chosen, reasons) {
    const same = reasons.length > 1 && reasons.every((r) => r && r === reasons[0]);
    shared.textContent = same ? ` (${reasons[0]})` : "";
    inputs.forEach((input, k) => {
      input.checked = k === chosen;
      input.disabled = Boolean(reasons[k]);
      labels[k].classList.toggle("off", input.disabled);
      whys[k].textContent = reasons[k] && !same ? ` (${reasons[k]})` : "";
    });
  } };
}

// Round numbers from low to high, at most `most` of them.
function ticks(low, high, most) {
  const power = 10 ** Math.floor(Math.log10((high - low) / most));
  const step = power * [1, 2, 5, 10].find((k) => (high - low) / (k * power) <= most);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  const place = (_, k) => Number(((first + k) * step).toFixed(9));
  return Array.from({ length: last - first + 1 }, place);
}
