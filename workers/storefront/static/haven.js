// Makes pages live. Everything works without it.
"use strict";

const say = (text) => { document.getElementById("status").textContent = text; };

// Swaps a region's content, unless somebody is in the middle of it.
async function refresh(region) {
  if (region.contains(document.activeElement)) return;
  const answer = await fetch(region.dataset.fragment, { headers: { Accept: "text/html" } });
  if (answer.redirected || !answer.ok) return;
  const open = region.querySelector("details[open]") !== null;
  region.innerHTML = await answer.text();
  if (open) region.querySelector("details")?.setAttribute("open", "");
}

const order = document.getElementById("order-live");
if (order && window.EventSource) {
  const state = document.getElementById("live-state");
  const events = new EventSource(order.dataset.events);
  events.addEventListener("status", async () => {
    await refresh(order);
    const headline = order.querySelector("[data-announce]");
    if (headline && headline.textContent !== say.last) say(say.last = headline.textContent);
  });
  events.addEventListener("end", () => { events.close(); state.hidden = true; });
  events.onopen = () => { state.hidden = true; };
  events.onerror = () => { state.hidden = events.readyState === EventSource.CLOSED; };
}

const board = document.getElementById("board");
if (board) setInterval(() => { if (!document.hidden) refresh(board).catch(() => say("Reconnecting…")); }, 3000);

for (const form of document.querySelectorAll("form.add")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "X-Requested-With": "fetch" } });
      const count = answer.headers.get("X-Cart-Count");
      if (!answer.ok || count === null) throw new Error();
      const shown = document.getElementById("cart-count");
      shown.textContent = count;
      shown.closest("a").setAttribute("aria-label", `Cart, ${count} items`);
      say(`${form.closest(".card").querySelector("h3").textContent} is in your cart.`);
    } catch { form.submit(); }
  });
}

document.querySelector("form.checkout #place")?.form.addEventListener("submit", (event) => {
  const button = event.target.querySelector("#place");
  button.disabled = true;
  button.textContent = "Placing your order…";
});
