// Drawn figures can be enlarged: a button in the caption, or a click on the figure, opens it in a
// dialog with its caption. The dialog is the browser's own: Escape closes it, focus stays inside
// and then goes back to the button.
document.addEventListener("DOMContentLoaded", () => {
  const make = (tag, traits) => Object.assign(document.createElement(tag), traits);
  const dialog = make("dialog", { className: "enlarged", ariaLabel: "Enlarged figure" });
  const close = make("button", { type: "button", className: "close", textContent: "Close" });
  const frame = make("div", { className: "frame", tabIndex: 0, role: "group", ariaLabel: "Figure" });
  const caption = make("div", { className: "told", id: "enlarged-told" });
  dialog.setAttribute("aria-describedby", caption.id);
  dialog.append(close, frame, caption); // what is larger than the screen scrolls in the frame
  document.body.append(dialog);

  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // on the backdrop
  });

  const show = (image, told) => {
    const large = image.cloneNode();
    const shape = image.naturalWidth / image.naturalHeight;
    const fits = Math.min(0.94 * innerWidth, 0.72 * innerHeight * shape);
    const shown = image.clientWidth;
    large.style.width = `${Math.round(fits >= 1.2 * shown ? fits : 1.75 * shown)}px`;
    frame.replaceChildren(large);
    const words = told.cloneNode(true);
    words.querySelectorAll(".headerlink, button").forEach((e) => e.remove());
    caption.replaceChildren(...words.childNodes);
    dialog.showModal();
    frame.scrollTo(0, 0);
  };

  document.querySelectorAll(".bd-article figure > img").forEach((image) => {
    const told = image.parentElement.querySelector(":scope > figcaption");
    if (!told) return;
    const number = told.querySelector(".caption-number")?.textContent.trim() ?? "figure";
    const button = make("button", { type: "button", className: "enlarge", textContent: "Enlarge" });
    button.ariaLabel = `Enlarge ${number}`;
    button.addEventListener("click", () => show(image, told));
    image.addEventListener("click", () => {
      button.focus({ preventScroll: true });
      button.click();
    });
    image.classList.add("can-enlarge");
    (told.querySelector("p:last-of-type") ?? told).append(" ", button);
  });
});
