// Roles and names: a subset of W3C's "Accessible Name and Description Computation 1.2", and hints for what has no name.

const ACTED = set("button link checkbox radio switch tab menuitem menuitemcheckbox menuitemradio option combobox textbox searchbox slider spinbutton treeitem scrollbar");
const KEPT = set("heading list listitem table row cell gridcell columnheader rowheader dialog alertdialog alert");
const NAMED = set("navigation main banner contentinfo complementary region form search group radiogroup toolbar menu menubar listbox tree tablist tabpanel status log article figure");
const INPUTS = { __proto__: null, button: "button", submit: "button", reset: "button", image: "button", file: "button", checkbox: "checkbox", radio: "radio", range: "slider", number: "spinbutton", search: "searchbox" };
const TAGS = {
  __proto__: null, button: "button", textarea: "textbox", summary: "button", option: "option",
  h1: "heading", h2: "heading", h3: "heading", h4: "heading", h5: "heading", h6: "heading",
  ul: "list", ol: "list", menu: "list", li: "listitem", dl: "list",
  table: "table", tr: "row", td: "cell", th: "columnheader", dialog: "dialog",
  nav: "navigation", main: "main", aside: "complementary", section: "region", form: "form", search: "search",
  fieldset: "group", details: "group", figure: "figure", article: "article", img: "img", output: "status",
  progress: "progressbar", meter: "meter",
};
const CONTENT = set("button link checkbox radio switch tab menuitem menuitemcheckbox menuitemradio option treeitem heading cell gridcell columnheader rowheader tooltip clickable listitem");
const SKIPPED = set("script style noscript template head link meta title base datalist param source track optgroup option object embed colgroup defs clippath mask symbol lineargradient radialgradient desc metadata");
const ALIASES = { __proto__: null, grid: "table", treegrid: "table", directory: "list", image: "img", none: "", presentation: "", generic: "" };
const WHOLLY = { __proto__: null, visibilityProperty: true, opacityProperty: true };
const SHAPES = set("circle ellipse rect line polyline polygon path text");
const DRAWN = "circle, ellipse, rect, line, polyline, polygon, path";
const NAMING = set("legend caption figcaption");

function roleOf(element, tag) {
  const given = attribute(element, "role");
  if (given) {
    const words = split(lower(trim(given)), " ");
    for (let i = 0; i < words.length; i++) {
      const role = words[i] in ALIASES ? ALIASES[words[i]] : words[i];
      if (!role && (tag === "a" || valueOf[tag])) break; // what takes the focus can't hide its role
      if (!role || ACTED[role] || KEPT[role] || NAMED[role] || TAGS[role] || role === "img" || role === "tooltip" || role === "progressbar" || role === "meter") return role;
    }
  }
  if (tag === "input") return INPUTS[inputType(element)] || (listOf(element) ? "combobox" : "textbox");
  if (tag === "select") return has(element, "multiple") || +attribute(element, "size") > 1 ? "listbox" : "combobox";
  if ((tag === "a" || tag === "area") && has(element, "href")) return "link";
  return TAGS[tag] || "";
}

const rootIn = (element) => shadowOf(element) || weakGet(closedRoots, element);

function eachChild(element, tag, visit) {
  const root = rootIn(element);
  if (!root && tag === "slot") {
    const given = assignedNodes(element);
    if (given.length) {
      for (let i = 0; i < given.length; i++) visit(given[i]);
      return;
    }
  }
  for (let child = firstChild(root || element); child; child = nextSibling(child)) visit(child);
}

/** What an element says, images by their names; not what is hidden, and not what controls in it hold. */
function textOf(element, most, even_hidden) {
  let text = "";
  const add = (node) => {
    if (text.length > most) return;
    const type = nodeType(node);
    if (type === 3) text += nodeValue(node);
    if (type !== 1) return;
    const tag = localName(node);
    if (SKIPPED[tag]) return;
    if (tag === "select" || tag === "textarea") return void (text += " ");
    if (tag === "br") text += " ";
    const style = styleOf(node);
    const display = css(style, "display");
    if (!even_hidden && (display === "none" || css(style, "visibility") !== "visible" || attribute(node, "aria-hidden") === "true")) return;
    const label = tidy(attribute(node, "aria-label") || "");
    const apart = starts(display, "inline") || display === "contents" ? "" : " ";
    text += apart;
    if (label) text += label;
    else if (tag === "img") text += " " + (attribute(node, "alt") ?? attribute(node, "title") ?? "") + " ";
    else if (tag === "svg") text += " " + svgName(node) + " ";
    else if (tag === "input") text += INPUTS[inputType(node)] === "button" ? " " + valueOf.input(node) + " " : " ";
    else eachChild(node, tag, add);
    text += apart;
  };
  eachChild(element, localName(element), add);
  return short(tidy(text), most);
}

