"""Which controls can't be taken back: pay, order, send, publish, delete, transfer, agree to terms, hand over passwords.

Decided by code from what the page shows: role and name of the control, its form, the dialog that it is in. A page can
name its controls as it likes, but it gains nothing by that: what a click does on its own origin its scripts could do
without one. This is for honest pages, and agents misled by what stands on them. Knows no browser and no policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from llmos.tools.browser.control_words import (
    AGREES,
    COOKIES,
    ENTERS,
    FINAL,
    SUBMITS,
    SURE,
    TERMS,
    WRITES,
    Kind,
    about,
    plain,
    stated,
)
from llmos.tools.browser.elements import Element, Form, Node, Observation

_FIELDS = frozenset({"textbox", "searchbox", "spinbutton", "combobox", "listbox", "slider"})
_TICKED = frozenset({"checkbox", "switch", "menuitemcheckbox"})
_PASSIVE = frozenset({"radio", "tab", "menuitemradio", "row", "columnheader", "rowheader"})
_BUTTONS = frozenset({"button", "menuitem"})
_ACTS = re.compile(r"(?:delete|remove|destroy|buy|pay|purchase|send|publish|transfer|confirm|cancel)")
_CARD = re.compile(
    r"\b(?:card number|credit card|debit card|security code|cvc|cvv|iban|kartennummer|kreditkarte|numero de carte"
    r"|carte bancaire|numero de (?:la )?tarjeta|tarjeta de credito|numero (?:della )?carta|carta di credito)\b"
)
_MESSAGE = re.compile(
    r"\b(?:messages?|comments?|reply|chat|post|tweet|nachricht|kommentar|antwort|commentaire|mensaje|comentario"
    r"|messaggio|commento)\b"
)
_CHOICE = frozenset({"go", "apply", "run", "los", "ausfuhren", "ir", "vai", "appliquer", "aplicar", "applica", "ok"})

_SIGN = r"(?:[€$£¥₹]|\b(?:EUR|USD|GBP|CHF|JPY|CAD|AUD|SEK|NOK|DKK|PLN|INR|Fr\.))"
_FIGURE = r"\d(?:[\d.,'\u2019\u00a0\u202f]*\d)?(?:[.,]-)?"
_AMOUNT = re.compile(rf"-?\s?{_SIGN}\s?{_FIGURE}|{_FIGURE}[ \u00a0\u202f]?{_SIGN}", re.IGNORECASE)
_SURE_TOTAL = re.compile(
    r"\b(?:grand total|order total|total due|amount due|total to pay|amount to pay|total amount|total price|you pay"
    r"|gesamtsumme|gesamtbetrag|gesamtpreis|endbetrag|endsumme|zu zahlen|zahlbetrag|rechnungsbetrag|total ttc"
    r"|montant total|a payer|net a payer|total a pagar|importe total|totale ordine|totale da pagare|importo totale)\b"
)
_TOTAL = re.compile(r"\b(?:total|sum|gesamt|summe|betrag|amount|montant|totale|importe|importo|somme|suma)\b")
_PART = re.compile(r"\b(?:sub ?totals?|zwischensumme|teilsumme|sous total|subtotale|saved|savings|ersparnis)\b")


@dataclass(frozen=True, slots=True)
class Commit:
    """What a control does that can't be taken back.

    Attributes:
        kind: What it is.
        why: By what it was recognized; continues "It can't be taken back: ".
    """

    kind: Kind
    why: str


def clicking(page: Observation, ref: str) -> Commit | None:
    """What can't be taken back about clicking an element; None if nothing is known."""
    element = page.elements.get(ref)
    if element is None or "disabled" in element.states or element.kind in ("reset", "file", "color"):
        return None
    if element.role in _FIELDS or element.tag in ("select", "textarea", "option"):
        return None
    around = _Around(page, element)
    if element.role in _TICKED or element.kind == "checkbox":
        return _agreeing(element, around)
    if element.role in _PASSIVE or element.kind == "radio":
        return None
    return (
        _named(element, around) or _agreeing(element, around) or _beside(element, around) or _handing(element, around)
    )


