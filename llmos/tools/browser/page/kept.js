// What is used of a document's own world, fetched before its scripts run.
//
// The files of this folder are one program, put together by eyes.py in a function of `name`, `secret` and `limit`, which
// runs in every document before the document's own scripts, in their world. It numbers the elements that can be acted on
// and walks the flattened tree (slots and shadow roots, closed ones too) into plain records, which eyes.py puts together
// for all frames. It knows no text format, no budget and no action.
//
// The document's scripts may be hostile. They find one function under a random name, which does nothing without a
// secret, and which can't change what a number stands for even with it. As everything is fetched here, a form whose
// field is called `parentNode`, or a library that replaces parts of the language, misleads nobody. A document that lies
// about itself only looks different, as it could anyway.

const { apply, ownKeys } = Reflect;
const { create, defineProperty, getOwnPropertyDescriptor, setPrototypeOf } = Object;
const method = (prototype, key) => Function.prototype.call.bind(prototype[key]);
const getter = (prototype, key) => Function.prototype.call.bind(getOwnPropertyDescriptor(prototype, key).get);
const set = (words) => words.split(" ").reduce((all, word) => ((all[word] = true), all), create(null));
const list = () => setPrototypeOf([], null); // for JSON: nothing that a page adds to arrays is in it
const stringify = JSON.stringify;
const now = Date.now;
const { min, max, round } = Math;

const nodeType = getter(Node.prototype, "nodeType");
const nodeValue = getter(Node.prototype, "nodeValue");
const firstChild = getter(Node.prototype, "firstChild");
const nextSibling = getter(Node.prototype, "nextSibling");
const parentNode = getter(Node.prototype, "parentNode");
const isConnected = getter(Node.prototype, "isConnected");
const ownerDocument = getter(Node.prototype, "ownerDocument");
const rootOf = method(Node.prototype, "getRootNode");
const previousElement = getter(Element.prototype, "previousElementSibling");
const nextElement = getter(Element.prototype, "nextElementSibling");
const localName = getter(Element.prototype, "localName");
const attribute = method(Element.prototype, "getAttribute");
const has = method(Element.prototype, "hasAttribute");
const matches = method(Element.prototype, "matches");
const closest = method(Element.prototype, "closest");
const measure = method(Element.prototype, "getBoundingClientRect");
const [rectX, rectY, rectWidth, rectHeight] = ["x", "y", "width", "height"].map((key) => getter(DOMRectReadOnly.prototype, key));
const isShown = method(Element.prototype, "checkVisibility");
const shadowOf = getter(Element.prototype, "shadowRoot");
const hostOf = getter(ShadowRoot.prototype, "host");
const assignedNodes = method(HTMLSlotElement.prototype, "assignedNodes");
const styleOf = window.getComputedStyle.bind(window);
const css = method(CSSStyleDeclaration.prototype, "getPropertyValue");
const elementAt = [method(Document.prototype, "elementFromPoint"), method(ShadowRoot.prototype, "elementFromPoint")];
const byId = [
  method(Document.prototype, "getElementById"),
  method(DocumentFragment.prototype, "getElementById"),
];
const activeIn = [getter(Document.prototype, "activeElement"), getter(ShadowRoot.prototype, "activeElement")];
const bodyOf = getter(Document.prototype, "body");
const titleOf = getter(Document.prototype, "title");
const documentElement = getter(Document.prototype, "documentElement");
const scrollingElement = getter(Document.prototype, "scrollingElement");
const baseURI = getter(Node.prototype, "baseURI");
const query = method(Document.prototype, "querySelector");
const escape = CSS.escape;
const Link = URL;
const shapesIn = method(Element.prototype, "querySelectorAll");
const listLength = getter(NodeList.prototype, "length");
const optionsOf = getter(HTMLSelectElement.prototype, "options");
const optionText = getter(HTMLOptionElement.prototype, "label");
const optionChosen = getter(HTMLOptionElement.prototype, "selected");
const listOf = getter(HTMLInputElement.prototype, "list");
const inputType = getter(HTMLInputElement.prototype, "type");
const filesOf = getter(HTMLInputElement.prototype, "files");
const formAction = getter(HTMLFormElement.prototype, "action");
const formMethod = getter(HTMLFormElement.prototype, "method");
const controlOf = getter(HTMLLabelElement.prototype, "control");
const hrefOf = { __proto__: null, a: getter(HTMLAnchorElement.prototype, "href"), area: getter(HTMLAreaElement.prototype, "href") };
const classes = {
  __proto__: null,
  input: HTMLInputElement.prototype,
  select: HTMLSelectElement.prototype,
  textarea: HTMLTextAreaElement.prototype,
  button: HTMLButtonElement.prototype,
  output: HTMLOutputElement.prototype,
  meter: HTMLMeterElement.prototype,
  progress: HTMLProgressElement.prototype,
};
const valueOf = create(null);
const labelsOf = create(null);
const ownerForm = create(null);
for (const tag of ownKeys(classes)) {
  valueOf[tag] = getter(classes[tag], "value");
  labelsOf[tag] = getter(classes[tag], "labels");
  if (getOwnPropertyDescriptor(classes[tag], "form")) ownerForm[tag] = getter(classes[tag], "form");
}
const checkedOf = getter(HTMLInputElement.prototype, "checked");
const weakGet = method(WeakMap.prototype, "get");
const weakSet = method(WeakMap.prototype, "set");
const mapGet = method(Map.prototype, "get");
const mapSet = method(Map.prototype, "set");
const deref = method(WeakRef.prototype, "deref");
const Ref = WeakRef;
const Table = Map;
const replace = method(String.prototype, "replace");
const lower = method(String.prototype, "toLowerCase");
const trim = method(String.prototype, "trim");
const cut = method(String.prototype, "slice");
const split = method(String.prototype, "split");
const includes = method(String.prototype, "includes");
const starts = method(String.prototype, "startsWith");

