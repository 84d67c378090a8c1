"""Whether the user's words ask for what a tool does: the verb in its name, and the words that people use for it.

The name of something in the request doesn't allow every effect on it: "add two lines to plan.docx" is no reason to
delete plan.docx. Tables in English; knows no argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from llmos.kernel.policy_values import name_tokens, word_set
from llmos.kernel.policy_words import Token, Words, stems

_MEANS: dict[str, str] = {
    "delete": "delete remove erase drop trash wipe discard purge destroy clear unlink",
    "remove": "remove delete kick exclude expel drop erase",
    "cancel": "cancel revoke abort terminate",
    "send": "send e-mail email mail message dm write reply respond forward text tell notify inform remind post"
    " answer contact ping return refund pay transfer wire reimburse",
    "reply": "reply respond answer write send",
    "forward": "forward send share",
    "post": "post publish write upload submit put announce share reply send comment tweet",
    "publish": "publish post release upload put",
    "upload": "upload put post publish send share",
    "share": "share grant send",
    "grant": "grant allow share",
    "pay": "pay send transfer refund reimburse wire settle buy return",
    "transfer": "transfer send pay wire move refund return",
    "refund": "refund return send reimburse",
    "buy": "buy order purchase book",
    "order": "order buy purchase book",
    "book": "book reserve reservation order buy",
    "reserve": "reserve reservation book",
    "schedule": "schedule plan set arrange book create add make organise organize",
    "reschedule": "reschedule move postpone shift change",
    "create": "create make schedule set add book plan put arrange organise organize new write save draft generate"
    " remind invite",
    "write": "write save create put store note add make draft generate export fill",
    "save": "save store write keep put download",
    "append": "append add insert put write extend",
    "add": "add append insert include invite put join",
    "insert": "insert add put include",
    "invite": "invite add ask",
    "update": "update change set modify edit adjust fix correct replace rename",
    "edit": "edit change update modify fix correct replace rewrite",
    "set": "set change update turn make adjust put",
    "change": "change update set modify edit replace",
    "replace": "replace change swap substitute",
    "rename": "rename move change",
    "move": "move put transfer shift rename",
    "copy": "copy duplicate clone back",
    "merge": "merge combine join",
    "install": "install add",
    "uninstall": "uninstall remove delete",
    "run": "run execute start do launch call",
    "execute": "execute run start",
    "start": "start begin launch run turn open",
    "stop": "stop end halt kill turn shut",
    "kill": "kill stop end terminate",
    "deploy": "deploy release ship publish roll",
    "restore": "restore recover bring",
    "archive": "archive store move",
    "approve": "approve accept confirm allow",
    "accept": "accept approve confirm",
    "reject": "reject decline refuse deny",
    "decline": "decline reject refuse",
    "sign": "sign subscribe register",
    "subscribe": "subscribe sign join follow",
    "unsubscribe": "unsubscribe leave stop cancel",
    "close": "close end shut cancel",
    "withdraw": "withdraw",
    "sell": "sell",
    "print": "print",
    "call": "call phone ring",
    "block": "block ban",
}
MEANS = {verb: word_set(words) for verb, words in _MEANS.items()}

# fetching is what an agent does for any request; its address must be authorized, its verb goes without saying
SILENT = word_set("get read fetch list search find look visit open browse download view show check load query")

# after these a word that could be a verb is a noun: "the email", "my last order"
_DETERMINERS = word_set(
    "a an the this that these those my his her its our your their last latest newest recent next first each every any"
    " all some no via by in of from new old unread received which two three"
)


# these ask, too: "make a reservation"
_NOUNS = frozenset({"reservation"})
# "tell me" wants an answer, and nothing sent
_TELLING = word_set("tell write notify inform remind text answer contact ping reply respond call")
_GERUND = word_set("mind start try suggest recommend be")
_STATING = word_set("i we he she they who i'll we'll he'll she'll they'll i'd we'd")
# "remind me to pay", "tell Bob to pay": somebody else is to do it
_OTHERS_TASK = re.compile(
    r"\b(?:remind|tell|ask|told|asked|inform|notify|e-?mail|message|write|text|remember)\s+(?:[^\s.]+\s+){0,3}to\s*$"
)
_SECRETS = word_set("password passphrase passcode pin secret token credential")
_PASSIVE = frozenset({"be", "get", "it", "them", "this", "that"})


@lru_cache(maxsize=1024)
def verb_of(tool: str) -> str:
    """The verb in a tool's name; "" if it has none that is known.

    In `server__tool` it is the tool's: a server that was named "search" makes no tool of it harmless.
    """
    own, server = _own_name(tool), tool.partition("__")[0]
    verb = next((word for word in _words(own) if word in MEANS or word in SILENT), "")
    return verb or next((word for word in _words(server) if word in MEANS or (own == tool and word in SILENT)), "")


def _words(name: str) -> list[str]:
    """The words of a name, in order."""
    tokens = name.replace("-", "_").replace(".", "_").split("_")
    return [word for token in tokens for word in sorted(name_tokens(token), key=token.lower().find)]


def _own_name(tool: str) -> str:
    """A tool's name without that of the server it comes from."""
    return tool.partition("__")[2] or tool


def asked_for(tool: str, words: Words, *, strict: bool) -> Iterator[Token]:
    """The words of the request that ask for what a tool does: no questions, nothing that is ruled out or past.

    Args:
        tool: Its name.
        words: The user's words.
        strict: Also for a tool whose verb isn't known, by any word of its name.
    """
    wanted = MEANS.get(verb_of(tool)) or (name_tokens(_own_name(tool)) if strict else frozenset[str]())
    previous = ""
    for token, following in zip(words.tokens, [*(t.lower for t in words.tokens[1:]), ""], strict=True):
        if (
            not wanted.isdisjoint(stems(token.lower))
            and _is_request(token.lower, previous, wanted)
            and not (token.lower in _TELLING and following in ("me", "us"))
            and not words.span(token.start, token.start + len(token.text)).negated
            and not words.is_question(token.sentence)
            and not words.after(words.span(token.start, token.start + 1), _OTHERS_TASK)
        ):
            yield token
        previous = token.lower


def _is_request(word: str, previous: str, wanted: frozenset[str]) -> bool:
    """Whether a word is a verb that asks: "send", "to be deleted", not "the email", "emails" or "I deleted"."""
    if word in _NOUNS:
        return True
    if word not in wanted:
        if word.endswith("s"):
            return False
        if word.endswith("ed"):
            return previous in _PASSIVE
        if word.endswith("ing"):
            return previous in _GERUND
    return previous not in _DETERMINERS and previous not in _STATING


def unspoken_secret(tool: str, words: Words) -> str:
    """What a tool changes that the words must speak of: a password, a token; "" if they do, or it doesn't."""
    named = name_tokens(tool) & _SECRETS
    return "" if named <= {form for token in words.tokens for form in stems(token.lower)} else min(named)


def needs_verb(tool: str, *, irreversible: bool) -> bool:
    """Whether the request must ask for what this tool does, besides naming what it does it to."""
    verb = verb_of(tool)
    return verb not in SILENT and (bool(verb) or irreversible)