def submitting(page: Observation, ref: str) -> Commit | None:
    """What can't be taken back about pressing Enter in a field; None if nothing is known."""
    element = page.elements.get(ref)
    if element is None:
        return None
    around = _Around(page, element)
    button = around.button()
    if button is not None and (found := clicking(page, button.ref)) is not None:
        return found
    if around.private() and button is None:
        return Commit("log in", "what it sends has a password or a card in it")
    says = plain(f"{element.name} {element.label}")
    if button is None and _is_long(element) and _MESSAGE.search(says):
        return Commit("send", f"Enter sends what is written in {element.name!r}")
    return None


def pressing(page: Observation, keys: str, ref: str = "") -> Commit | None:
    """What can't be taken back about pressing keys on an element, or on what has the focus.

    Args:
        page: As it is.
        keys: With blanks between, such as `Enter` or `Control+Enter`.
        ref: Of the element; empty for that with the focus.
    """
    focused = (one.ref for one in page.elements.values() if "focused" in one.states)
    element = page.elements.get(ref or next(focused, ""))
    if element is None:
        return None
    is_field = element.role in _FIELDS or element.tag in ("input", "textarea")
    for pressed in keys.split():
        *_, key = pressed.split("+")
        if key in ("Enter", "NumpadEnter"):
            if not is_field or element.kind in ("submit", "button", "image"):
                found = clicking(page, element.ref)
            elif element.tag == "textarea" and "+" not in pressed and not _MESSAGE.search(plain(element.name)):
                found = None  # a line break
            else:
                found = submitting(page, element.ref)
        elif key in ("Space", " ") and (not is_field or element.kind in ("submit", "button", "image", "checkbox")):
            found = clicking(page, element.ref)
        else:
            found = None
        if found is not None:
            return found
    return None


def choosing(page: Observation, ref: str, options: Sequence[str]) -> Commit | None:
    """What can't be taken back about choosing from a list that the page has made itself: its options are clicked."""
    element = page.elements.get(ref)
    if element is None or element.tag == "select":
        return None
    wanted = {plain(option) for option in options}
    for one in page.elements.values():
        if plain(one.name) in wanted and one.role in ("menuitem", "option", "listitem", "treeitem"):
            kind, _ = stated(one.name, words=6)
            if kind is not None:
                return Commit(kind, f"it says {one.name!r}")
    return clicking(page, ref)


