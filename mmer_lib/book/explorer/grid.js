// For explorers that choose among the combinations of some options.

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

// Round numbers from low to high, at most `most` of them.
function ticks(low, high, most) {
  const power = 10 ** Math.floor(Math.log10((high - low) / most));
  const step = power * [1, 2, 5, 10].find((k) => (high - low) / (k * power) <= most);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  const place = (_, k) => Number(((first + k) * step).toFixed(9));
  return Array.from({ length: last - first + 1 }, place);
}
