"""The words by which controls are named that can't be taken back, in English, German, French, Spanish and Italian.

Phrases say it wherever they stand; verbs where a name begins with them (in German: ends), unless what follows makes a
noun of them ("order history", "post code") or something harmless ("delete filter"). Accents and case don't count.
Knows no page.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

Kind = Literal["pay", "order", "send", "publish", "delete", "transfer", "agree", "log in"]

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """The words of a text without accents, case, digits and signs, a blank between them."""
    folded = unicodedata.normalize("NFKD", text.replace("\u2019", "'").casefold())
    bare = "".join(char for char in folded if not unicodedata.combining(char))
    return " ".join(_WORD.findall(bare))


def _table(*texts: str) -> frozenset[str]:
    return frozenset(plain(phrase) for text in texts for phrase in re.split(r"\s*[,\n]\s*", text.strip()))


PHRASES: dict[Kind, frozenset[str]] = {
    "order": _table(
        "place order, place your order, place my order, place the order, submit order, submit your order, send order",
        "complete order, complete your order, complete purchase, complete your purchase, complete booking",
        "confirm order, confirm your order, confirm purchase, confirm booking, confirm reservation, finalize order",
        "finish order, buy now, buy it now, agree and order, confirm and order, order with obligation to pay",
        "place bid, confirm bid, confirm and buy",
        "zahlungspflichtig bestellen, kostenpflichtig bestellen, verbindlich bestellen, jetzt bestellen, jetzt kaufen",
        "sofort kaufen, sofort-kaufen, bestellung abschicken, bestellung absenden, bestellung aufgeben",
        "bestellung abschließen, bestellung bestätigen, kauf abschließen, kauf bestätigen, kostenpflichtig buchen",
        "zahlungspflichtig buchen, verbindlich buchen, buchung abschließen, buchung bestätigen, gebot abgeben",
        "passer la commande, passer ma commande, passer commande, valider la commande, valider ma commande",
        "confirmer la commande, confirmer ma commande, finaliser la commande, finaliser ma commande, finaliser l'achat",
        "confirmer l'achat, acheter maintenant, commander maintenant, commande avec obligation de paiement",
        "commander avec obligation de paiement, confirmer la réservation",
        "realizar pedido, realizar el pedido, hacer pedido, hacer el pedido, tramitar pedido, confirmar pedido",
        "confirmar el pedido, confirmar compra, confirmar la compra, finalizar compra, finalizar la compra",
        "finalizar pedido, realizar compra, comprar ahora, comprar ya, compra ahora, pedir ahora, enviar pedido",
        "confirmar reserva, confirmar la reserva",
        "effettua ordine, effettua l'ordine, invia ordine, invia l'ordine, conferma ordine, conferma l'ordine",
        "conferma acquisto, conferma l'acquisto, completa ordine, completa l'ordine, completa l'acquisto",
        "acquista ora, acquista adesso, compra ora, compra adesso, compra subito, ordina ora, ordina adesso",
        "conferma prenotazione, conferma la prenotazione, ordine con obbligo di pagamento",
    ),
    "pay": _table(
        "pay now, pay and order, confirm payment, confirm and pay, submit payment, make payment, send payment",
        "complete payment, authorize payment, authorise payment, agree and pay, donate now",
        "jetzt bezahlen, jetzt zahlen, zahlung bestätigen, zahlung ausführen, zahlung abschließen, zahlung freigeben",
        "jetzt spenden, payer maintenant, confirmer le paiement, valider le paiement, effectuer le paiement",
        "régler maintenant, régler la commande, régler ma commande, faire un don, pagar ahora, confirmar pago",
        "confirmar el pago, realizar pago, realizar el pago, donar ahora, paga ora, paga adesso, conferma pagamento",
        "conferma il pagamento, effettua pagamento, effettua il pagamento, dona ora",
    ),
    "transfer": _table(
        "transfer now, confirm transfer, submit transfer, confirm withdrawal, jetzt überweisen, überweisung ausführen",
        "überweisung bestätigen, überweisung abschicken, überweisung absenden, überweisung freigeben",
        "effectuer le virement, confirmer le virement, valider le virement, realizar transferencia",
        "realizar la transferencia, confirmar transferencia, confirmar la transferencia, effettua bonifico",
        "effettua il bonifico, conferma bonifico, conferma il bonifico, esegui bonifico, esegui il bonifico",
    ),
    "delete": _table(
        "delete account, delete my account, delete your account, close account, close my account, deactivate account",
        "delete permanently, permanently delete, delete forever, delete all, confirm deletion, confirm delete",
        "empty trash, erase all, clear all data, cancel subscription, cancel my subscription, cancel membership",
        "cancel order, cancel my order, cancel booking, cancel reservation, cancel plan, end subscription",
        "konto löschen, account löschen, endgültig löschen, dauerhaft löschen, alles löschen, konto schließen",
        "abo kündigen, vertrag kündigen, jetzt kündigen, papierkorb leeren, bestellung stornieren, buchung stornieren",
        "supprimer le compte, supprimer mon compte, supprimer définitivement, tout supprimer, vider la corbeille",
        "résilier l'abonnement, résilier mon abonnement, annuler la commande, annuler ma commande",
        "annuler la réservation, eliminar cuenta, eliminar la cuenta, eliminar mi cuenta, borrar cuenta",
        "eliminar definitivamente, eliminar permanentemente, eliminar todo, borrar todo, vaciar papelera",
        "vaciar la papelera, cancelar suscripción, cancelar pedido, cancelar el pedido, cancelar reserva",
        "elimina account, elimina l'account, elimina il mio account, cancella account, elimina definitivamente",
        "elimina tutto, svuota cestino, svuota il cestino, annulla abbonamento, disdici abbonamento, annulla ordine",
        "annulla l'ordine, annulla prenotazione",
    ),
    "publish": _table("publish now, post now, post comment, post reply, post review, submit review, submit comment"),
    "send": _table("send message, send email, send e-mail, send mail, send reply, send now, submit application"),
    "agree": _table("sign contract, sign document, sign and submit, agree and sign, vertrag unterschreiben"),
}
"""What says by itself that something is done for good."""

FIRST: dict[Kind, frozenset[str]] = {
    "pay": _table("pay, donate, payer, pagar, donar, paga, pagare, dona"),
    "order": _table(
        "buy, purchase, order, preorder, acheter, commander, comprar, pedir, encargar, acquista, acquistare, comprare"
    ),
    "send": _table(
        "send, invite, envoyer, expédier, inviter, enviar, mandar, invitar, invia, inviare, spedisci, invita"
    ),
    "publish": _table("publish, post, tweet, publier, poster, diffuser, publicar, pubblica, pubblicare"),
    "delete": _table(
        "delete, erase, destroy, purge, wipe, terminate, supprimer, effacer, eliminar, borrar, suprimir, elimina",
        "eliminare, cancella, cancellare",
    ),
    "transfer": _table("transfer, wire, withdraw, remit, transférer, transferir, trasferisci, trasferire"),
}
"""What a name begins with that asks for it."""

LAST: dict[Kind, frozenset[str]] = {
    "pay": _table("bezahlen, zahlen, spenden"),
    "order": _table("kaufen, bestellen, buchen"),
    "send": _table("senden, absenden, abschicken, versenden, verschicken, einladen"),
    "publish": _table("veröffentlichen, posten, publizieren"),
    "delete": _table("löschen, vernichten"),
    "transfer": _table("überweisen, auszahlen, abheben, transferieren"),
}
"""What a German name ends with."""

ALONE: dict[Kind, frozenset[str]] = {
    "order": _table("compra, ordina"),
    "transfer": _table("virer"),
    "delete": _table("kündigen, stornieren, résilier"),
    "send": _table("compose and send"),
}

WRITES: frozenset[str] = _table(
    "reply, share, comment, answer, retweet, repost, antworten, teilen, kommentieren, répondre, partager, commenter",
    "responder, compartir, comentar, rispondi, condividi, commenta",
)
"""These send where something has been written; elsewhere they open an editor."""

SUBMITS: frozenset[str] = _table(
    "submit, confirm, yes, ok, okay, finish, i'm sure, i am sure, yes i'm sure, yes i am sure, yes continue, proceed",
    "yes please, bestätigen, ja, fertig, abschließen, ja bestätigen, confirmer, valider, oui, terminer, soumettre",
    "confirmar, sí, finalizar, terminar, conferma, confermare, sì, procedi, termina, aceptar, accetta, accepter",
    "accept, agree, i agree, i accept, akzeptieren, zustimmen, einverstanden, ich stimme zu, j'accepte, acepto",
    "accetto, go, apply, run, los, ausführen, ok senden, ir, vai, appliquer, aplicar, applica",
)
"""These do whatever is written beside them."""

ENTERS: frozenset[str] = _table(
    "log in, login, sign in, signin, sign up, signup, register, create account, create my account, join, unlock, enter",
    "continue, next, save, submit, verify, change password, update password, set password, reset password, connect",
    "anmelden, einloggen, registrieren, konto erstellen, weiter, speichern, passwort ändern, bestätigen, absenden",
    "se connecter, connexion, s'inscrire, créer un compte, continuer, suivant, enregistrer, valider, envoyer",
    "iniciar sesión, entrar, acceder, registrarse, crear cuenta, continuar, siguiente, guardar, enviar",
    "accedi, entra, registrati, crea account, continua, avanti, salva, invia",
)
"""These hand a form's password or card over."""

