"""ConceptWorld: drawn scenes in the public formats, with a true mask for every concept."""

from __future__ import annotations

from pathlib import Path


def write_world(out: Path, scenes: int, seed: int = 0) -> None:
    """Writes a data folder of drawn scenes: 80 % train, 8 % val, 12 % test.

    More than a few dozen scenes are made by all cores: call it under `if __name__ == "__main__":`.

    Args:
        out: a folder that does not exist yet, or is empty. It appears when it is complete.
        scenes: how many, 10 or more.
        seed: the world's seed. Scene k of a split is the same for any number of scenes.

    Raises:
        cmask_tf.errors.UserError: `out` has something in it, or a number is out of range.
    """
    from cmask_tf.data.world.writer import write_folder

    write_folder(Path(out), scenes, seed)
