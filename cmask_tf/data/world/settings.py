"""What stands where: six kinds of place, and which objects are met in them.

Companions share a place, and variants of one thing (car, van, truck) share a slot, so that tags
co-occur the way they do in photo collections: PMI finds the companions, second-order similarity the variants.
"""

from __future__ import annotations

from cmask_tf.data.world import built, living, things

DRAWERS = {
    name: getattr(module, name)
    for module, names in (
        (built, "house cottage tent lighthouse windmill car van truck boat canoe plane rocket sign"),
        (living, "tree fir flower tulip mushroom bird butterfly fish starfish snowman moon"),
        (things, "cup mug vase umbrella ball balloon kite lamp clock table chair"),
    )
    for name in names.split()
}

# Height of an object as a share of the picture's shorter side.
SIZES: dict[str, tuple[float, float]] = {
    "house": (0.34, 0.66), "cottage": (0.26, 0.46), "tent": (0.26, 0.46), "lighthouse": (0.45, 0.8),
    "windmill": (0.42, 0.72), "car": (0.15, 0.34), "van": (0.19, 0.38), "truck": (0.2, 0.38),
    "boat": (0.3, 0.6), "canoe": (0.15, 0.26), "plane": (0.15, 0.3), "rocket": (0.34, 0.62),
    "sign": (0.32, 0.58), "tree": (0.4, 0.78), "fir": (0.4, 0.74), "flower": (0.28, 0.52),
    "tulip": (0.28, 0.5), "mushroom": (0.18, 0.38), "bird": (0.16, 0.34), "butterfly": (0.16, 0.32),
    "fish": (0.14, 0.34), "starfish": (0.16, 0.3), "snowman": (0.32, 0.6), "moon": (0.15, 0.24),
    "cup": (0.15, 0.32), "mug": (0.16, 0.32), "vase": (0.22, 0.44), "umbrella": (0.28, 0.55),
    "ball": (0.14, 0.32), "balloon": (0.3, 0.6), "kite": (0.3, 0.55), "lamp": (0.34, 0.62),
    "clock": (0.17, 0.32), "table": (0.28, 0.46), "chair": (0.3, 0.52),
}  # fmt: skip

# Place -> slots: (weight, zone, {object: weight}).
Slot = tuple[float, str, dict[str, float]]
_VEHICLE = {"car": 4, "van": 3, "truck": 2}
_BLOSSOM = {"flower": 4, "tulip": 3}
_HOME = {"house": 4, "cottage": 3}
_WOOD = {"tree": 4, "fir": 3}
_VESSEL = {"boat": 4, "canoe": 3}
_DRINK = {"cup": 4, "mug": 3}
PLACES: dict[str, tuple[Slot, ...]] = {
    "beach": (
        (3, "surface", _VESSEL), (0.8, "surface", {"ball": 1}), (3, "ground", {"umbrella": 1}),
        (3, "air", {"kite": 4, "bird": 2, "plane": 1}), (2, "ground", {"ball": 1}),
        (2, "ground", {"starfish": 1}), (1, "ground", {"chair": 2, "tent": 1}),
        (1.2, "ground", {"lighthouse": 1}), (0.6, "ground", {"boat": 1}), (0.6, "ground", {"bird": 1}),
        (1, "ground", _DRINK),
    ),
    "city": (
        (4, "road", _VEHICLE), (3, "road", _VEHICLE), (0.5, "road", {"plane": 1}),
        (2, "wall", {"clock": 1}), (2.5, "verge", _HOME), (3, "verge", {"sign": 1}),
        (1.5, "verge", _WOOD), (0.7, "verge", {"umbrella": 1}), (1, "verge", _BLOSSOM),
        (1.5, "air", {"plane": 3, "balloon": 1, "bird": 1}),
    ),
    "meadow": (
        (3, "ground", _HOME), (3, "ground", _WOOD), (4.5, "ground", _BLOSSOM), (2, "ground", {"mushroom": 1}),
        (1.2, "ground", {"windmill": 1}), (1.5, "ground", {"tent": 1}), (0.8, "ground", {"bird": 1}),
        (0.7, "ground", {"balloon": 1}), (0.7, "ground", {"rocket": 1}), (0.8, "ground", _VEHICLE),
        (1, "ground", {"table": 2, "chair": 1}), (1.2, "table", _DRINK), (1, "ground", _DRINK),
        (8, "surface", _VESSEL),
        (3, "air", {"bird": 3, "butterfly": 3}), (3, "air", {"balloon": 3, "kite": 2, "plane": 0.6}),
    ),
    "winter": (
        (3, "ground", {"snowman": 1}), (3, "ground", _HOME), (3, "ground", _WOOD), (1.5, "ground", _VEHICLE),
        (1, "ground", {"tent": 1}), (0.8, "ground", {"bird": 1}),
        (1.2, "air", {"bird": 2, "plane": 1, "balloon": 1}),
    ),
    "room": (
        (4, "ground", {"table": 1}), (4, "table", _DRINK), (2, "table", {"vase": 1}),
        (2.5, "ground", {"lamp": 1}), (2.5, "wall", {"clock": 1}), (2.5, "ground", {"chair": 1}),
        (1.2, "ground", {"ball": 1}), (1, "ground", {"umbrella": 1, "vase": 1}), (2, "ground", _DRINK),
    ),
    "sea": (
        (4, "surface", _VESSEL), (0.8, "surface", {"ball": 1}), (5, "under", {"fish": 1}),
        (4, "under", {"fish": 1}), (2.5, "bottom", {"starfish": 1}), (1, "bottom", {"vase": 2, "boat": 1}),
        (1.2, "air", {"bird": 3, "plane": 1}),
    ),
}  # fmt: skip
PLACE_WEIGHTS = {"beach": 1.0, "city": 1.1, "meadow": 1.5, "winter": 0.9, "room": 1.1, "sea": 0.9}
# What falls, and what comes in groups (annotated as crowds).
FALLING = {
    "beach": {"ball": 1, "umbrella": 1},
    "city": {"umbrella": 2, "ball": 1, "sign": 1},
    "meadow": {"flower": 2, "tulip": 1, "mushroom": 1},
    "winter": {"ball": 1, "umbrella": 1},
    "room": {"cup": 3, "mug": 2, "ball": 2, "vase": 1, "clock": 0.5},
    "sea": {"ball": 1, "umbrella": 1},
}
GROUPS = {
    "beach": ("air", "bird"),
    "city": ("air", "balloon"),
    "meadow": ("ground", "flower"),
    "sea": ("under", "fish"),
}
FLIERS = frozenset(("bird", "butterfly", "plane", "kite", "balloon", "rocket"))
