"""The words of ConceptWorld: level of supervision, kind, and what the public formats call them.

The levels are the paper's (section 3): `mask` stands for COCO-80, `box` for the concepts that have
boxes in Open Images or Visual Genome, `image` for words that occur only as tags, `zero` for words that no
training tag ever names. A zero word is a variant of a word with masks or boxes (van beside car): it
stands in the same company, so its word vector is close, and it looks a little different.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Concept:
    """One word: level (mask, box, image, zero), kind (object, part, stuff, attribute, action, unknown)."""

    level: str
    kind: str


_WORDS = {
    ("mask", "object"): "house car boat tree bird fish flower cup umbrella ball balloon kite",
    ("box", "object"): "mushroom tent lamp sign snowman clock plane table",
    ("box", "part"): "roof window wheel sail wing crown trunk door",
    ("box", "stuff"): "sky grass water sand snow road",
    ("image", "object"): "truck butterfly starfish lighthouse windmill vase chair rocket moon",
    ("image", "part"): "hull tail petal stem handle chimney leg basket",
    ("image", "stuff"): "cloud mountain wall floor",
    ("image", "attribute"): "red orange yellow green blue purple pink striped dotted checked",
    ("image", "action"): "falling flying floating",
    ("zero", "object"): "van cottage canoe fir mug tulip",
}
# What a picture is about, which people tag when one of these is in it. A word and its variant share it.
TOPICS: dict[str, tuple[str, ...]] = {
    "traffic": ("car", "van", "truck"),
    "village": ("house", "cottage"),
    "forest": ("tree", "fir"),
    "boating": ("boat", "canoe"),
    "breakfast": ("cup", "mug"),
    "spring": ("flower", "tulip"),
}
# What a whole picture is: words that people tag with and that no pixel carries.
SCENE_WORDS = ("beach", "city", "meadow", "winter", "room", "sea", "night", "rain", *TOPICS)

CONCEPTS: dict[str, Concept] = {
    name: Concept(level, kind) for (level, kind), names in _WORDS.items() for name in names.split()
}
ALL_WORDS: dict[str, Concept] = CONCEPTS | {name: Concept("image", "unknown") for name in SCENE_WORDS}

PARTS_OF: dict[str, tuple[str, ...]] = {
    "house": ("roof", "window", "door", "chimney"),
    "cottage": ("roof", "window", "door", "chimney"),
    "lighthouse": ("roof", "window", "door"),
    "windmill": ("roof", "window", "door", "wing"),
    "tent": ("door",),
    "car": ("wheel", "window"),
    "van": ("wheel", "window"),
    "truck": ("wheel", "window"),
    "boat": ("hull", "sail"),
    "canoe": ("hull",),
    "plane": ("wing", "tail", "window"),
    "rocket": ("window",),
    "tree": ("trunk", "crown"),
    "fir": ("trunk", "crown"),
    "bird": ("wing", "tail"),
    "butterfly": ("wing",),
    "fish": ("tail",),
    "flower": ("petal", "stem"),
    "tulip": ("petal", "stem"),
    "mushroom": ("stem",),
    "cup": ("handle",),
    "mug": ("handle",),
    "umbrella": ("handle",),
    "balloon": ("basket",),
    "kite": ("tail",),
    "table": ("leg",),
    "chair": ("leg",),
}
# Pairs that are never drawn over each other, so that Eqn. 3's overlap is zero where both are in one photo.
_BUILDINGS = ("house", "cottage", "lighthouse", "windmill", "tent")
_VEHICLES = ("car", "van", "truck", "plane")
NEVER_OVERLAP = frozenset(
    frozenset((a, b)) for a in _BUILDINGS for b in (*_VEHICLES, "boat", "canoe", "rocket")
) | {
    frozenset(pair)
    for pair in (("fish", "starfish"), ("bird", "balloon"), ("clock", "chair"), ("kite", "plane"))
}

BOXED = tuple(name for name, concept in CONCEPTS.items() if concept.level in ("mask", "box"))
MASKED = tuple(name for name, concept in CONCEPTS.items() if concept.level == "mask")
OPEN_IMAGES = BOXED[0::2]
VISUAL_GENOME = BOXED[1::2]
# Other spellings in Visual Genome, each with the concept's own name first in object_alias.txt.
ALIASES: dict[str, tuple[str, ...]] = {
    "car": ("cars", "automobile"),
    "tree": ("trees",),
    "fish": ("fishes",),
    "cup": ("cups", "teacup"),
    "ball": ("balls",),
    "kite": ("kites",),
    "sail": ("sails",),
    "window": ("windows", "windowpane"),
    "table": ("tables",),
    "grass": ("lawn",),
}
COLOURS = tuple("red orange yellow green blue purple pink".split())
PATTERNS = tuple("striped dotted checked".split())