_LEADING = _table("yes, ja, oui, sí, sì, please, bitte, jetzt, now, click to, tap to, i want to, confirm and, and")

_HARMLESS = re.compile(
    r"(?:order|ordina|ordenar|ordinare) (?:by|per|por)\b"
    r"|orders?(?: \w+)* (?:history|details?|status|numbers?|summary|tracking|list|information|info|id|date|overview"
    r"|updates?|confirmations?|forms?|items?)$"
    r"|(?:buy|purchase)(?: \w+)* (?:guides?|history|price|options?)$"
    r"|pay (?:attention|stubs?|slips?|scale|gap|period|rates?|bands?)\b"
    r"|post (?:codes?|office|box|card|date|title|type|number|tags|author|count|views?)\b"
    r"|send (?:to )?(?:back|backwards?|front|forwards?)\b"
    r"|send (?:me )?(?:a |the |new |another )?(?:verification |security |login |sign in |one time |confirmation )?"
    r"(?:codes?|otp|pin)\b"
    r"|transfers? (?:history|status|details?|fees?|speed|times?|rates?|students?|credits?|limits?)\b"
    r"|(?:wire|wired) (?:frames?|service)\b"
    r"|invite(?:d)? (?:history|codes?)\b"
    r"|(?:delete|erase|supprimer|effacer|eliminar|borrar|elimina|cancella)(?: \w+)*? (?:filters?|filtres?|filtros?"
    r"|filtri|filtro|search(?:es)?|query|recherche|busqueda|ricerca|selection|seleccion|selezione|input|texte?o?|field"
    r"|tags?|chips?|cart|basket|bag|wishlist|panier|carrito|cesta|carrello|comparison|formulaire|formulario|modulo)\b"
    r"|(?:filter|suche|auswahl|eingaben?|text|formular|warenkorb|suchbegriff)(?: \w+)* loschen$"
    r"|in zahlen$"
)

