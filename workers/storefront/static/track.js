// Links in mails carry an order's tracking token in the fragment, which no server sees. The token is sent once, in the body of a
// request, for a cookie. Without scripts the page asks for the order's number and e-mail address.
"use strict";

const sent = /^#t=([A-Za-z0-9_-]{1,64})$/.exec(location.hash);
const page = /^\/orders\/[0-9a-f-]{36}$/.test(location.pathname);
// Neither the fragment nor a token of an older link stays in the address bar and the history.
if (page && (sent || new URLSearchParams(location.search).has("token"))) history.replaceState(null, "", location.pathname);
if (page && sent) {
  fetch(`${location.pathname}/open`, { method: "POST", body: new URLSearchParams({ t: sent[1] }) }).then((answer) => {
    if (answer.ok && !document.getElementById("order-live")) location.reload();
  });
}
