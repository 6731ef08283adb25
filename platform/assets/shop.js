// The shop works without this file. With it, an order's timeline and the operations charts move by
// themselves, and a form cannot be sent twice by a nervous finger.
"use strict";

// A form that is on its way keeps its button still; coming back by the browser's history frees it again.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (!button || event.defaultPrevented) return;
  if (event.target.dataset.confirm && !window.confirm(event.target.dataset.confirm)) {
    event.preventDefault();
    return;
  }
  if (event.target.method === "post") {
    // Disabled only after this turn, since a disabled button's own name and value are not sent.
    setTimeout(() => { button.disabled = true; button.setAttribute("aria-busy", "true"); }, 0);
  }
});
window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const button of document.querySelectorAll("[aria-busy]")) {
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
});

// A choice that sends its form at once, such as a sort order.
for (const select of document.querySelectorAll("select[data-submits]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

// An order's page: each event of the stream asks the server for the part of the page that it changed,
// so that the words for an event are written in one place only.
const order = document.querySelector("[data-stream]");
if (order && window.EventSource) {
  const state = document.querySelector("[data-stream-state]");
  const show = (on, words) => {
    if (!state) return;
    state.dataset.state = on ? "on" : "off";
    state.textContent = words;
  };
  let asking = false;
  let again = false;
  const refresh = async () => {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(order.dataset.fragment, { headers: { accept: "text/html" } });
      if (answer.ok) {
        const html = await answer.text();
        if (html !== order.innerHTML) order.innerHTML = html;
        if (order.querySelector("[data-final]")) { source.close(); show(false, "This order has reached its end"); }
      }
    } catch { /* the stream's own reconnect brings the next chance */ }
    asking = false;
    if (again) { again = false; refresh(); }
  };
  const source = new EventSource(order.dataset.stream);
  source.addEventListener("open", () => { show(true, "Live: this page follows your order"); refresh(); });
  source.addEventListener("error", () => {
    // An order at rest ends its stream; the browser comes back for more after a while.
    const rests = order.querySelector("[data-rests]");
    show(Boolean(rests), rests ? "Up to date, and looking again by itself" : "Connection lost, trying again");
    if (source.readyState === EventSource.CLOSED) setTimeout(refresh, 5000);
  });
  source.addEventListener("message", refresh);
  for (const name of order.dataset.events.split(" ")) source.addEventListener(name, refresh);
  window.addEventListener("pagehide", () => source.close());
}

// The operations charts: the server draws them, this asks for the newest drawing. A hidden tab does not ask.
for (const live of document.querySelectorAll("[data-live]")) {
  const period_ms = Number(live.dataset.livePeriodMs) || 2000;
  const state = document.querySelector("[data-live-state]");
  const tick = async () => {
    if (!document.hidden && !live.contains(document.activeElement)) {
      try {
        const answer = await fetch(live.dataset.live, { headers: { accept: "text/html" } });
        if (!answer.ok) throw new Error(String(answer.status));
        live.innerHTML = await answer.text();
        if (state) { state.dataset.state = "on"; state.textContent = "Live"; }
      } catch {
        if (state) { state.dataset.state = "off"; state.textContent = "No answer, trying again"; }
      }
    }
    setTimeout(tick, period_ms);
  };
  setTimeout(tick, period_ms);
}
