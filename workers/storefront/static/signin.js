// `haven open staff` opens this page with a one-time sign-in link in the fragment, which no server,
// log or Referer sees. The link is posted once, in the body of a form of this page, so that the
// request is of the same origin and the browser keeps the cookie.
"use strict";

const signIn = () => {
  const link = /^#link=([\w.-]{1,1000})(?:&page=([a-z]{1,20}))?$/.exec(location.hash);
  if (!link) return;
  // Neither the address bar nor the history keeps the link.
  history.replaceState(null, "", location.pathname);
  // A form of its own: a browser offers to store what is sent from the field of the password.
  const form = document.createElement("form");
  form.method = "post";
  form.action = location.pathname;
  for (const [name, value] of [["token", link[1]], ["page", link[2] ?? ""]]) {
    const field = document.createElement("input");
    field.type = "hidden";
    field.name = name;
    field.value = value;
    form.append(field);
  }
  document.body.append(form);
  form.submit();
};
signIn();
// The link was pasted into the address bar of this page, which does not load the page again.
addEventListener("hashchange", signIn);
