// Where to click an element so that the click reaches it and nothing inside it that does something else.
//
// Called by acting.py with the element. `avoid` are rectangles (left, top, width, height, from the element's corner) of
// other things that can be clicked; `limit` is how many milliseconds it may wait for what is disabled, covered or hidden.
// Answers {state, x, y, middle, by}: the point in the element's padding box, whether it is where Playwright would click
// by itself, or what is in the way.
async (element, { avoid, limit }) => {
  const ACTIVE =
    "a[href],button,input,select,textarea,summary,label,[onclick],[contenteditable=''],[contenteditable=true]," +
    "[role=button],[role=link],[role=checkbox],[role=radio],[role=switch],[role=tab],[role=menuitem],[role=option]";

  const parent = (node) => node.assignedSlot || node.parentElement || (node.getRootNode() && node.getRootNode().host);

  const within = (node, ancestor) => {
    for (let at = node; at; at = parent(at)) if (at === ancestor) return true;
    return false;
  };

  // the innermost element at a point, through shadow roots that are open, and those that the element itself is in
  const under = (x, y) => {
    let hit = element.ownerDocument.elementFromPoint(x, y);
    const roots = [];
    for (let root = element.getRootNode(); root && root.host; root = root.host.getRootNode()) roots.unshift(root);
    for (const root of roots) if (hit === root.host) hit = root.elementFromPoint(x, y) || hit;
    while (hit && hit.shadowRoot) {
      const inner = hit.shadowRoot.elementFromPoint(x, y);
      if (!inner || inner === hit) break;
      hit = inner;
    }
    return hit;
  };

  const own = (hit) => {
    for (let at = hit; at && at !== element; at = parent(at)) {
      if (at.matches(ACTIVE) && !(element.labels && [...element.labels].includes(at))) return false;
    }
    return true;
  };

  const described = (hit) => {
    const tag = hit.tagName.toLowerCase();
    const id = hit.id ? `#${hit.id}` : "";
    const said = (hit.innerText || hit.getAttribute("aria-label") || "").replace(/\s+/g, " ").trim().slice(0, 60);
    return `<${tag}${id}>${said ? ` “${said}”` : ""}`;
  };

  const points = (rect) => {
    const found = [[0.5, 0.5]];
    for (const y of [0.5, 0.2, 0.8, 0.05, 0.95]) for (const x of [0.5, 0.1, 0.9, 0.3, 0.7]) found.push([x, y]);
    return found.map(([x, y]) => [rect.left + rect.width * x, rect.top + rect.height * y]);
  };

  const look = () => {
    if (!element.isConnected) return { state: "gone" };
    if (element.matches(":disabled") || element.closest("[aria-disabled=true]")) return { state: "disabled" };
    const style = getComputedStyle(element);
    let rects = shown();
    if (!rects.length || style.visibility !== "visible") {
      return element.labels && element.labels.length ? { state: "label" } : { state: "hidden" };
    }
    let seen = free(rects);
    // boxes that scroll hide what is in them, and what is fixed lies over the rest
    for (const block of ["nearest", "center"]) {
      if (seen.state === "ready" || seen.state === "label") return seen;
      element.scrollIntoView({ block, inline: block, behavior: "instant" });
      rects = shown();
      if (rects.length) seen = free(rects);
    }
    return seen;
  };

  const shown = () => [...element.getClientRects()].filter((rect) => rect.width > 0 && rect.height > 0);

  // a point of the element that is its own and in the window, or what is in the way
  const free = (rects) => {
    const box = element.getBoundingClientRect();
    const alone = (x, y) =>
      !avoid.some(([l, t, w, h]) => x >= box.left + l && x < box.left + l + w && y >= box.top + t && y < box.top + t + h);
    let cover = null;
    let second = null;
    let first = true;
    const whole = (rect) => rect.left >= 0 && rect.top >= 0 && rect.right <= innerWidth && rect.bottom <= innerHeight;
    for (const rect of rects.slice(0, 4)) {
      for (const [x, y] of points(rect)) {
        const middle = first && !avoid.length && whole(rect);
        first = false;
        if (x < 0 || y < 0 || x >= innerWidth || y >= innerHeight) continue;
        const hit = under(x, y);
        if (!hit) continue;
        if (!within(hit, element)) {
          cover = cover || hit;
          continue;
        }
        if (!own(hit)) continue;
        const found = { state: "ready", x: x - box.left - element.clientLeft, y: y - box.top - element.clientTop };
        found.middle = middle;
        if (alone(x, y)) return found;
        second = second || found;
      }
    }
    if (second) return second;
    if (cover && element.labels && [...element.labels].some((label) => within(cover, label))) return { state: "label" };
    if (cover) return { state: "covered", by: described(cover) };
    return { state: "hidden" };
  };

  const end = performance.now() + limit;
  for (;;) {
    const seen = look();
    if (seen.state === "ready" || seen.state === "label" || seen.state === "gone" || performance.now() >= end) return seen;
    await new Promise((go) => setTimeout(go, 50));
  }
};