_KEEP = (
    "accounts?|users?|members?|contacts?|files?|folders?|messages?|photos?|videos?|repository|project|device|friend"
    "|payment method|konto|benutzer|mitglied|kontakt|datei|ordner|nachricht|foto|compte|utilisateur|membre|fichier"
    "|dossier|cuenta|usuario|miembro|archivo|carpeta|mensaje|utente|membro|contatto|cartella|messaggio"
)
_REMOVES = re.compile(
    rf"(?:remove|retirer|enlever|quitar|rimuovi|discard)(?: \w+)* (?:{_KEEP}|drafts?)$|(?:{_KEEP}) entfernen$"
)

AGREES = re.compile(
    r"\b(?:agree|accept|consent|acknowledge|zustimmen|zu(?:ge)?stimmt?|stimme|akzeptieren?|einverstanden|j'accepte"
    r"|accepter?|acepto|aceptar?|accetto|accettare?|accetta)\b"
)
TERMS = re.compile(
    r"\b(?:terms|conditions|agreement|contract|licen[cs]e|eula|tos|agb|\w*bedingungen|vertrag|lizenz\w*|cgu|cgv"
    r"|contrat|terminos|condiciones|contrato|licencia|termini|condizioni|contratto|licenza|cancellation policy)\b"
)
COOKIES = re.compile(r"\bcookies?\b")