def contents(page: Observation, ref: str, *, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """What would be handed over with a control: the fields of its form by their names, passwords as dots.

    Without a form, the fields of the document that it is in.

    Args:
        page: As it is.
        ref: Of the control.
        known: By reference of a field, what is shown in place of what stands there, such as a secret's handle.
    """
    element = page.elements.get(ref)
    found: dict[str, str] = {}
    if element is None:
        return found
    for field in _Around(page, element).fields:
        if (value := _value(field)) == "":
            continue
        value = (known or {}).get(field.ref, value)
        name = field.name or field.label or field.ref
        while name in found:
            name = f"{name} ({field.ref})"
        found[name] = value
    return found


def button_of(page: Observation, ref: str) -> Element | None:
    """The button that Enter presses in a field; None if there is none."""
    element = page.elements.get(ref)
    return _Around(page, element).button() if element is not None else None


def goes_to(page: Observation, ref: str) -> str:
    """Where the form of a control is sent, or its link leads: an absolute URL; empty if that is not known."""
    element = page.elements.get(ref)
    if element is None:
        return ""
    form = page.forms.get(element.form)
    return form.action if form is not None else element.href


def total(page: Observation, ref: str = "") -> str:
    """The amount to be paid, as the page shows it: on the control itself, or beside a word for a total; else empty."""
    element = page.elements.get(ref)
    if element is not None and (found := _AMOUNT.search(element.name)):
        return _tidy(found[0])
    best, score = "", 0
    pieces = list(_pieces(page.root, page.elements))
    for place, piece in enumerate(pieces):
        says = plain(piece)
        worth = 2 if _SURE_TOTAL.search(says) else 1 if _TOTAL.search(says) else 0
        if worth < max(score, 1) or (_PART.search(says) and worth < 2) or len(piece) > 300:
            continue
        if amount := _amount_after(pieces, place):
            best, score = amount, worth
    return best


class _Around:
    """What belongs to a control: its form, the fields that are sent with it, the words beside it."""

    def __init__(self, page: Observation, element: Element) -> None:
        self.page, self.element = page, element
        self.form: Form | None = page.forms.get(element.form) if element.form else None
        if self.form is not None:
            members = [page.elements[ref] for ref in self.form.fields if ref in page.elements]
            if not members:
                members = [one for one in page.elements.values() if one.form == element.form]
        else:
            members = [
                one
                for one in page.elements.values()
                if not one.form and one.frame == element.frame and one.modal == element.modal
            ]
        self.members = members
        self.fields = [one for one in members if _is_field(one)]

    def private(self, *, filled: bool = True) -> bool:
        """Whether a password or a card is among the fields, and not empty."""
        return any(_is_private(one) and (not filled or "filled" in one.states or one.value) for one in self.fields)

    def button(self) -> Element | None:
        """The button that Enter presses: the first one of the form that submits it."""
        if self.form is None:
            return None
        for one in self.members:
            if one.kind in ("submit", "image") or (one.tag == "button" and not one.kind):
                return one
        return None

    def words(self) -> str:
        """What stands around: in the dialog, or the form; else close by."""
        if self.element.modal:
            return " ".join(_modal(self.page.root, self.page.elements))[:2_000]
        if self.form is not None:
            return f"{self.form.name} {self.form.text} {self.element.near}"
        return self.element.near

    def sends(self) -> bool:
        """Whether the form hands something over, and doesn't only search."""
        return self.form is not None and self.form.method != "get"

    def written(self) -> bool:
        """Whether somebody has written more than a word here."""
        return any(_is_long(one) and one.value.strip() for one in self.fields)


def _named(element: Element, around: _Around) -> Commit | None:
    """By its name."""
    name = element.name or (element.value if element.tag == "input" else "") or element.label
    is_link = element.role == "link"
    kind, plainly = stated(name, words=6 if element.role in _BUTTONS else 4)
    if kind is not None and (plainly or not (is_link and _only_leads(element, around.page.url))):
        searches = around.form is not None and around.form.method == "get" and _searches(around)
        if plainly or not (kind == "send" and searches):
            return Commit(kind, f"it says {_short(name)}")
    if plain(name) in WRITES and not is_link and around.written():
        return Commit("send", f"it says {_short(name)}, and something is written there")
    return None


def _agreeing(element: Element, around: _Around) -> Commit | None:
    """By agreeing to terms."""
    if "checked" in element.states or element.role == "link":
        return None
    own = plain(f"{element.name} {element.label}")
    ticked = element.role in _TICKED or element.kind == "checkbox"
    if not AGREES.search(own) or len(own) > 600:
        return None
    beside = plain(element.near if ticked else around.words())
    if TERMS.search(own) or (TERMS.search(beside) and not COOKIES.search(f"{own} {beside}")):
        return Commit("agree", f"it agrees to terms: {_short(element.name)}")
    return None


def _beside(element: Element, around: _Around) -> Commit | None:
    """By the words beside a button that itself only says yes, or nothing."""
    name = plain(element.name or (element.value if element.tag == "input" else ""))
    submits = element.kind in ("submit", "image")
    if element.role == "link" or not (name in SUBMITS or (name == "" and submits)):
        return None
    if name in _CHOICE:
        for field in around.fields:
            kind = stated(field.value, words=6)[0] if field.role in ("combobox", "listbox") else None
            if kind is not None:
                return Commit(kind, f"{_short(field.value)} is chosen")
    words = around.words()
    kind = about(words)
    if kind is None or (name in _CHOICE and not element.modal) or COOKIES.search(plain(words)):
        return None
    final = FINAL.search(plain(words)) or SURE.search(plain(words))
    if kind == "send" and not final and not around.written():
        return None
    if final or element.modal or (around.sends() and not _searches(around)):
        return Commit(kind, f"it says {_short(element.name)}, and beside it {_short(words)}")
    return None


def _handing(element: Element, around: _Around) -> Commit | None:
    """By a password or a card among the fields that it sends."""
    if element.role == "link" and _only_leads(element, around.page.url):
        return None
    name = plain(element.name or (element.value if element.tag == "input" else ""))
    enters = name in ENTERS or name in SUBMITS or any(name.startswith(f"{word} ") for word in ("log in", "sign in"))
    submits = around.form is not None and (element.kind in ("submit", "image") or not (element.kind or name))
    if (enters and around.private(filled=False)) or (submits and around.private()):
        return Commit("log in", "what it sends has a password or a card in it")
    return None


def _only_leads(element: Element, url: str) -> bool:
    """Whether a link only leads to another page, as far as its address shows."""
    try:
        link, here = urlsplit(element.href), urlsplit(url)
    except ValueError:
        return False
    if link.scheme not in ("http", "https") or link.query:
        return False
    if (link.netloc, link.path) == (here.netloc, here.path):
        return False
    parts = [part.lower() for part in link.path.split("/") if part]
    acts = any(_ACTS.fullmatch(part) for part in parts)
    return not (acts and any(any(char.isdigit() for char in part) for part in parts))


def _searches(around: _Around) -> bool:
    """Whether a form looks like a search: few fields, none of them long or private."""
    if any(_is_long(one) or _is_private(one) for one in around.fields):
        return False
    says = plain(" ".join([around.element.name, *(f"{one.name} {one.label} {one.role}" for one in around.fields)]))
    return re.search(r"\b(?:search\w*|such\w*|find|filter\w*|recherche\w*|busca\w*|cerca|sort)\b", says) is not None


def _is_field(element: Element) -> bool:
    if element.kind in ("submit", "button", "reset", "image", "hidden"):
        return False
    return element.role in _FIELDS or element.tag in ("input", "select", "textarea") or element.role in _TICKED


def _is_long(element: Element) -> bool:
    """Whether a field takes more than a line."""
    return element.tag == "textarea" or (element.role == "textbox" and element.tag not in ("input", ""))


def _is_private(element: Element) -> bool:
    """Whether a field is for a password or a card."""
    if element.kind == "password" or element.autocomplete.startswith(("cc-", "current-password", "new-password")):
        return True
    return element.tag == "input" and _CARD.search(plain(f"{element.name} {element.label}")) is not None


def _value(field: Element) -> str:
    """What stands in a field, for a person."""
    if field.kind == "password" or "filled" in field.states:
        return "•••" if "filled" in field.states else ""
    if field.role in _TICKED or field.kind in ("checkbox", "radio"):
        return "yes" if "checked" in field.states else ""
    return field.value


def _modal(nodes: Sequence[Node], elements: Mapping[str, Element]) -> Iterator[str]:
    """What the dialog on top says."""
    for node in nodes:
        if node.modal:
            yield from _pieces((node,), elements)
        else:
            yield from _modal(node.children, elements)


def _pieces(nodes: Sequence[Node], elements: Mapping[str, Element]) -> Iterator[str]:
    """The texts of a page in their order."""
    for node in nodes:
        element = elements.get(node.ref) if node.ref else None
        text = node.text or (element.name if element is not None else "")
        if text:
            yield text
        if element is not None and element.value and element.kind != "password":
            yield element.value
        yield from _pieces(node.children, elements)


def _amount_after(pieces: Sequence[str], place: int) -> str:
    """The amount that belongs to a word for a total: in the same text after it, or in one of the next three."""
    own = list(_AMOUNT.finditer(pieces[place]))
    if own:
        return _tidy(own[-1][0])
    for piece in pieces[place + 1 : place + 4]:
        if found := _AMOUNT.search(piece):
            return _tidy(found[0])
        if _TOTAL.search(plain(piece)):
            break
    return ""


def _tidy(amount: str) -> str:
    return " ".join(amount.split())


def _short(text: str) -> str:
    said = " ".join(text.split())
    return repr(said if len(said) <= 60 else f"{said[:59]}…")
