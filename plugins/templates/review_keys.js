// Keys of the review page. Without this file the page works as plain forms.
(() => {
  "use strict";
  const one = (name) => document.querySelector(name);
  const press = (name) => { const found = one(name); if (found && !found.disabled) found.click(); };
  const acts = {
    a: () => press("#accept"), r: () => press("#reject"), x: () => press("#escalate"),
    e: () => { const field = one("#answer"); if (field) { field.focus(); field.select(); } },
    j: () => press("#after"), k: () => press("#before"), g: () => press("#golden"), c: () => press("#regression"),
    "?": () => { const help = one("#keys"); if (help) help.open = !help.open; },
  };
  document.addEventListener("keydown", (event) => {
    const field = event.target;
    const typing = field instanceof HTMLTextAreaElement || (field instanceof HTMLInputElement && field.type === "text");
    if (typing) {
      if (event.key === "Escape") field.blur();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); press("#edit"); }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const act = acts[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  const form = one("#verdict");
  if (form) {
    // A second press must not answer the item that opens next.
    let sent = false;
    form.addEventListener("submit", (event) => { if (sent) event.preventDefault(); sent = true; });
  }
})();
