// Updates pages while they are open. Every page works without this script.
"use strict";

const RECONNECTING = "Reconnecting…";
const line = document.getElementById("status");
// Sets a text only if it changed, so that screen readers do not read it again.
const show = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const connected = (yes) => {
  if (!yes) show(line, RECONNECTING);
  else if (line.textContent === RECONNECTING) show(line, "");
};

// Replaces a region with the server's version and keeps the keyboard focus.
async function refresh(region) {
  const turn = region.turn = (region.turn ?? 0) + 1;
  const answer = await fetch(region.dataset.fragment, { headers: { Accept: "text/html" } });
  if (answer.redirected) return location.assign(answer.url);
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  const html = await answer.text();
  // Waits while a button is pressed, so that the click is not lost.
  while (region.matches(":active")) await new Promise((resolve) => setTimeout(resolve, 200));
  if (turn !== region.turn || html === region.html) return;
  region.html = html;
  const open = region.querySelector("details")?.open;
  const focused = region.contains(document.activeElement) ? document.activeElement.id : null;
  region.innerHTML = html;
  if (open) region.querySelector("details").open = true;
  if (focused !== null) (document.getElementById(focused) ?? region).focus({ preventScroll: true });
}

// The order's page shows browser notifications itself while it is open in a tab. No push service learns about the order.
const NOTICES = "/static/notices.js";
const BLOCKED = "Your browser blocks notifications from this shop. Allow them in its settings.";
const tellMe = document.getElementById("tell-me");
const mayTell = () => window.Notification?.permission === "granted";
if (tellMe && window.Notification && navigator.serviceWorker) {
  if (mayTell()) navigator.serviceWorker.register(NOTICES).catch(() => {});
  tellMe.hidden = Notification.permission !== "default";
  tellMe.addEventListener("click", async () => {
    const allowed = await Notification.requestPermission() === "granted";
    tellMe.hidden = Notification.permission !== "default";
    try {
      if (allowed) await navigator.serviceWorker.register(NOTICES);
      show(line, allowed ? "We will notify you in this browser while this page is open." : BLOCKED);
    } catch { show(line, BLOCKED); }
  });
}
// Notifies only while the page is hidden: a visible page shows the status itself.
async function tell(text) {
  if (!tellMe || !mayTell() || !document.hidden) return;
  const worker = await navigator.serviceWorker?.getRegistration(NOTICES);
  const title = document.querySelector("h1").textContent;
  // A notification with the same tag from a second tab replaces the first one.
  await worker?.showNotification(title, { body: text, tag: `${title} ${text}`, data: location.href });
}

const order = document.getElementById("order-live");
if (order && window.EventSource) {
  const events = new EventSource(order.dataset.events);
  events.addEventListener("status", async () => {
    await refresh(order);
    const headline = document.getElementById("headline");
    const news = order.querySelector("[data-headline]").dataset.headline;
    if (headline.textContent === news) return;
    show(headline, news);
    await tell(news);
  });
  events.addEventListener("end", () => { events.close(); connected(true); });
  events.onopen = () => connected(true);
  events.onerror = () => connected(events.readyState === EventSource.CLOSED);
}

const board = document.getElementById("board");
if (board) setInterval(() => {
  if (!document.hidden) refresh(board).then(() => connected(true), () => connected(false));
}, 3000);

for (const form of document.querySelectorAll("form.add")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "X-Requested-With": "fetch" } });
      const refused = answer.ok ? null : await answer.json().catch(() => null);
      if (refused?.detail) return show(line, refused.detail);
      const count = answer.headers.get("X-Cart-Count");
      if (!answer.ok || count === null) throw new Error();
      const shown = document.getElementById("cart-count");
      shown.textContent = count;
      shown.closest("a").setAttribute("aria-label", `Cart, ${count} item${count === "1" ? "" : "s"}`);
      const added = `${form.elements.quantity.value} × ${form.closest(".card").querySelector("h3").textContent} added.`;
      // Clears the line first, so that screen readers read a repeated text again.
      show(line, "");
      setTimeout(show, 100, line, added);
    } catch {
      // The product may have been added, and a repeat would add it twice. The cart shows the result.
      location.assign("/cart");
    }
  });
}

// Shows the address fields for deliveries only.
const type = document.getElementById("order_type");
const delivery = document.getElementById("delivery");
if (type && delivery) {
  const showAddress = () => { delivery.hidden = type.value !== "delivery"; };
  type.addEventListener("change", showAddress);
  showAddress();
}

// Loads the times of another day, on the shop's clock.
const day = document.getElementById("pickup_day");
if (day) {
  document.getElementById("show-times").remove();
  const times = document.getElementById("pickup_at");
  const choose = new Option("Choose a time", "", true, true);
  choose.disabled = true;
  // "As soon as it is ready" is an option on the first day only.
  const first = day.selectedIndex === 0 ? times.options[0] : choose;
  day.addEventListener("change", async () => {
    try {
      const answer = await fetch(`/api/v1/pickup-slots?date=${day.value}`);
      if (!answer.ok) throw new Error();
      const { slots } = await answer.json();
      const open = slots.filter((slot) => slot.state === "open" && new Date(slot.starts_at) > new Date());
      const few = (left) => left > 3 ? "" : ` (${left} place${left === 1 ? "" : "s"} left)`;
      // During a deployment, a storefront of the previous version may answer, which sends no local_time.
      const options = open.map((slot) => new Option((slot.local_time ?? slot.starts_at) + few(slot.left), slot.starts_at));
      times.replaceChildren(day.selectedIndex === 0 ? first : choose, ...options);
      times.selectedIndex = 0;
      document.getElementById("no-times").hidden = options.length > 0;
    } catch { show(line, "We could not load the times of this day. Please try again."); }
  });
}

document.getElementById("place")?.form.addEventListener("submit", (event) => {
  const button = event.target.querySelector("#place");
  button.disabled = true;
  button.textContent = "Placing your order…";
});
