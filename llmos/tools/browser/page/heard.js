// The numbers of elements, who listens to being pressed, closed shadow roots, and what was pressed last.

// ---- Numbers: given once, never changed, never given again.

const here = document;
const origin = window.origin;
const id = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-"); // this document
const numbers = new WeakMap();
const numbered = new Map();
let latest = 0;

function numberOf(element) {
  let number = weakGet(numbers, element);
  if (number === undefined) {
    number = ++latest;
    weakSet(numbers, element, number);
    mapSet(numbered, number, new Ref(element));
  }
  return number;
}

function elementOf(number) {
  const held = mapGet(numbered, number);
  const element = held && deref(held);
  return element && isConnected(element) && ownerDocument(element) === here ? element : null;
}

// ---- Listeners, closed shadow roots, and who was pressed last.

const POINTED = set("click dblclick auxclick contextmenu mousedown mouseup pointerdown pointerup touchstart touchend dragstart drop");
const heard = new WeakMap(); // target -> { type: [listener, capture, listener, capture, …] }
const closedRoots = new WeakMap();
let pressed = null;

function wrap(prototype, key, after) {
  const original = prototype[key];
  const value = new Proxy(original, {
    __proto__: null,
    apply(target, self, args) {
      const result = apply(target, self, args);
      after(self, args, result);
      return result;
    },
  });
  defineProperty(prototype, key, { ...getOwnPropertyDescriptor(prototype, key), value });
  return method({ original }, "original");
}

const captures = (options) => (typeof options === "object" && options ? !!options.capture : !!options);
const listen = wrap(EventTarget.prototype, "addEventListener", (self, args) => {
  const type = args[0];
  const listener = args[1];
  if (typeof type !== "string" || !POINTED[type] || !listener || !self) return;
  let types = weakGet(heard, self);
  if (!types) weakSet(heard, self, (types = create(null)));
  const all = (types[type] ||= list());
  const capture = captures(args[2]);
  for (let i = 0; i < all.length; i += 2) if (all[i] === listener && all[i + 1] === capture) return;
  push(all, listener);
  push(all, capture);
});
wrap(EventTarget.prototype, "removeEventListener", (self, args) => {
  const types = self && weakGet(heard, self);
  const all = types && typeof args[0] === "string" && types[args[0]];
  if (!all) return;
  const capture = captures(args[2]);
  const left = list();
  for (let i = 0; i < all.length; i += 2) {
    if (all[i] === args[1] && all[i + 1] === capture) continue;
    push(left, all[i]);
    push(left, all[i + 1]);
  }
  if (left.length) types[args[0]] = left;
  else delete types[args[0]];
});

const pathOf = method(Event.prototype, "composedPath");
const press = (event) => {
  if (event.isTrusted) pressed = { __proto__: null, at: now(), path: pathOf(event) };
};
const watch = (target) => {
  listen(target, "pointerdown", press, true);
  listen(target, "keydown", press, true);
};
watch(window);
const modeOf = getter(ShadowRoot.prototype, "mode");
wrap(Element.prototype, "attachShadow", (host, args, root) => {
  if (modeOf(root) !== "closed") return;
  weakSet(closedRoots, host, root);
  watch(root); // what happens inside of it is hidden from listeners outside
});

const HANDLERS = [HTMLElement.prototype, SVGElement.prototype].map((prototype) =>
  Object.keys(POINTED)
    .filter((type) => getOwnPropertyDescriptor(prototype, "on" + type))
    .map((type) => getter(prototype, "on" + type)),
);
const isSvg = (element) => element instanceof SVGElement;

/** Whether the element itself listens to being pressed: 0 no, 1 yes, 2 only for others inside of it (jQuery). */
function listens(element, scope) {
  const types = weakGet(heard, element);
  let direct = false;
  let others = false;
  if (types) {
    for (const type in types) {
      const selectors = delegated(element, type);
      if (!selectors || types[type].length > 2) direct = true;
      if (selectors) {
        others = true;
        for (let i = 0; i < selectors.length; i++) {
          if (selectors[i] === "") direct = true;
          else push(scope, selectors[i]);
        }
      }
    }
    const keys = ownKeys(element);
    for (let i = 0; i < keys.length; i++) {
      if (typeof keys[i] === "string" && starts(keys[i], "__reactContainer$")) {
        reactProps = "__reactProps$" + cut(keys[i], 17);
        return 0;
      }
    }
  }
  if (direct) return 1;
  const handlers = HANDLERS[isSvg(element) ? 1 : 0];
  if (isSvg(element) || element instanceof HTMLElement) {
    for (let i = 0; i < handlers.length; i++) if (handlers[i](element)) return 1;
  }
  const props = reactProps && element[reactProps];
  if (props && (props.onClick || props.onMouseDown || props.onPointerDown)) return 1;
  return others ? 2 : 0;
}

let reactProps = "";

/** For which elements inside of it jQuery calls handlers of the type: selectors, "" for itself; null without jQuery. */
function delegated(element, type) {
  const jquery = window.jQuery;
  if (typeof jquery !== "function" || typeof jquery._data !== "function") return null;
  try {
    const handlers = jquery._data(element, "events")?.[type];
    if (!handlers) return null;
    const selectors = list();
    for (let i = 0; i < handlers.length; i++) push(selectors, handlers[i].selector || "");
    return selectors;
  } catch {
    return null; // the page's own code failed: then it is just a listener
  }
}

function matchesAny(element, selectors) {
  for (let i = 0; i < selectors.length; i++) {
    try {
      if (matches(element, selectors[i])) return true;
    } catch {
      // a selector that only jQuery understands
    }
  }
  return false;
}
