// Links in mails carry an order's tracking token in the fragment, which no server sees. The token is sent once, in the body of a
// request, for a cookie. Without scripts the page asks for the order's number and e-mail address.
"use strict";

const sent = /^#t=([A-Za-z0-9_-]{1,64})$/.exec(location.hash);
const page = /^\/orders\/[0-9a-f-]{36}$/.test(location.pathname);
// Neither the fragment nor a token of an older link stays in the address bar and the history.
const forget = () => history.replaceState(null, "", location.pathname);
// Not before the token was taken, or was none: a shop that is busy is asked again by a reload, which still has it.
const later = () => {
  const status = document.getElementById("status");
  if (status) status.textContent = "We could not open your order just now. Reload this page in a moment.";
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
