"""Controls that can't be taken back, by what a page shows of them; and the many that can."""

from __future__ import annotations

from typing import Any

import pytest

from llmos.tools.browser.controls import (
    choosing,
    clicking,
    contents,
    goes_to,
    pressing,
    submitting,
    total,
)
from llmos.tools.browser.elements import Element, Form, Node, Observation

URL = "https://shop.example/here"


def element(ref: str, role: str = "button", name: str = "", **more: Any) -> Element:  # noqa: ANN401 - any field
    tags = {"button": "button", "link": "a", "textbox": "input", "checkbox": "input", "combobox": "select"}
    more.setdefault("tag", tags.get(role, "div"))
    more.setdefault("frame", URL)
    if "states" in more:
        more["states"] = frozenset(more["states"])
    return Element(ref=ref, role=role, name=name, **more)


def page(*elements: Element, form: Form | None = None, text: tuple[str, ...] = (), modal: str = "") -> Observation:
    """A page with some elements, a form that all of them of `form="f1"` are in, and texts."""
    nodes = [Node("", said) for said in text]
    if modal:
        nodes.append(Node("dialog", modal, modal=True))
    found = {one.ref: one for one in elements}
    forms = {form.key: form} if form else {}
    return Observation(url=URL, title="Page", root=tuple(nodes), elements=found, forms=forms)


def form(method: str = "post", *, name: str = "", text: str = "", fields: tuple[str, ...] = ()) -> Form:
    return Form(key="f1", action=f"{URL}/send", method=method, name=name, fields=fields, text=text)


COMMITS = [
    *("Pay now", "Pay $49.90", "Pay with card", "Confirm payment", "Donate", "Buy now", "Buy", "Place your order"),
    *("Place order", "Order now", "Submit order", "Complete purchase", "Confirm order", "Send", "Send message"),
    *("Send email", "SEND", "Send now \u27a4", "Post", "Post comment", "Publish", "Publish now", "Tweet", "Delete"),
    *("Delete account", "Delete message", "Yes, delete it", "Delete permanently", "\U0001f5d1 Delete", "Empty trash"),
    *("Erase all", "Cancel subscription", "Cancel order", "Close account", "Remove user", "Remove this file"),
    *("Transfer", "Transfer funds", "Send money", "Wire $500", "Withdraw", "Invite", "Submit application"),
    *("Continue and send", "Save and publish", "Review and pay"),
    *("Confirm transfer", "Sign contract", "Place bid", "Confirm booking", "Buy 2 tickets"),
    *("Zahlungspflichtig bestellen", "Jetzt kaufen", "Kostenpflichtig bestellen", "Bestellung abschicken", "Bezahlen"),
    *("Jetzt bezahlen", "Nachricht senden", "Absenden", "Abschicken", "Ver\u00f6ffentlichen", "L\u00f6schen"),
    *(
        "Konto l\u00f6schen",
        "Endg\u00fcltig l\u00f6schen",
        "Nachricht l\u00f6schen",
        "\u00dcberweisen",
        "K\u00fcndigen",
    ),
    *("Abo k\u00fcndigen", "Jetzt \u00fcberweisen", "Datei entfernen", "Verbindlich buchen"),
    *("Passer la commande", "Payer", "Payer maintenant", "Acheter", "Envoyer", "Envoyer le message", "Publier"),
    *("Supprimer", "Supprimer mon compte", "Valider la commande", "Effectuer le virement", "Commander"),
    *("Realizar pedido", "Comprar", "Comprar ahora", "Pagar", "Pagar ahora", "Enviar", "Enviar mensaje", "Publicar"),
    *("Eliminar", "Eliminar cuenta", "Borrar", "Confirmar compra", "Transferir", "Finalizar compra"),
    *("Effettua ordine", "Acquista ora", "Compra ora", "Paga", "Paga ora", "Invia", "Invia messaggio", "Pubblica"),
    *("Elimina", "Elimina account", "Conferma acquisto", "Conferma bonifico", "Trasferisci", "Ordina"),
]


@pytest.mark.parametrize("name", COMMITS)
@pytest.mark.parametrize("role", ["button", "clickable", "menuitem"])
def test_a_control_is_recognized_by_its_name(name: str, role: str) -> None:
    assert clicking(page(element("e1", role, name)), "e1") is not None


