// Phones show notifications only through a service worker. This worker stores nothing and serves no pages. A click on a
// notification opens the order's page or brings it to the front.
"use strict";

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const url = event.notification.data;
  const open = async () => {
    const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    const page = pages.find((page) => page.url === url);
    return page ? page.focus() : self.clients.openWindow(url);
  };
  event.waitUntil(open());
});
