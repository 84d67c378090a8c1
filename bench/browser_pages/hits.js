"use strict";

// What a page's elements were really hit by, for the benchmark to read: ids in the order of their clicks.
const hits = (window.top.hits ??= []);
addEventListener("click", (event) => hits.push(event.composedPath()[0].id || event.composedPath()[0].localName), true);
