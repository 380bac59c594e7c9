"""Which tags of a corpus are the singular and the plural of one word, and so one concept.

The paper says nothing of it. English rules (`text.inflections`) propose, the corpus decides: both must be
tags of it. How the two are used cannot tell a plural from another word (docs/vocabulary.md); words whose
plural is another thing are listed here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tqdm import tqdm

from cmask_tf.vocabulary.text import inflections

# The singular of what is another thing in the plural: a glass and glasses, a scale and scales.
OTHER_THINGS = frozenset(
    "blind boxer brace brief clothe compass custom dart draft draught flat glass good ground heel jean mean "
    "mitten new overall pant pump scale shade short slack spectacle spirit suspender sweat tight trunk wood "
    "work".split()
)


def owners(
    names: Sequence[str], counts: Sequence[int], min_count: int = 1, apart: Collection[str] = ()
) -> dict[str, str]:
    """The rarer of two tags -> the more frequent one that it is a singular or plural of.

    Of several (people, person, persons) the most frequent owns all. Pairs are looked for around tags in at
    least half of `min_count` images, so that what takes the time grows with the vocabulary and not with the
    names that occur once.

    Args:
        names: folded tags.
        counts: images of each.
        min_count: as for `counts.count`.
        apart: names that the caller tells apart: no two of them become one.
    """
    images = dict(zip(names, counts, strict=True))
    order = sorted((name for name in names if 2 * images[name] >= min_count), key=lambda n: (-images[n], n))
    forms: dict[str, set[str]] = {}
    for name in tqdm(order, desc="plurals", unit=" words", delay=2):
        for form in inflections(name):
            if form in images and form != name and not {name, form} & OTHER_THINGS:
                forms.setdefault(name, set()).add(form)
                forms.setdefault(form, set()).add(name)
    owner: dict[str, str] = {}
    for best in sorted(forms, key=lambda n: (-images[n], n)):
        reached = [] if best in owner else [best]
        for name in reached:
            for form in sorted(forms[name]):
                if form not in owner and form != best and not (form in apart and best in apart):
                    owner[form] = best
                    reached.append(form)
    return owner
