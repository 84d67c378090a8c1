// Small questions about elements, and the one function that a document gets.

const isBody = (element) => element === documentElement(here) || element === bodyOf(here);
const resolve = (address) => {
  try {
    return new Link(address, baseURI(here)).href;
  } catch {
    return address;
  }
};

function intersection(one, two) {
  const left = max(one.left, two.left);
  const top = max(one.top, two.top);
  return new Area(left, top, max(0, min(one.right, two.right) - left), max(0, min(one.bottom, two.bottom) - top));
}

function numbersOf(...values) {
  return setPrototypeOf(values, null);
}

/** Whether there is something to press: lines of drawings may have no height. */
function sized(element, box) {
  if (isSvg(element) ? box.width + box.height > 0 : box.width > 0 && box.height > 0) return true;
  if (starts(css(styleOf(element), "content"), "url(")) return true; // a picture that is still on its way
  for (let child = firstChild(element); child; child = nextSibling(child)) {
    if (nodeType(child) !== 1) continue;
    const inside = rectOf(child);
    if (inside.width > 0 && inside.height > 0) return true;
  }
  return false;
}

function isSummary(element) {
  const parent = parentNode(element);
  if (!parent || nodeType(parent) !== 1 || localName(parent) !== "details") return false;
  for (let child = firstChild(parent); child; child = nextSibling(child)) {
    if (nodeType(child) === 1 && localName(child) === "summary") return child === element;
  }
  return false;
}

/** The role of the control that a label shows in its place, "" where the control is there to be pressed itself. */
function hidesControl(label) {
  const control = controlOf(label);
  if (!control || localName(control) === "button") return "";
  const box = rectOf(control);
  const style = styleOf(control);
  const hidden = css(style, "display") === "none" || css(style, "visibility") !== "visible" || box.width <= 1 || box.height <= 1;
  return hidden ? roleOf(control, localName(control)) : "";
}

function activeElement() {
  let element = activeIn[0](here);
  for (let root = element && rootIn(element); root && activeIn[1](root); root = rootIn(element)) element = activeIn[1](root);
  return element;
}

function hitAt(x, y) {
  let hit = elementAt[0](here, x, y);
  for (let root = hit && rootIn(hit); root; root = rootIn(hit)) {
    const deeper = elementAt[1](root, x, y);
    if (!deeper || deeper === hit) break;
    hit = deeper;
  }
  return hit;
}

const above = (node) => parentNode(node) || (nodeType(node) === 11 && node instanceof ShadowRoot ? hostOf(node) : null);

function inside(node, ancestor) {
  for (let one = node; one; one = above(one)) if (one === ancestor) return true;
  return false;
}

/** What lies over the whole window without saying that it is a dialog: a half transparent sheet, or what stands on one. */
function covering() {
  const width = window.innerWidth;
  const height = window.innerHeight;
  const corners = [[3, 3], [width - 4, 3], [3, height - 4], [width - 4, height - 4]];
  let sheet = null;
  let votes = 0;
  for (let i = 0; i < 4; i++) {
    let node = hitAt(corners[i][0], corners[i][1]);
    for (; node && nodeType(node) === 1 && !isBody(node); node = above(node)) {
      const box = rectOf(node);
      if (box.width < width * 0.9 || box.height < height * 0.9) continue;
      const style = styleOf(node);
      const position = css(style, "position");
      if ((position === "fixed" || position === "absolute") && seeThrough(style)) break;
    }
    if (!node || nodeType(node) !== 1 || isBody(node)) continue;
    if (!sheet) sheet = node;
    if (node === sheet) votes++;
  }
  if (votes < 3) return null;
  const middle = hitAt(width / 2, height / 2);
  if (!middle || inside(middle, sheet)) return textOf(sheet, 20) ? sheet : null;
  let top = middle;
  for (let one = middle; one && !isBody(one) && !inside(sheet, one); one = above(one)) if (nodeType(one) === 1) top = one;
  return isBody(top) ? null : top;
}

function seeThrough(style) {
  const opacity = +css(style, "opacity");
  if (opacity > 0 && opacity < 1) return true;
  const alpha = /^rgba\(.*, ([\d.]+)\)$/.exec(css(style, "background-color"));
  return alpha !== null && +alpha[1] > 0 && +alpha[1] < 1;
}

defineProperty(window, name, {
  __proto__: null,
  value: (given, question, one, two) => {
    if (given !== secret) return undefined;
    if (question === "look") return look(new Area(one[0], one[1], one[2] ?? window.innerWidth, one[3] ?? window.innerHeight), two);
    if (question === "number") return numberOf(one);
    if (question === "element") return two === id ? elementOf(one) : null;
    if (question === "pressed") {
      const last = pressed;
      pressed = null;
      const path = list();
      for (let i = 0; last && i < last.path.length; i++) {
        const number = weakGet(numbers, last.path[i]);
        if (number) push(path, number);
      }
      return stringify({ __proto__: null, id, at: last ? last.at : 0, path });
    }
    return undefined;
  },
});
