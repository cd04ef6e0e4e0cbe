// In a page without a kernel this stands for the widget's model.
function shim(state) {
  const heard = {};
  return {
    get: (name) => state[name],
    set(name, value) {
      if (state[name] === value) return;
      state[name] = value;
      for (const call of [...(heard[`change:${name}`] ?? [])]) call();
    },
    on: (event, call) => (heard[event] ??= new Set()).add(call),
    off: (event, call) => heard[event]?.delete(call),
    save_changes() {},
  };
}

function start(id) {
  const state = JSON.parse(document.getElementById(`${id}-state`).textContent);
  render({ model: shim(state), el: document.getElementById(id) });
}
