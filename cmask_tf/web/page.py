"""The page: what is where, and what every button does. A visitor's photo is in a `State` alone."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

from cmask_tf.errors import UserError
from cmask_tf.web import batch, downloads, drawing
from cmask_tf.web.engines import MOST_WORDS, Engine
from cmask_tf.web.scratch import Scratch
from cmask_tf.web.visit import Thresholds, Visit, look_up, open_visit

TITLE = "Concept Mask"
_INTRO = """# Concept Mask
Drop a photo, name things, and see where each of them is. The photo goes to {where}, and nowhere else."""
_FIRST = "First drop a photo, or pick an example."
CSS = """
.cmask-legend {list-style: none; margin: 0; padding: 0}
.cmask-legend li {display: flex; flex-wrap: wrap; align-items: baseline; gap: .5em; padding: .25em 0}
.cmask-legend .number {border-radius: 1em; min-width: 1.7em; text-align: center; font-size: .85em}
.cmask-legend .word {font-weight: 600; overflow-wrap: anywhere}
.cmask-legend .absent .word, .cmask-legend .absent .said {opacity: .65}
.cmask-status {margin: 0; padding: .5em .75em; border-left: 4px solid #2563eb; overflow-wrap: anywhere}
.cmask-status.wrong {border-color: #dc2626; font-weight: 600}
"""


def build(engine: Engine, scratch: Scratch, gradio, examples: Sequence[Path] = ()):
    """The page as `gradio.Blocks`, not launched.

    Args:
        engine: who answers.
        scratch: where the files to download are written.
        gradio: the module (`review_page.load_gradio`).
        examples: photos to pick from.
    """
    names = engine.vocabulary.names if engine.vocabulary else []
    where = "the computer that runs this page" + ("" if engine.finds_all else " and its server")
    with gradio.Blocks(title=TITLE, analytics_enabled=False) as page:
        gradio.Markdown(_INTRO.format(where=where))
        steps = Steps(engine, scratch, gradio, examples)
        with gradio.Tab("One photo"):
            _one_photo(steps, names, gradio, examples)
        with gradio.Tab("Many photos"):
            _many_photos(steps, names, gradio)
    return page


def _one_photo(steps: Steps, names: Sequence[str], gradio, examples: Sequence[Path]) -> None:
    visit = gradio.State(None)
    with gradio.Row():
        with gradio.Column():
            photo = gradio.Image(
                label="Photo", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=260
            )
            samples = examples and gradio.Dataset(
                components=[gradio.Image(visible=False)],
                samples=[[str(path)] for path in examples],
                sample_labels=[path.stem.replace("_", " ") for path in examples],
                type="index",
                label="Examples",
            )
            words = _words(names, gradio, steps.everything)
            guesses = gradio.Radio([], label="Did you mean", visible=False)
            start = gradio.Button("Find", variant="primary")
        with gradio.Column():
            status = gradio.HTML(said(_FIRST), elem_id="cmask-status")
            picture = gradio.Image(label="Found", interactive=False, format="png", buttons=["download"])
            legend = gradio.HTML(elem_id="cmask-legend")
            mask, presence = _sliders(gradio)
            word = gradio.Dropdown([], label="Look closer at", visible=False, interactive=True)
            with gradio.Row():
                closer = [gradio.Image(visible=False, min_width=90, buttons=[]) for _ in range(3)]
            save = gradio.Button("Make files to download")
            files = gradio.File(label="Masks, cut-out and COCO JSON", file_count="multiple", visible=False)
    shown = [status, picture, legend, word, *closer, files]
    model = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
    light = {"concurrency_id": "drawing", "concurrency_limit": 1, "api_visibility": "private"}
    asked = [words, mask, presence]
    # As it came: gradio would open the file itself, and would not say in one line what is wrong with it.
    for event in (photo.input, photo.clear):
        event(steps.drop, [photo, *asked], [visit, guesses, *shown], preprocess=False, **model)
    if samples:
        samples.click(steps.example, [samples, *asked], [photo, visit, guesses, *shown], **model)
    latest = {"trigger_mode": "always_last"}
    # Not `input`, which a word that is not among the choices does not raise.
    words.change(steps.find, [visit, *asked], [guesses, *shown], **latest, **model)
    start.click(steps.find, [visit, *asked], [guesses, *shown], **model)
    guesses.input(steps.guess, [guesses, words], words, **light)  # which changes the words
    for slider in (mask, presence):
        slider.input(steps.redraw, [visit, mask, presence, word], shown, **latest, **light)
    word.input(steps.closer, [visit, word], closer, **light)
    save.click(steps.files, [visit, mask, presence], [status, files], **light)


def _many_photos(steps: Steps, names: Sequence[str], gradio) -> None:
    gradio.Markdown(
        f"A zip of at most {batch.MOST_PHOTOS} photos; back come PNG masks and a table, `masks.csv`."
    )
    archive = gradio.File(label="Zip of photos")
    words = _words(names, gradio, False)
    mask, presence = _sliders(gradio)
    start = gradio.Button("Segment all", variant="primary")
    status = gradio.HTML(elem_id="cmask-batch-status")
    result = gradio.File(label="Masks and table", visible=False)
    start.click(
        steps.batch,
        [archive, words, mask, presence],
        [status, result],
        concurrency_id="batch",
        concurrency_limit=1,
        api_visibility="private",
    )


def _words(names: Sequence[str], gradio, optional: bool):
    told = "Type and choose, or type and press Enter."
    return gradio.Dropdown(
        list(names),
        label="Words",
        info=f"{told} Without words: whatever is there." if optional else told,
        multiselect=True,
        allow_custom_value=True,
        max_choices=MOST_WORDS,
    )


def _sliders(gradio) -> tuple:
    return (
        gradio.Slider(0.05, 0.95, 0.5, step=0.01, label="Inside the mask from"),
        gradio.Slider(0.05, 0.95, 0.5, step=0.01, label="There at all from (score)"),
    )


def said(text: str, wrong: bool = False) -> str:
    """One line for the visitor, read out by screen readers."""
    return f'<p role="status" class="cmask-status{" wrong" if wrong else ""}">{html.escape(text)}</p>'


class Steps:
    """What the page's events do. Each returns what its outputs become; what a visitor did wrong is a line.

    Args:
        engine: who answers.
        scratch: where files are written.
        gradio: the module.
        examples: photos to pick from.
    """

    def __init__(self, engine: Engine, scratch: Scratch, gradio, examples: Sequence[Path] = ()):
        self.everything = engine.finds_all
        self._engine, self._scratch, self._gradio, self._examples = engine, scratch, gradio, examples

    def drop(self, photo: dict | None, words: list[str], mask: float, presence: float) -> list:
        """A photo came, or went: a visit, the guesses and what is shown."""
        if photo is None:
            return [None, self._hidden(), *self._nothing(_FIRST)]
        return self._open(Path(photo["path"]), words, mask, presence)

    def example(self, index: int, words: list[str], mask: float, presence: float) -> list:
        """An example was picked: the photo, then as `drop`."""
        path = self._examples[index]
        return [str(path), *self._open(path, words, mask, presence)]

    def find(self, visit: Visit | None, words: list[str], mask: float, presence: float) -> list:
        """Words were typed: the guesses and what is shown."""
        if visit is None:
            return [self._hidden(), *self._nothing(_FIRST)]
        names, unknown = look_up(self._engine.vocabulary, words or [])
        try:
            if names or not unknown:
                visit.ask(self._engine, names)
        except UserError as error:
            return [self._hidden(), *self._nothing(str(error), wrong=True)]
        guesses = [
            (f"{name}, not {word}", f"{word}\n{name}") for word, near in unknown.items() for name in near
        ]
        radio = self._gradio.Radio(guesses, value=None, visible=True) if guesses else self._hidden()
        line = "; ".join(f"I do not know {word!r}, but {', '.join(near)}" for word, near in unknown.items())
        if unknown and not names:
            return [radio, *self._nothing(line, wrong=True)]
        return [radio, *self._show(visit, Thresholds(mask, presence), line)]

    def guess(self, guess: str, words: list[str]) -> list[str]:
        """A nearest name was picked: the words with it in the place of the one that is unknown."""
        wrong, name = guess.split("\n")
        return list(dict.fromkeys(name if word.strip() == wrong else word for word in words))

    def redraw(self, visit: Visit | None, mask: float, presence: float, word: str | None) -> list:
        """A slider moved: what is shown, without the model."""
        if visit is None or not visit.names:
            return self._nothing(_FIRST)
        return self._show(visit, Thresholds(mask, presence), word=word)

    def closer(self, visit: Visit | None, word: str | None) -> list:
        """The pictures of one word: its mask, and its attention at both scales where that is known."""
        known = visit is not None and word in visit.names
        pictures = drawing.closer(visit, word) if known else []
        shown = [self._gradio.Image(picture, label=label, visible=True) for picture, label in pictures]
        return shown + [self._gradio.Image(None, visible=False)] * (3 - len(shown))

    def files(self, visit: Visit | None, mask: float, presence: float) -> list:
        """The line and the files to download."""
        hidden = self._gradio.File(None, visible=False)
        if visit is None:
            return [said(_FIRST), hidden]
        try:
            paths = downloads.write(visit, Thresholds(mask, presence), self._scratch.folder())
        except UserError as error:
            return [said(str(error), wrong=True), hidden]
        line = "Three files, at the photo's own size: masks, cut-out, COCO JSON."
        return [said(line), self._gradio.File([str(path) for path in paths], visible=True)]

    def batch(self, archive: str | None, words: list[str], mask: float, presence: float) -> Iterator[list]:
        """The lines and the result, as they come."""
        hidden = self._gradio.File(None, visible=False)
        names, unknown = look_up(self._engine.vocabulary, words or [])
        try:
            if archive is None:
                raise UserError("First choose a zip of photos.")
            for word, near in unknown.items():
                raise UserError(f"I do not know {word!r}, but {', '.join(near)}")
            thresholds = Thresholds(mask, presence)
            progress = None
            for progress in batch.run(self._engine, Path(archive), names, thresholds, self._scratch.folder()):
                yield [said(f"{progress.done} of {progress.total} photos"), hidden]
        except UserError as error:
            yield [said(str(error), wrong=True), hidden]
            return
        good = progress.total - len(progress.bad)
        lines = [said(f"{good} of {progress.total} photos segmented.")]
        lines += [said(f"Left out: {bad}", wrong=True) for bad in progress.bad]
        yield ["".join(lines), self._gradio.File(str(progress.result), visible=True)]

    def _open(self, path: Path, words: list[str], mask: float, presence: float) -> list:
        try:
            visit = open_visit(self._engine, path)
        except UserError as error:
            return [None, self._hidden(), *self._nothing(str(error), wrong=True)]
        if not words and not self._engine.finds_all:
            return [visit, self._hidden(), *self._nothing("Now type what to look for.")]
        return [visit, *self.find(visit, words, mask, presence)]

    def _show(self, visit: Visit, thresholds: Thresholds, trouble: str = "", word: str | None = None) -> list:
        """Status, picture, legend, the choice of a word, its pictures, and no files: they are of before."""
        rows = visit.rows(thresholds)
        count = sum(row.present for row in rows)
        photo = visit.photo
        line = f"{photo.path.name}, {photo.width} x {photo.height} pixels: "
        if visit.everything:
            line += f"{count or 'none'} of the words I know found."
        else:
            line += f"{count or 'none'} of {len(rows)} words found."
        status = said(line) + (said(trouble, wrong=True) if trouble else "")
        names = [row.name for row in rows]
        best = max(rows, key=lambda row: row.score).name if rows else None
        chosen = word if word in names else best
        choice = self._gradio.Dropdown(names, value=chosen, visible=bool(rows))
        files = self._gradio.File(None, visible=False)
        pictures = drawing.picture(visit, rows), drawing.legend(rows)
        return [status, *pictures, choice, *self.closer(visit, chosen), files]

    def _nothing(self, line: str, wrong: bool = False) -> list:
        gradio = self._gradio
        choice = gradio.Dropdown([], value=None, visible=False)
        return [
            said(line, wrong),
            None,
            "",
            choice,
            *self.closer(None, None),
            gradio.File(None, visible=False),
        ]

    def _hidden(self):
        return self._gradio.Radio([], value=None, visible=False)
