// The walk over a document, and the records that come of it.

/** One document, as it is now. `clip` is what is to be seen of it, `dialogs` what the frame around knows of them. */
function look(clip, dialogs) {
  const elements = list();
  const forms = list();
  const frames = list();
  const open = list(); // dialogs, in the order of the document
  const wrappers = list();
  const records = new Table();
  const formNumbers = new Table();
  const lines = { __proto__: null }; // stands for a break between lines
  const scrollX = window.scrollX;
  const scrollY = window.scrollY;
  const active = activeElement();
  const cover = dialogs === "none" ? covering() : null;
  let count = 0;
  let heading = "";

  const touches = (box, area) => box.right > area.left && box.left < area.right && box.bottom > area.top && box.top < area.bottom && box.width + box.height > 0;

  function visit(element, scope, out) {
    const tag = localName(element);
    if (SKIPPED[lower(tag)] || ++count > limit) return;
    const style = styleOf(element);
    const display = css(style, "display");
    const plain = isShown(element, WHOLLY);
    if (tag === "map") return areas(element, scope, out);
    if (!plain && (display === "none" || (display !== "contents" && !isShown(element)))) return;
    if (tag === "br" || tag === "hr" || tag === "wbr") {
      if (tag !== "wbr") push(out, lines);
      return;
    }
    const box = rectOf(element);
    const boxed = display !== "contents";
    const role = roleOf(element, tag);
    const inner = within(element, tag, plain ? null : style, style, box, boxed, scope);
    if (inner.gone) return;
    const block = boxed && !starts(display, "inline");
    if (tag === "iframe" || tag === "frame") return frame(element, box, inner, out);
    const kind = inner.visible && !inner.inert ? acted(element, tag, role, style, box, boxed, inner, scope) : "";
    if (!kind && (NAMING[tag] || (tag === "label" && controlOf(element)))) inner.mute = true; // said by what it names
    if (tag === "svg") inner.drawing = box.width >= 48 && box.height >= 48 && listLength(shapesIn(element, DRAWN)) <= 40;
    if (block) push(out, lines);
    if (kind) control(element, tag, role, kind, box, inner, out);
    else if (KEPT[role] || NAMED[role] || element === cover) structure(element, tag, role, box, inner, out);
    else if (inner.drawing && SHAPES[tag]) shape(element, tag, box, inner, out);
    else if (role === "img" || tag === "svg" || role === "progressbar" || role === "meter") picture(element, tag, role, box, inner, out);
    else children(element, tag, box, inner, out);
    if (block) push(out, lines);
  }

  function children(element, tag, box, inner, out) {
    const shut = tag === "details" && !has(element, "open"); // its elements say themselves that they are not shown
    eachChild(element, tag, (child) => {
      const type = nodeType(child);
      if (type === 1) visit(child, inner, out);
      else if (type === 3 && inner.visible && !inner.mute && !shut) say(nodeValue(child), inner, out);
    });
  }

  function say(text, inner, out) {
    const box = inner.box;
    if (box.width <= 1 || box.height <= 1 || box.right + scrollX <= 0 || box.bottom + scrollY <= 0) return;
    const seen = touches(box, inner.clip);
    const pieces = inner.pre ? split(text, "\n") : [text];
    for (let i = 0; i < pieces.length; i++) {
      if (i) push(out, lines);
      push(out, new Spot(undefined, pieces[i], seen));
    }
  }

  /** What holds inside of an element: the scope of its children, and its own visibility. */
  function within(element, tag, unsure, style, box, boxed, scope) {
    const inner = new Scope(scope);
    inner.visible = !unsure || css(unsure, "visibility") === "visible";
    if (boxed) inner.box = box;
    if (tag === "pre") inner.pre = true;
    if (has(element, "inert")) inner.inert = true;
    if (attribute(element, "aria-hidden") === "true" || (unsure && css(unsure, "opacity") === "0")) inner.mute = true;
    if (boxed && firstChild(element)) {
      if (inner.clip !== clip && css(style, "position") === "fixed") inner.clip = clip;
      if (css(style, "overflow-x") !== "visible" && !isBody(element)) {
        if (box.width <= 1 || box.height <= 1) inner.gone = true;
        inner.clip = intersection(inner.clip, box);
      }
    }
    return inner;
  }

  /** The role of what can be acted on; "" for what can't; "around" for what only listens for others inside of it. */
  function acted(element, tag, role, style, box, boxed, inner, scope) {
    const pointer = css(style, "cursor") === "pointer";
    inner.pointer = pointer;
    const selectors = list();
    const hears = isBody(element) ? 0 : listens(element, selectors);
    if (isBody(element)) listens(element, selectors);
    if (selectors.length) {
      inner.selectors = list();
      for (let i = 0; i < scope.selectors.length; i++) push(inner.selectors, scope.selectors[i]);
      for (let i = 0; i < selectors.length; i++) push(inner.selectors, selectors[i]);
    }
    if (boxed && !sized(element, box)) return "";
    if (tag === "input" && box.width <= 1 && box.height <= 1 && labelText(element, tag)) return ""; // its label stands for it
    if (tag === "input" || tag === "select" || tag === "textarea" || tag === "button") return role || "clickable";
    if (role === "link" && tag === "a") return role;
    if (ACTED[role] && (tag !== "summary" || isSummary(element))) return role;
    const editable = attribute(element, "contenteditable");
    if (editable !== null && lower(editable) !== "false") return "textbox";
    if (tag === "label") return hidesControl(element) || (hears === 1 ? "clickable" : "");
    if (tag === "canvas") return css(style, "pointer-events") === "none" ? "" : "canvas";
    if ((tag === "video" || tag === "audio") && has(element, "controls")) return tag;
    if (isBody(element)) return "";
    if (hears === 1 || (scope.selectors.length && matchesAny(element, scope.selectors))) return role === "img" ? "img" : "clickable";
    if (attribute(element, "draggable") === "true" && tag !== "img") return "clickable";
    if (hears === 2) return "around";
    if (pointer && !scope.pointer && !scope.control) return "clickable";
    const index = attribute(element, "tabindex");
    return index !== null && +index >= 0 && !KEPT[role] && !NAMED[role] ? "clickable" : "";
  }

  function control(element, tag, role, kind, box, inner, out) {
    const around = kind === "around";
    const record = describe(element, tag, role, around ? "clickable" : kind, box, inner);
    const before = elements.length;
    if (tag === "input" || tag === "select" || tag === "textarea" || tag === "canvas" || kind === "video" || kind === "audio" || (kind === "textbox" && has(element, "contenteditable"))) {
      push(out, new Spot(kind, record.name || "", record.seen, undefined, record.number));
      return;
    }
    if (around) {
      if (KEPT[role] || NAMED[role]) structure(element, tag, role, box, inner, out);
      else children(element, tag, box, inner, out);
      return;
    }
    inner.control = true;
    const items = list();
    children(element, tag, box, inner, items);
    const nested = elements.length - before;
    const content = nested || kind === "clickable" ? gather(items) : null;
    const structured = kind === "clickable" && KEPT[role] ? role : kind;
    const node = new Spot(structured, record.name || "", record.seen, undefined, record.number);
    if (nested === 1 && kind === "clickable" && content.length === 1 && content[0].n && !KEPT[role]) {
      push(out, content[0]); // a wrapper around one control, which gets its clicks too
      push(wrappers, record);
      record.inner = content[0].n;
      return;
    }
    if (structured === "row" || (tag === "svg" && inner.drawing && content.length)) {
      node.text = "";
      node.children = content;
    } else if (nested === 1 && content.length === 1 && content[0].n && !content[0].children && content[0].text === node.text) {
      // one thing in two elements: the outer one, which says more of its role, is shown
    } else if (nested) {
      const told = wordsOf(content, true);
      node.children = told.length > 100 ? content : onlyControls(content);
      if (kind === "clickable") {
        record.name = short(told, 300);
        node.text = told.length > 100 ? "" : told;
      }
    } else if (kind === "clickable" && content.length > 1 && (record.name || "").length > 100) {
      node.text = "";
      node.children = content;
    }
    push(out, node);
  }

  function structure(element, tag, role, box, inner, out) {
    const dialog = role === "dialog" || role === "alertdialog" || element === cover;
    if (dialog) inner.dialog = { __proto__: null, element, around: inner.dialog, node: null };
    const kept = dialog || KEPT[role];
    const text = role === "listitem" || role === "heading" || role === "cell" || role === "row" || role === "columnheader" || role === "gridcell" || role === "rowheader" || role === "article" ? "" : nameOf(element, tag, role);
    const items = list();
    const above = heading;
    children(element, tag, box, inner, items);
    if (!kept && !text) {
      for (let i = 0; i < items.length; i++) push(out, items[i]);
      return;
    }
    const content = gather(items);
    const node = new Spot(dialog ? "dialog" : role === "gridcell" ? "cell" : role, text, touches(box, inner.clip), content);
    if (role === "heading") {
      node.level = +attribute(element, "aria-level") || +cut(tag, 1) || 2;
      if (!content.length) return;
      heading = wordsOf(content) || above;
    }
    if (dialog) {
      inner.dialog.node = node;
      push(open, inner.dialog);
    }
    if (role === "row" && !simple(content)) {
      for (let i = 0; i < content.length; i++) spread(content[i], out);
      return;
    }
    if (role === "table" && !hasRow(content)) return void pushAll(content, out);
    if (role === "listitem" && content.length === 1 && content[0].n) return void push(out, content[0]);
    if (!content.length && role !== "cell" && role !== "columnheader" && role !== "gridcell" && role !== "rowheader" && !dialog) return;
    if (content.length === 1 && !node.text && !content[0].role) {
      node.text = content[0].text;
      node.children = undefined;
    }
    push(out, node);
    push(out, lines);
  }

  function pushAll(content, out) {
    for (let i = 0; i < content.length; i++) {
      push(out, lines);
      push(out, content[i]);
    }
    push(out, lines);
  }

  /** The content of a cell in place of the cell. */
  function spread(node, out) {
    if (node.role !== "cell" && node.role !== "columnheader" && node.role !== "rowheader") return void pushAll([node], out);
    if (node.children) pushAll(node.children, out);
    else if (node.text) pushAll([new Spot(undefined, node.text, node.seen)], out);
  }

  /** A row whose cells fit on one line: no tables, lists or headings in them, and no cell with many parts. */
  function simple(cells) {
    for (let i = 0; i < cells.length; i++) {
      const parts = cells[i].children;
      if (!parts) continue;
      if (parts.length > 4) return false;
      for (let j = 0; j < parts.length; j++) {
        const part = parts[j];
        if (part.role && part.role !== "paragraph" && part.role !== "img" && !part.n) return false;
        if (part.n && part.children && part.children.length > 1) return false;
      }
    }
    return true;
  }

  function hasRow(content) {
    for (let i = 0; i < content.length; i++) {
      if (content[i].role === "row" || (content[i].children && content[i].role !== "table" && hasRow(content[i].children))) return true;
    }
    return false;
  }

  function picture(element, tag, role, box, inner, out) {
    const text = inner.mute || !inner.visible ? "" : nameOf(element, tag, role);
    const seen = touches(box, inner.clip);
    if (role === "progressbar" || role === "meter") {
      const value = attribute(element, "aria-valuetext") || attribute(element, "aria-valuenow") || attribute(element, "value") || "";
      push(out, new Spot("progressbar", tidy(text + " " + value), seen));
      return;
    }
    const before = elements.length;
    const items = list();
    if (tag === "svg") children(element, tag, box, inner, items);
    if (elements.length > before || (tag === "svg" && items.length && !text)) {
      for (let i = 0; i < items.length; i++) push(out, items[i]);
    } else if (text) push(out, new Spot("img", text, seen));
  }

  /** A part of a drawing that is big enough to mean something. */
  function shape(element, tag, box, inner, out) {
    const said = tag === "text" ? textOf(element, 100) + " " : "";
    const fill = paintOf(element);
    if (inner.visible && !inner.mute) push(out, new Spot("img", tidy(`${said}${tag} ${fill} ${round(box.width)}×${round(box.height)}`), touches(box, inner.clip)));
  }

  function frame(element, box, inner, out) {
    if (box.width <= 1 || box.height <= 1 || !inner.visible) return;
    const left = box.left + element.clientLeft + (parseFloat(css(styleOf(element), "padding-left")) || 0);
    const top = box.top + element.clientTop + (parseFloat(css(styleOf(element), "padding-top")) || 0);
    const number = numberOf(element);
    const part = intersection(inner.clip, box);
    push(frames, {
      __proto__: null, number, at: elements.length, left, top, inert: !!inner.inert, dialog: inner.dialog,
      clip: numbersOf(part.left - left, part.top - top, part.width, part.height),
    });
    push(out, lines);
    const spot = new Spot("frame", tidy(attribute(element, "title") || attribute(element, "aria-label") || ""), touches(box, inner.clip));
    spot.frame = number;
    push(out, spot);
    push(out, lines);
  }

  function areas(element, scope, out) {
    const image = query(here, `img[usemap="#${escape(attribute(element, "name") || "")}"]`);
    if (!image) return;
    const box = rectOf(image);
    eachChild(element, "map", (child) => {
      if (nodeType(child) !== 1 || localName(child) !== "area" || !has(child, "href")) return;
      const inner = new Scope(scope);
      const record = describe(child, "area", "link", "link", box, inner);
      push(out, new Spot("link", record.name || "", record.seen, undefined, record.number));
    });
  }

  /** The record of an element that can be acted on; what is as usual is left out. */
  function describe(element, tag, role, kind, box, inner) {
    const held = tag === "label" && kind !== "clickable" ? controlOf(element) : element; // a label that stands for its hidden control
    const heldTag = held === element ? tag : localName(held);
    const number = numberOf(element);
    const record = new Record(number, kind, tag, numbersOf(round(box.left), round(box.top), round(box.width), round(box.height)), touches(box, inner.clip));
    const name = held === element ? nameOf(element, tag, CONTENT[kind] ? kind : role) : nameOf(held, heldTag, kind) || textOf(element, 300);
    if (name) record.name = name;
    if (heldTag === "input") record.kind = inputType(held);
    else if (heldTag === "button") record.kind = lower(attribute(held, "type") || "submit");
    const label = labelText(held, heldTag) || tidy(attribute(held, "placeholder") || "");
    if (label && label !== name) record.label = short(label, 100);
    else if (!name || isSvg(element)) record.label = hintOf(element, tag);
    const value = contentOf(held, heldTag, kind, record);
    if (value) record.value = short(value, 2000);
    if (hrefOf[tag] && kind === "link" && !isSvg(element)) record.href = hrefOf[tag](element);
    else if (has(held, "formaction")) record.href = resolve(attribute(held, "formaction"));
    const complete = attribute(held, "autocomplete");
    if (complete) record.autocomplete = lower(trim(complete));
    const owner = ownerForm[heldTag] ? ownerForm[heldTag](held) : closest(element, "form");
    if (owner) record.form = formOf(owner);
    const states = statesOf(held, heldTag);
    if (record.filled) push(states, "filled");
    record.filled = undefined;
    if (held === active || element === active) push(states, "focused");
    if (states.length) record.states = states;
    record.dialog = inner.dialog;
    push(elements, record);
    mapSet(records, number, record);
    return record;
  }

  function contentOf(element, tag, kind, record) {
    if (tag === "input") {
      const type = inputType(element);
      if (type === "password") {
        record.filled = valueOf.input(element) !== "";
        return "";
      }
      if (type === "file") {
        const files = filesOf(element);
        let names = "";
        for (let i = 0; files && i < files.length; i++) names += (i ? ", " : "") + files[i].name;
        return names;
      }
      const choices = listOf(element);
      if (choices) {
        record.options = list();
        for (let child = firstChild(choices); child && record.options.length < 200; child = nextSibling(child)) {
          if (nodeType(child) === 1 && localName(child) === "option") push(record.options, attribute(child, "value") || textOf(child, 100));
        }
      }
      return INPUTS[type] === "button" || type === "checkbox" || type === "radio" ? "" : valueOf.input(element);
    }
    if (tag === "textarea") return valueOf.textarea(element);
    if (tag === "select") {
      const all = optionsOf(element);
      record.options = list();
      let chosen = "";
      for (let i = 0; i < all.length; i++) {
        const text = tidy(optionText(all[i]));
        if (record.options.length < 1000) push(record.options, text);
        if (optionChosen(all[i])) chosen += (chosen ? ", " : "") + text;
      }
      return chosen;
    }
    if (kind === "textbox" || kind === "searchbox") return textOf(element, 2000);
    if (kind === "slider" || kind === "spinbutton" || kind === "scrollbar") return attribute(element, "aria-valuetext") || attribute(element, "aria-valuenow") || "";
    return kind === "combobox" ? textOf(element, 200) : "";
  }

  function statesOf(element, tag) {
    const states = list();
    const aria = (key) => attribute(element, "aria-" + key);
    const note = (state, holds) => { if (holds) push(states, state); };
    note("disabled", aria("disabled") === "true" || ((valueOf[tag] || tag === "fieldset") && matches(element, ":disabled")));
    const type = tag === "input" ? inputType(element) : "";
    note("checked", type === "checkbox" || type === "radio" ? checkedOf(element) : aria("checked") === "true");
    note("selected", aria("selected") === "true");
    const expanded = tag === "summary" && isSummary(element) ? String(has(parentNode(element), "open")) : aria("expanded");
    note("expanded", expanded === "true");
    note("collapsed", expanded === "false");
    note("required", aria("required") === "true" || (tag !== "button" && valueOf[tag] && has(element, "required")));
    note("readonly", aria("readonly") === "true" || ((tag === "input" || tag === "textarea") && has(element, "readonly")));
    const invalid = aria("invalid");
    note("invalid", (invalid && invalid !== "false") || (valueOf[tag] && matches(element, ":user-invalid")));
    note("pressed", aria("pressed") === "true");
    return states;
  }

  function formOf(form) {
    let number = mapGet(formNumbers, form);
    if (number) return number;
    number = numberOf(form);
    mapSet(formNumbers, form, number);
    push(forms, {
      __proto__: null, number, action: formAction(form), method: lower(formMethod(form)),
      name: nameOf(form, "form", "form") || heading, text: textOf(form, 500),
    });
    return number;
  }

  // ---- Lines, words, surroundings.

  /** Items between breaks become lines: a text, an element, or a paragraph of both. */
  function gather(items) {
    const content = list();
    let line = list();
    const flush = () => {
      if (line.length === 1) {
        const only = line[0];
        const told = only.role || only.n;
        if (!told) only.text = tidy(only.text);
        if (told || only.text) push(content, only);
        line = list();
        return;
      }
      const parts = list();
      let words = false;
      let seen = false;
      for (let i = 0; i < line.length; i++) {
        const item = line[i];
        const last = parts.length ? parts[parts.length - 1] : null;
        if (item.role || item.n) push(parts, item);
        else if (last && !last.role && !last.n) {
          last.text += item.text;
          last.seen ||= item.seen;
        } else push(parts, new Spot(undefined, item.text, item.seen));
      }
      const kept = list();
      for (let i = 0; i < parts.length; i++) {
        const part = parts[i];
        if (!part.role && !part.n) {
          part.text = tidy(part.text);
          if (!part.text) continue;
          words = true;
        }
        seen ||= part.seen;
        push(kept, part);
      }
      if (words && kept.length > 1) push(content, new Spot("paragraph", undefined, seen, kept));
      else for (let i = 0; i < kept.length; i++) push(content, kept[i]);
      line = list();
    };
    for (let i = 0; i < items.length; i++) {
      if (items[i] === lines) flush();
      else push(line, items[i]);
    }
    flush();
    return content;
  }

  /** All words of nodes in a row; without those of elements where `plain`. */
  function wordsOf(content, plain) {
    let text = "";
    for (let i = 0; i < content.length && text.length < 600; i++) {
      const node = content[i];
      if (node.text && !(plain && node.n)) text += (text ? " " : "") + node.text;
      if (node.children && !(plain && node.n)) {
        const more = wordsOf(node.children, plain);
        if (more) text += (text ? " " : "") + more;
      }
    }
    return text;
  }

  function onlyControls(content) {
    const kept = list();
    for (let i = 0; i < content.length; i++) {
      if (content[i].n || content[i].frame) push(kept, content[i]);
      else if (content[i].children) {
        const inside = onlyControls(content[i].children);
        for (let j = 0; j < inside.length; j++) push(kept, inside[j]);
      }
    }
    return kept;
  }

  function acts(content) {
    for (let i = 0; i < content.length; i++) if (content[i].n || (content[i].children && acts(content[i].children))) return true;
    return false;
  }

  /** Give each element the text before it, else the text after it, else leave it to the level above. */
  function surround(nodes) {
    let waiting = list();
    let before = "";
    let fresh = true;
    for (let i = 0; i < nodes.length; i++) {
      const node = nodes[i];
      const record = node.n && mapGet(records, node.n);
      const mine = node.children ? surround(node.children) : list();
      if (record) push(mine, record);
      if (mine.length) {
        fresh = true;
        for (let j = 0; j < mine.length; j++) {
          if (before) mine[j].near = before.length > 100 ? "…" + cut(before, -99) : before;
          else push(waiting, mine[j]);
        }
      }
      const text = record || (node.children && acts(node.children)) ? "" : wordsOf([node]);
      if (!text) {
        fresh ||= !!node.children;
        continue;
      }
      before = fresh || node.role === "heading" ? text : before + " " + text;
      fresh = false;
      for (let j = 0; j < waiting.length; j++) waiting[j].near = short(before, 100);
      waiting = list();
    }
    return waiting;
  }

  // ---- Dialogs.

  /** The dialog that is on top of everything else in this document. */
  function topmost() {
    let top = null;
    for (let i = 0; i < open.length; i++) {
      const { element } = open[i];
      if (element !== cover && !matches(element, ":modal") && attribute(element, "aria-modal") !== "true") continue;
      const box = rectOf(element);
      const hit = hitAt((max(box.left, 0) + min(box.right, window.innerWidth)) / 2, (max(box.top, 0) + min(box.bottom, window.innerHeight)) / 2);
      if (hit && inside(hit, element)) top = open[i];
    }
    return top;
  }

  function marks() {
    const top = dialogs === "none" ? topmost() : null;
    const holds = (dialog) => {
      for (let one = dialog; one; one = one.around) if (one === top) return true;
      return false;
    };
    if (top) top.node.modal = true;
    for (let i = 0; i < elements.length; i++) {
      if (dialogs === "inside" || (top && holds(elements[i].dialog))) elements[i].modal = true;
      elements[i].dialog = undefined;
    }
    for (let i = 0; i < frames.length; i++) {
      frames[i].dialogs = dialogs !== "none" ? dialogs : !top ? "none" : holds(frames[i].dialog) ? "inside" : "outside";
      delete frames[i].dialog;
    }
  }

  const scope = new Scope({
    clip, selectors: list(), visible: true, mute: false, inert: false, pointer: false, control: false, pre: false, drawing: false, dialog: null,
    box: rectOf(documentElement(here)),
  });
  listens(here, scope.selectors);
  const items = list();
  const root = documentElement(here);
  if (root) visit(root, scope, items);
  const nodes = gather(items);
  surround(nodes);
  for (let i = wrappers.length - 1; i >= 0; i--) {
    wrappers[i].near = mapGet(records, wrappers[i].inner).near;
    wrappers[i].inner = undefined;
  }
  marks();
  const scroller = scrollingElement(here) || root;
  return stringify({
    __proto__: null, id, title: titleOf(here), nodes, elements, forms, frames, cut: count > limit,
    url: starts(location.href, "about:") && origin !== "null" ? origin + "/" : location.href,
    width: window.innerWidth, height: window.innerHeight,
    above: round(scrollY), below: max(0, round(scroller.scrollHeight - window.innerHeight - scrollY)),
  });
}