function svgName(element) {
  let text = "";
  for (let child = firstChild(element); child; child = nextSibling(child)) {
    if (nodeType(child) !== 1) continue;
    if (localName(child) === "title") return tidy(nodeValue(firstChild(child) || child) || "");
    if (localName(child) === "text") text += " " + textOf(child, 100);
  }
  return tidy(text);
}

function childText(element, tag) {
  for (let child = firstChild(element); child; child = nextSibling(child)) {
    if (nodeType(child) === 1 && localName(child) === tag) return textOf(child, 300);
  }
  return "";
}

function labelText(element, tag) {
  const labels = labelsOf[tag] && labelsOf[tag](element);
  let text = "";
  for (let i = 0; labels && i < listLength(labels); i++) text += " " + (tidy(attribute(labels[i], "aria-label") || "") || textOf(labels[i], 300, true));
  return tidy(text);
}

function nameOf(element, tag, role) {
  const by = attribute(element, "aria-labelledby");
  if (by) {
    const root = rootOf(element);
    const find = byId[nodeType(root) === 9 ? 0 : 1];
    const ids = split(trim(by), /\s+/);
    let text = "";
    for (let i = 0; i < ids.length; i++) {
      const target = find(root, ids[i]);
      if (target) text += " " + (tidy(attribute(target, "aria-label") || "") || ownText(target) || textOf(target, 300, true));
    }
    if (tidy(text)) return short(tidy(text), 300);
  }
  const label = tidy(attribute(element, "aria-label") || "");
  if (label) return short(label, 300);
  const own = ownText(element, tag) || labelText(element, tag);
  if (own) return short(own, 300);
  let text = "";
  if (isSvg(element) && tag !== "text" && tag !== "a") text = svgName(element) || (CONTENT[role] ? textOf(element, 300) : "");
  else if (tag === "fieldset") text = childText(element, "legend");
  else if (tag === "table") text = childText(element, "caption");
  else if (tag === "figure") text = childText(element, "figcaption");
  else if (tag === "details") text = "";
  else if (CONTENT[role]) text = textOf(element, 300);
  if (!text && tag === "input" && INPUTS[inputType(element)] === "button" && inputType(element) !== "button") {
    text = { __proto__: null, submit: "Submit", reset: "Reset", image: "Submit", file: "" }[inputType(element)];
  }
  text ||= tidy(attribute(element, "title") || "") || tidy(attribute(element, "placeholder") || attribute(element, "aria-placeholder") || "");
  return text || (CONTENT[role] ? painted(element) : "");
}

/** What an element says by an attribute of its own kind. */
function ownText(element, tag = localName(element)) {
  if (tag === "img" || tag === "area") return tidy(attribute(element, "alt") || "");
  if (tag !== "input") return "";
  const kind = inputType(element);
  if (kind === "image") return tidy(attribute(element, "alt") || "");
  return kind === "button" || kind === "submit" || kind === "reset" ? tidy(valueOf.input(element)) : "";
}

/** Text that a style sheet puts into an element that says nothing else. */
function painted(element) {
  let text = "";
  for (const side of ["::before", "::after"]) {
    const content = css(styleOf(element, side), "content");
    if (content[0] === '"') text += " " + cut(content, 1, -1);
  }
  return tidy(text);
}

/** The colour of a part of a drawing, in the page's own words if it has any; "" for black, which they have by default. */
function paintOf(element) {
  const fill = attribute(element, "fill") || css(styleOf(element), "fill");
  return fill === "rgb(0, 0, 0)" ? "" : fill;
}

/** The words of its class that its neighbour has not. */
function classOf(element, tag) {
  const words = attribute(element, "class") || "";
  const before = previousElement(element);
  const beside = before && localName(before) === tag ? before : nextElement(element);
  const theirs = beside && localName(beside) === tag ? " " + tidy(attribute(beside, "class") || "") + " " : "";
  const all = split(tidy(words), " ");
  let own = "";
  for (let i = 0; i < all.length; i++) if (!includes(theirs, " " + all[i] + " ")) own += " " + all[i];
  return own || words;
}

/** For what has no name: what else tells it from others. */
function hintOf(element, tag) {
  const words = list();
  const note = (text) => {
    const part = tidy(text || "");
    if (part && words.length < 4) push(words, short(part, 30));
  };
  if (isSvg(element)) {
    note(tag);
    note(paintOf(element));
  }
  note(attribute(element, "data-testid"));
  note(attribute(element, "name"));
  note(attribute(element, "id"));
  note(classOf(element, tag));
  if (tag === "input" && words.length === 0) note(attribute(element, "value"));
  const paint = has(element, "style") && element.style?.backgroundColor;
  if (paint) note(paint);
  if (tag === "img" && words.length === 0) note(cut(attribute(element, "src") || "", -30));
  let text = "";
  for (let i = 0; i < words.length; i++) text += (i ? " " : "") + words[i];
  return short(text, 60);
}
