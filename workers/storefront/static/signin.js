// `haven open staff` opens this page with a one-time sign-in link in the fragment, which no server,
// log or Referer sees. The link is posted once, in the body of a form of this page, so that the
// request is of the same origin and the browser keeps the cookie.
"use strict";

const signIn = () => {
  const link = /^#link=([\w.-]{1,1000})(?:&page=([a-z]{1,20}))?$/.exec(location.hash);
  if (!link) return;
  // Neither the address bar nor the history keeps the link.
  history.replaceState(null, "", location.pathname);
  const form = document.getElementById("link");
  form.elements.token.value = link[1];
  form.elements.page.value = link[2] ?? "";
  form.submit();
};
signIn();
// The link was pasted into the address bar of this page, which does not load the page again.
addEventListener("hashchange", signIn);