ABOUT: dict[Kind, re.Pattern[str]] = {
    "delete": re.compile(
        r"\b(?:delet(?:e|ed|ing|ion)|erased?|geloscht|loschen|supprim\w+|suppression|elimin\w+|borr(?:ar|ado|ada)"
        r"|cancell(?:are|ato|azione))\b"
    ),
    "transfer": re.compile(
        r"\b(?:transfer(?:red)?|withdraw(?:al)?|uberweis\w+|virement|transferencia|bonifico|trasferimento)\b"
    ),
    "pay": re.compile(
        r"\b(?:pay|payments?|charged?|bezahl\w+|zahlung\w*|paiement|payer|pago|pagar|pagamento|donation|spende)\b"
    ),
    "order": re.compile(
        r"\b(?:(?:your|the|this|my|place|submit|complete) (?:order|purchase|booking|reservation)|purchase|checkout"
        r"|bestellung|kauf\w*|buchung|commande|achat|pedido|compra|ordine|acquisto)\b"
    ),
    "publish": re.compile(r"\b(?:publish\w*|veroffentlich\w+|publier|publication|publicar|pubblic\w+)\b"),
    "send": re.compile(
        r"\b(?:(?:send|submit|your|post|write|leave|new) (?:an? |the |this |your )?(?:e ?mail|message|comment|review"
        r"|feedback|reply|application|enquiry|inquiry)|contact us|contact form|nachricht|kommentar|bewertung"
        r"|kontaktformular|commentaire|votre message|formulaire de contact|mensaje|comentario|messaggio|commento)\b"
    ),
}
"""What a text beside a button is about."""

FINAL = re.compile(
    r"\b(?:can(?:not|'t| not) be (?:undone|reversed|recovered|restored)|no undo|permanent(?:ly)?|irreversible"
    r"|unwiderruflich|ruckgangig|endgultig|definitivement|definitivamente|irreversibile|no se puede deshacer"
    r"|non (?:puo|possono) essere annullat\w+)\b"
)
SURE = re.compile(
    r"\b(?:are you sure|do you (?:really )?want to|sind sie sicher|mochten sie|wirklich|etes vous (?:sur|certain)"
    r"|voulez vous|esta seguro|seguro que|sei sicuro|vuoi (?:davvero )?)\b"
)


def stated(name: str, *, words: int) -> tuple[Kind | None, bool]:
    """What the name of a control says that it does, and whether the name leaves no doubt.

    Args:
        name: As it is shown.
        words: A longer name is text, and counts only if it begins with a phrase.
    """
    text = plain(name)
    if not text:
        return None, False
    tokens = text.split()
    short = len(tokens) <= words
    padded = f" {text} "
    for kind, phrases in PHRASES.items():
        if any((f" {phrase} " in padded) if short else text.startswith(f"{phrase} ") for phrase in phrases):
            return kind, True
    if not short or _HARMLESS.match(_without_lead(text)):
        return None, False
    for part in (text, *text.split(" and ")[1:]):  # go on and send it
        bare = _without_lead(part)
        found = None if _HARMLESS.match(bare) else _verb(bare, part.split())
        if found is not None:
            return found, False
    return None, False


def _verb(text: str, tokens: list[str]) -> Kind | None:
    first = text.split(" ", 1)[0]
    for kind, verbs in FIRST.items():
        if first in verbs:
            return kind
    for kind, verbs in LAST.items():
        if tokens[-1] in verbs:
            return kind
    for kind, texts in ALONE.items():
        if text in texts:
            return kind
    return "delete" if _REMOVES.match(text) else None


def _without_lead(text: str) -> str:
    for _ in range(3):
        lead = next((lead for lead in _LEADING if text.startswith(f"{lead} ")), None)
        if lead is None:
            break
        text = text[len(lead) + 1 :]
    return text


def about(text: str) -> Kind | None:
    """What a text beside a button is about, of what can't be taken back."""
    words = plain(text)
    return next((kind for kind, pattern in ABOUT.items() if pattern.search(words)), None)