# what people click in a day on shops, mail, banks, boards, calendars: one hundred and more benign steps
BENIGN: list[tuple[str, str, str]] = [
    *(("button", name, "") for name in (
        "Search", "Find", "Go", "Apply filters", "Clear filters", "Reset", "Sort by price", "Order by date",
        "Sort order",
        "Add to cart", "Add to basket", "Add to bag", "Add to order", "Add to wishlist", "Remove", "Remove from cart",
        "Delete filter", "Remove filter", "Clear search", "Update cart", "View cart", "Checkout", "Proceed to checkout",
        "Continue", "Next", "Previous", "Back", "Cancel", "Close", "OK", "Yes", "No", "Save", "Save draft", "Edit",
        "Open", "Show more", "Load more", "Expand", "Collapse", "Menu", "Help", "Print", "Download", "Copy link",
        "Reply", "Forward", "Compose", "Archive", "Mark as read", "Star", "Share", "Comment", "Like", "Follow",
        "Accept all cookies", "Accept all", "Reject all", "Manage preferences", "Accept", "I agree", "Submit",
        "Sender", "Senders", "Send me a code", "Send verification code", "Send to back", "Postcode lookup", "Post code",
        "Buyer protection", "Payment methods", "Orders", "My orders", "Order history", "Order details", "Order status",
        "Purchase history", "Pay stubs", "Transfer history", "Today", "March 12", "12", "+", "-", "\u00d7", "Quantity",
        "Color: red", "Size 42", "Select all", "Choose file", "Log out", "Zoom in", "Play", "Pause", "Mute",
        "Suchen", "In den Warenkorb", "Filter l\u00f6schen", "Weiter", "Abbrechen", "Bestellungen",
        "Meine Bestellungen",
        "Absender", "Zur Kasse", "Alle akzeptieren", "Zahlen und Fakten", "Sortieren", "Speichern",
        "Rechercher", "Ajouter au panier", "Effacer les filtres", "Suivant", "Annuler", "Mes commandes",
        "Tout accepter",
        "Buscar", "A\u00f1adir al carrito", "Ordenar por", "Borrar filtros", "Siguiente", "Mis pedidos", "Aceptar",
        "Cerca", "Aggiungi al carrello", "Ordina per prezzo", "Cancella filtri", "Avanti", "I miei ordini", "Annulla",
    )),
    *(("link", name, f"https://shop.example/{path}") for name, path in (
        ("Send money", "money"), ("Transfers", "transfers"), ("Transfer", "transfer"), ("Pay bills", "bills"),
        ("Orders", "orders"), ("Delete", "help/delete"), ("Buy", "buy"), ("Post", "2027/post"),
        ("Send feedback", "feedback"),
        ("Publish", "docs/publish"), ("Invite friends", "friends"), ("Deleting your data", "privacy"),
        ("How to send a parcel in five easy steps", "blog/send"), ("Donate", "donate"),
    )),
    *(("clickable", name, "") for name in (
        "Delete your old phone numbers before Friday, please - from Security team",
        "Send the report to Anna by tomorrow and tell her about the trip",
        "Red shoes 49.90 Add to cart Free delivery tomorrow",
    )),
    *(("row", "Buy milk", ""), ("tab", "Send", ""), ("radio", "Pay by invoice", ""), ("textbox", "Send to", "")),
    *(("combobox", "Order", ""), ("searchbox", "Post or zip code", ""), ("checkbox", "Send me the newsletter", "")),
]  # fmt: skip


@pytest.mark.parametrize(("role", "name", "href"), BENIGN)
def test_what_can_be_taken_back_is_not_asked_about(role: str, name: str, href: str) -> None:
    assert clicking(page(element("e1", role, name, href=href)), "e1") is None


def test_there_are_as_many_benign_steps_as_the_rate_is_measured_over() -> None:
    assert len(BENIGN) >= 100


@pytest.mark.parametrize(
    ("name", "href"),
    [
        ("Buy now", "https://shop.example/checkout"),
        ("Delete", "https://shop.example/items/7/delete"),
        ("Delete", "https://shop.example/items?delete=7"),
        ("Send", "https://shop.example/here#"),
        ("Send", "javascript:send()"),
        ("Delete", ""),
        ("Place order", "https://shop.example/done"),
    ],
)
def test_a_link_that_does_something_is_no_mere_link(name: str, href: str) -> None:
    assert clicking(page(element("e1", "link", name, href=href)), "e1") is not None


