"""The sentences that say most of what a text is about: a summary that invents nothing.

SumBasic (Nenkova and Vanderwende 2005): the sentence with the likeliest words is taken, and its words count less from
then on. Knows no language.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence


def gist(
    sentences: Sequence[str],
    words_of: Callable[[str], Sequence[str]],
    *,
    words: int,
    most: int | None = None,
    first: bool = False,
) -> list[str]:
    """Some of the sentences, in their order.

    Args:
        words_of: The words of a sentence that carry something; one without any is left out.
        words: About so many words at most; a longer sentence is left out.
        most: And so many sentences.
        first: The first sentence is among them: it mostly says what a text is about.
    """
    found = list(dict.fromkeys(sentences))
    content = {sentence: list(words_of(sentence)) for sentence in found}
    total = Counter(word for sentence in found for word in content[sentence])
    chance = {word: times / total.total() for word, times in total.items()}
    left = [sentence for sentence in found if content[sentence]]
    taken: list[str] = []
    while left and (most is None or len(taken) < most):
        if first and not taken:
            best = left[0]
        else:
            best = max(left, key=lambda one: sum(chance[word] for word in content[one]) / len(content[one]))
        left.remove(best)
        if len(best.split()) > words:
            continue
        taken.append(best)
        words -= len(best.split())
        for word in content[best]:
            chance[word] **= 2
    return sorted(taken, key=found.index)