/** Objects that are quick to make and inherit nothing that a page could add. */
function bare(maker) {
  setPrototypeOf(maker.prototype, null);
  return maker;
}
const Spot = bare(class { // a node of the tree; what is undefined is not sent
  constructor(role, text, seen, children, n) {
    this.role = role;
    this.text = text;
    this.seen = seen;
    this.children = children;
    this.n = n;
    this.level = this.modal = this.frame = undefined;
  }
});
const Record = bare(class { // an element that can be acted on
  constructor(number, role, tag, box, seen) {
    this.number = number;
    this.role = role;
    this.tag = tag;
    this.box = box;
    this.seen = seen;
    this.name = this.kind = this.label = this.value = this.options = this.states = this.near = undefined;
    this.href = this.autocomplete = this.form = this.dialog = this.inner = this.filled = this.modal = undefined;
  }
});
const Area = bare(class {
  constructor(left, top, width, height) {
    this.left = left;
    this.top = top;
    this.width = width;
    this.height = height;
    this.right = left + width;
    this.bottom = top + height;
  }
});
const Scope = bare(class { // what holds for what is inside of an element
  constructor(around) {
    this.clip = around.clip;
    this.selectors = around.selectors;
    this.visible = around.visible;
    this.gone = false;
    this.mute = around.mute;
    this.inert = around.inert;
    this.pointer = around.pointer;
    this.control = around.control;
    this.pre = around.pre;
    this.drawing = around.drawing;
    this.dialog = around.dialog;
    this.box = around.box;
  }
});
const push = (items, item) => { items[items.length] = item; };
const rectOf = (element) => {
  const rect = measure(element);
  return new Area(rectX(rect), rectY(rect), rectWidth(rect), rectHeight(rect));
};
const tidy = (text) => trim(replace(text, /[\s\u00a0\u200b-\u200d\u2060\ufeff\ue000-\uf8ff]+/g, " "));
const short = (text, length) => (text.length > length ? cut(text, 0, length - 1) + "…" : text);