def login(*, filled: bool = True, button: str = "Log in", kind: str = "submit", inside: str = "f1") -> Observation:
    states = ["filled"] if filled else []
    return page(
        element("e1", "textbox", "Name", form=inside, value="ann"),
        element("e2", "textbox", "Password", kind="password", form=inside, states=states),
        element("e3", "button", button, kind=kind, form=inside),
        element("e4", "button", "Show password", kind="button", form=inside),
        element("e5", "link", "Forgot password?", href="https://shop.example/forgot", form=inside),
        form=form(fields=("e1", "e2", "e3", "e4")) if inside else None,
    )


def test_a_password_is_handed_over_by_whatever_submits_it() -> None:
    for button in ("Log in", "Continue", "Weiter", "\u2192", "Search the site"):
        assert clicking(login(button=button), "e3") is not None
    assert clicking(login(filled=False), "e3") is not None
    assert clicking(login(button="Log in", kind="button", inside=""), "e3") is not None
    assert submitting(login(), "e2") is not None
    assert pressing(login(), "Enter", "e2") is not None
    assert pressing(login(), "Tab Enter", "e2") is not None
    assert clicking(login(), "e4") is None
    assert clicking(login(), "e5") is None
    assert clicking(login(filled=False, button="Search"), "e3") is None
    assert pressing(login(), "Tab", "e2") is None


def test_a_card_is_handed_over_by_whatever_submits_it() -> None:
    seen = page(
        element("e1", "textbox", "Card number", value="4111", autocomplete="cc-number", form="f1"),
        element("e2", "button", "Next", kind="submit", form="f1"),
        form=form(fields=("e1", "e2")),
    )
    assert clicking(seen, "e2") is not None


@pytest.mark.parametrize(
    ("name", "near", "expected"),
    [
        ("I accept the terms and conditions", "", True),
        ("Ich stimme den AGB zu", "", True),
        ("J'accepte les conditions g\u00e9n\u00e9rales", "", True),
        ("Acepto los t\u00e9rminos", "", True),
        ("Accetto i termini e le condizioni", "", True),
        ("I agree", "to the Terms of Service", True),
        ("I agree to receive the newsletter", "", False),
        ("Remember me", "Terms of Service", False),
        ("Accept cookies", "We use cookies. See our terms.", False),
    ],
)
def test_agreeing_to_terms_is_asked_about(name: str, near: str, expected: bool) -> None:
    box = element("e1", "checkbox", name, kind="checkbox", near=near)
    assert (clicking(page(box), "e1") is not None) is expected
    ticked = element("e1", "checkbox", name, kind="checkbox", near=near, states=["checked"])
    assert clicking(page(ticked), "e1") is None


@pytest.mark.parametrize(
    "name", ["Yes", "OK", "Confirm", "Ja", "Oui", "S\u00ed", "Conferma", "Yes, I'm sure", "Submit"]
)
def test_a_yes_does_what_the_dialog_asks(name: str) -> None:
    button = element("e1", "button", name, modal=True)
    for question in (
        "Delete 3 messages?",
        "Wirklich l\u00f6schen?",
        "Pay \u20ac 20 to the shop?",
        "Publish this article?",
    ):
        assert clicking(page(button, modal=question), "e1") is not None
    for question in ("Leave this page?", "Your session ends soon. Stay?", "We use cookies to delete your worries."):
        assert clicking(page(button, modal=question), "e1") is None


def test_submit_does_what_its_form_is_for() -> None:
    button = element("e9", "button", "Submit", kind="submit", form="f1")
    words = element("e1", "textbox", "Message", tag="textarea", value="Hello there", form="f1")
    assert clicking(page(button, form=form(text="Your order: 2 tickets")), "e9") is not None
    assert clicking(page(words, button, form=form(name="Contact us", text="Your message", fields=("e1", "e9"))), "e9")
    assert clicking(page(button, form=form(text="How did you like the colours?")), "e9") is None
    assert clicking(page(button, form=form("get", text="Search in your order history", name="Search")), "e9") is None
    sure = form("get", text="Are you sure that you want to delete it?")
    assert clicking(page(button, form=sure), "e9") is not None


