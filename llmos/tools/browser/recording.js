// What a person does in a document: clicks, typing, choosing, keys; recording.py puts it together. Runs in every document
// beside the scripts of page/, whose walk describes the elements, as they are before the page takes notice.
//
// What is typed as a password, a card's data or a one-time code never leaves the document: only that it was, and where in
// the task's words it stands, if it does. Only what a person's hands do counts, not what scripts make up.
(name, secret, channel, key, task, scripted) => {
  "use strict";
  const report = window[channel];
  const mark = channel + "h";
  if (typeof report !== "function" || Object.getOwnPropertyDescriptor(window, mark)) return;
  Object.defineProperty(window, mark, { __proto__: null, value: true });

  const method = (prototype, key) => Function.prototype.call.bind(prototype[key]);
  const getter = (prototype, key) => Function.prototype.call.bind(Object.getOwnPropertyDescriptor(prototype, key).get);
  const set = (words) => words.split(" ").reduce((all, word) => ((all[word] = true), all), { __proto__: null });
  const { parse, stringify } = JSON;
  const { apply } = Reflect;
  const { setPrototypeOf, defineProperty, getOwnPropertyDescriptor } = Object;
  const listen = method(EventTarget.prototype, "addEventListener");
  const pathOf = method(Event.prototype, "composedPath");
  const nodeType = getter(Node.prototype, "nodeType");
  const localName = getter(Element.prototype, "localName");
  const attribute = method(Element.prototype, "getAttribute");
  const textContent = getter(Node.prototype, "textContent");
  const innerText = getter(HTMLElement.prototype, "innerText");
  const modeOf = getter(ShadowRoot.prototype, "mode");
  const inputType = getter(HTMLInputElement.prototype, "type");
  const checkedOf = getter(HTMLInputElement.prototype, "checked");
  const filesOf = getter(HTMLInputElement.prototype, "files");
  const editable = getter(HTMLElement.prototype, "isContentEditable");
  const controlOf = getter(HTMLLabelElement.prototype, "control");
  const valueOf = {
    __proto__: null,
    input: getter(HTMLInputElement.prototype, "value"),
    textarea: getter(HTMLTextAreaElement.prototype, "value"),
  };
  const optionsOf = getter(HTMLSelectElement.prototype, "selectedOptions");
  const optionText = getter(HTMLOptionElement.prototype, "label");
  const weakGet = method(WeakMap.prototype, "get");
  const weakSet = method(WeakMap.prototype, "set");
  const replace = method(String.prototype, "replace");
  const lower = method(String.prototype, "toLowerCase");
  const indexOf = method(String.prototype, "indexOf");
  const test = method(RegExp.prototype, "test");
  const push = (items, item) => { items[items.length] = item; };
  const list = () => setPrototypeOf([], null);

  const UNTYPED = set("button submit reset image checkbox radio hidden color");
  const PRESSED = set("Enter Escape ArrowUp ArrowDown ArrowLeft ArrowRight Home End PageUp PageDown");
  const MODIFIERS = set("Control Shift Alt Meta CapsLock Dead Process Unidentified");
  const PRIVATE = /\bcc-|current-password|new-password|one-time-code/;
  const PRIVATE_WORDS =
    /pass ?-?_?(word|code|phrase|wort)|kennwort|\bpwd\b|\bpin\b|\bcv[vc]2?\b|\bcsc\b|security code|card ?-?_?(number|no\b|num)|kartennummer|verification code|one.?time (code|password)|\botp\b|\b2fa\b|sicherheitscode/;
  const DIGITS = /^(?:\d[ -]?){13,19}$/;

  const closed = new WeakMap(); // hosts of closed shadow roots
  const hidden = new WeakMap(); // fields that were passwords once
  let gestures = 0;
  let keyed = false;
  let look = null; // what the document was like when the gesture began
  let sent = "";
  let typing = null; // the field that the gesture writes into

  const bare = (_, value) => (typeof value === "object" && value ? setPrototypeOf(value, null) : value);

  /** A new gesture: what the document is like now is what the person sees. */
  function begin(byKey) {
    gestures++;
    keyed = byKey;
    sent = "";
    typing = null;
    const ask = window[name];
    look = ask ? parse(ask(secret, "look", [0, 0, null, null], "none"), bare) : null;
    for (let i = 0; look && i < look.elements.length; i++) {
      if (look.elements[i].tag !== "select") look.elements[i].value = undefined;
    }
  }

  /** Numbers of the elements that an event went through, from the innermost outwards. */
  function numbersOf(path) {
    const ask = window[name];
    const found = list();
    for (let i = 0; ask && i < path.length && found.length < 40; i++) {
      if (path[i] !== window && nodeType(path[i]) === 1) push(found, ask(secret, "number", path[i]));
    }
    return found;
  }

  function tell(kind, path, more) {
    const numbers = numbersOf(path);
    const message = { __proto__: null, kind, key, gesture: gestures, keyed, numbers, ...more };
    if (look && !sent) message.look = look;
    sent = kind;
    report(stringify(setPrototypeOf(message, null)));
  }

  const tagOf = (node) => (node && node !== window && nodeType(node) === 1 ? localName(node) : "");
  const isText = (node) => {
    const tag = tagOf(node);
    return tag === "textarea" || (tag === "input" && !UNTYPED[inputType(node)] && inputType(node) !== "range" && inputType(node) !== "file") || (node instanceof HTMLElement && editable(node));
  };

  /** What the walk says of an element, for the first one of a path that it knows. */
  function recordOf(path) {
    const numbers = numbersOf(path);
    for (let i = 0; look && i < numbers.length; i++) {
      for (let j = 0; j < look.elements.length; j++) if (look.elements[j].number === numbers[i]) return look.elements[j];
    }
    return null;
  }

  function isPrivate(field, path, value) {
    if (tagOf(field) === "input" && inputType(field) === "password") weakSet(hidden, field, true);
    if (weakGet(hidden, field)) return true;
    const record = recordOf(path);
    const own = (key) => attribute(field, key) || "";
    const words = lower((record ? (record.name || "") + " " + (record.label || "") : "") + " " + own("name") + " " + own("id") + " " + own("placeholder"));
    return test(PRIVATE, lower(own("autocomplete"))) || test(PRIVATE_WORDS, words) || (test(DIGITS, value) && isCard(value));
  }

  /** Whether digits are a card's number (Luhn). */
  function isCard(value) {
    const digits = replace(value, /[ -]/g, "");
    let sum = 0;
    for (let i = 0; i < digits.length; i++) {
      let digit = +digits[digits.length - 1 - i];
      if (i % 2) digit = digit * 2 > 9 ? digit * 2 - 9 : digit * 2;
      sum += digit;
    }
    return sum % 10 === 0;
  }

  function typed(field, path, value) {
    if (isPrivate(field, path, value)) {
      const at = value ? indexOf(task, value) : -1;
      return tell("fill", path, { private: true, filled: value !== "", start: at, end: at < 0 ? -1 : at + value.length });
    }
    return tell("fill", path, { value });
  }

  function onInput(path) {
    const field = path[0];
    const tag = tagOf(field);
    if (typing !== field && (!look || (sent && sent !== "press" && sent !== "point"))) begin(keyed);
    typing = field;
    if (tag === "select") {
      const options = optionsOf(field);
      const texts = list();
      for (let i = 0; i < options.length; i++) push(texts, optionText(options[i]));
      return tell("select", path, { options: texts });
    }
    if (tag === "textarea") return typed(field, path, valueOf.textarea(field));
    if (tag === "input") {
      const type = inputType(field);
      if (type === "file") {
        const files = filesOf(field);
        let names = "";
        for (let i = 0; files && i < files.length; i++) names += (i ? "\n" : "") + files[i].name;
        return tell("fill", path, { value: names });
      }
      return type === "color" || !UNTYPED[type] ? typed(field, path, valueOf.input(field)) : undefined;
    }
    for (let i = 0; i < path.length; i++) {
      if (!(path[i] instanceof HTMLElement) || !editable(path[i])) continue;
      let host = i; // the outermost element that can be edited is the field
      while (path[host + 1] instanceof HTMLElement && editable(path[host + 1])) host++;
      return typed(path[host], path, innerText(path[host]) || textContent(path[host]));
    }
    return undefined;
  }

  /** Whether a box is chosen as an event comes: it has been changed already, its label's click comes before that. */
  function chosenIn(path) {
    for (let i = 0; i < path.length; i++) {
      if (tagOf(path[i]) === "input") return checkedOf(path[i]);
      if (tagOf(path[i]) !== "label") continue;
      const control = controlOf(path[i]);
      return control && tagOf(control) === "input" ? !checkedOf(control) : undefined;
    }
    return undefined;
  }

  function labelled(path) {
    for (let i = 0; i < path.length; i++) {
      const control = tagOf(path[i]) === "label" ? controlOf(path[i]) : null;
      if (control) return window[name] ? window[name](secret, "number", control) : 0;
    }
    return 0;
  }

  const reactions = {
    __proto__: null,
    pointerdown: (event, path) => {
      begin(false);
      // a page may take it away before it becomes a click
      if (event.button === 0) tell("point", path, { chosen: undefined, control: labelled(path) });
    },
    keydown: (event, path) => {
      const pressed = event.key;
      if (event.repeat || MODIFIERS[pressed] || event.isComposing) return;
      const letters = pressed.length === 1 && isText(path[0]);
      if (letters) return; // its effect is told as what the field holds then
      begin(true);
      if (!PRESSED[pressed] || event.ctrlKey || event.metaKey || event.altKey) return;
      tell("press", path, { keys: pressed, text: isText(path[0]) });
    },
    click: (event, path) => {
      if (!gestures) begin(false); // by an assistive technology
      tell("click", path, { chosen: chosenIn(path), control: labelled(path) });
    },
    input: (event, path) => onInput(path),
  };

  function watch(target) {
    for (const type in reactions) {
      listen(target, type, (event) => {
        if (!event.isTrusted && !(scripted && type === "input")) return;
        const path = pathOf(event);
        if (!path.length || weakGet(closed, path[0])) return; // its own root tells
        reactions[type](event, path);
      }, true);
    }
  }

  const attach = Element.prototype.attachShadow;
  defineProperty(Element.prototype, "attachShadow", {
    ...getOwnPropertyDescriptor(Element.prototype, "attachShadow"),
    value: new Proxy(attach, {
      __proto__: null,
      apply(target, host, args) {
        const root = apply(target, host, args);
        if (modeOf(root) === "closed") {
          weakSet(closed, host, true);
          watch(root);
        }
        return root;
      },
    }),
  });
  watch(window);
}
