// Links in mails have the order's tracking token in the fragment, which no server sees. This script sends the token once, in a
// request body, and receives a cookie. Without scripts, the page asks for the order number and the e-mail address.
"use strict";

const sent = /^#t=([A-Za-z0-9_-]{1,64})$/.exec(location.hash);
const page = /^\/orders\/[0-9a-f-]{36}$/.test(location.pathname);
// Removes the token from the address bar and the history, also the token of an older link.
const forget = () => history.replaceState(null, "", location.pathname);
// The token stays in the address bar after a failed request, so that a reload can send it again.
const later = () => {
  const status = document.getElementById("status");
  if (status) status.textContent = "We could not open your order. Please reload this page in a moment.";
};
if (page && sent) {
  fetch(`${location.pathname}/open`, { method: "POST", body: new URLSearchParams({ t: sent[1] }) }).then((answer) => {
    if (!answer.ok && answer.status !== 404) return later();
    forget();
    if (answer.ok && !document.getElementById("order-live")) location.reload();
  }, later);
} else if (page && new URLSearchParams(location.search).has("token")) {
  forget();
}