def test_a_chosen_action_is_carried_out_by_go() -> None:
    go = element("e2", "button", "Go", kind="submit", form="f1")
    for value, expected in (("Delete selected users", True), ("Export selected users", False)):
        action = element("e1", "combobox", "Action", value=value, form="f1")
        assert (clicking(page(action, go, form=form(fields=("e1", "e2"))), "e2") is not None) is expected


def test_reply_sends_where_something_is_written_and_opens_an_editor_elsewhere() -> None:
    reply = element("e2", "button", "Reply", form="f1")
    for value, expected in (("Thank you!", True), ("", False)):
        box = element("e1", "textbox", "Your answer", tag="textarea", value=value, form="f1")
        assert (clicking(page(box, reply, form=form(fields=("e1", "e2"))), "e2") is not None) is expected


def test_enter_presses_the_buttons_of_forms_and_sends_what_is_written_in_chats() -> None:
    order = page(
        element("e1", "textbox", "Voucher", form="f1"),
        element("e2", "button", "Place order", kind="submit", form="f1"),
        form=form(fields=("e1", "e2")),
    )
    assert submitting(order, "e1") is not None
    assert pressing(order, "Enter", "e2") is not None
    assert pressing(order, "Space", "e2") is not None
    assert pressing(order, "Space", "e1") is None
    search = page(
        element("e1", "searchbox", "Search", tag="input", form="f1", states=["focused"]),
        element("e2", "button", "Search", kind="submit", form="f1"),
        form=form("get", fields=("e1", "e2")),
    )
    assert submitting(search, "e1") is None
    assert pressing(search, "Enter") is None
    chat = page(element("e1", "textbox", "Write a message", tag="div", value="Hi", states=["focused"]))
    assert pressing(chat, "Enter") is not None
    notes = page(element("e1", "textbox", "Notes", tag="textarea", value="Hi", form="f1"), form=form(fields=("e1",)))
    assert pressing(notes, "Enter", "e1") is None


def test_an_entry_of_a_menu_is_judged_by_its_name() -> None:
    seen = page(
        element("e1", "button", "Actions"), element("e2", "menuitem", "Delete"), element("e3", "menuitem", "Copy")
    )
    assert choosing(seen, "e1", ["Delete"]) is not None
    assert choosing(seen, "e1", ["Copy"]) is None


def test_a_person_is_shown_the_fields_without_passwords() -> None:
    seen = login()
    assert contents(seen, "e3") == {"Name": "ann", "Password": "\u2022\u2022\u2022"}
    assert contents(login(filled=False), "e3") == {"Name": "ann"}
    assert goes_to(seen, "e3") == f"{URL}/send"
    assert goes_to(seen, "e5") == f"{URL}/send"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("Subtotal", "$ 40.00", "Shipping", "$ 4.90", "Total", "$ 44.90"), "$ 44.90"),
        (("Total: \u20ac 1.234,50", "incl. VAT \u20ac 197,10"), "\u20ac 1.234,50"),
        (("Zwischensumme 40,00 \u20ac", "Gesamtsumme 44,90 \u20ac"), "44,90 \u20ac"),
        (("Total items", "3", "Amount due", "CHF 12.-"), "CHF 12.-"),
        (("Grand total", "$ 10.00", "Total savings", "$ 90.00"), "$ 10.00"),
        (("Montant total", "12,00 \u20ac"), "12,00 \u20ac"),
        (("Importe total: 30 EUR",), "30 EUR"),
        (("Totale ordine", "\u20ac 5,00"), "\u20ac 5,00"),
        (("Shoes", "$ 40.00"), ""),
        (("Total results: 40",), ""),
    ],
)
def test_the_total_is_found_beside_its_word(texts: tuple[str, ...], expected: str) -> None:
    assert total(page(element("e1", "button", "Buy"), text=texts), "e1") == expected


def test_an_amount_on_the_button_is_the_total() -> None:
    assert total(page(element("e1", "button", "Pay \u00a319.99 now"), text=("Total", "\u00a31")), "e1") == "\u00a319.99"
