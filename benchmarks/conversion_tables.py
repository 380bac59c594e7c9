"""The tables of benchmarks/conversion_report.py, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

LEVELS = ("mask", "box", "image", "zero")
SHARE = 10  # an output's standard deviation must be so many times the bound, or the bound says nothing


def report(found: dict, variants: Sequence) -> str:
    """All of it.

    Args:
        found: "about" and "rows" of `conversion_report.report`.
        variants: `conversion_variants.VARIANTS`; the first is the reference.
    """
    about, rows = found["about"], found["rows"]
    done = [variant for variant in variants if "sizes" in rows[variant.title]]
    parts = [
        f"Model `{about['name']}`; {about['photos']} photos; {about['concepts']} concepts decoded together; "
        f"{about['threads']} threads.",
        cost(done, rows),
        "Skipped:\n\n" + "\n".join(f"- {n}: {row['skipped']}" for n, row in rows.items() if "skipped" in row),
        quality(done, rows),
        verdict(done, rows),
        agreement(done[1:], rows),
        floats(done, rows),
    ]
    return "\n\n".join(part for part in parts if part)


def cost(done: Sequence, rows: dict) -> str:
    """Size, load time, memory, latency."""
    head = [
        "",
        "networks, MB",
        "of the SavedModel",
        "words, MB",
        "load, s",
        "peak memory, MiB",
        "of it the runtime",
    ]
    head += ["encode, ms", "SavedModel, ms", "ratio", "decode a concept, ms", "SavedModel, ms", "ratio"]
    whole, lines = rows[done[0].title]["sizes"]["networks"], []
    for variant in done:
        row = rows[variant.title]
        size, taken, timed = row["sizes"], row["process"], row.get("turns")
        line = [variant.title, f"{size['networks'] / 1e6:.2f}", f"{size['networks'] / whole:.2f}"]
        line += [f"{size['words'] / 1e6:.2f}" if size["words"] else "in it", f"{taken['load_s']:.3f}"]
        line += [f"{taken['peak_mib']:.0f}", f"{taken['alone_mib']:.0f}"]
        for step in ("encode", "decode"):
            values = [timed[step][key] for key in ("ms", "reference_ms", "times")] if timed else None
            line += [f"{value:.2f}" for value in values] if values else ["", "", "1"]
        lines.append(line)
    return table(head, lines)


def quality(done: Sequence, rows: dict) -> str:
    """Mean IoU by level and presence, and their change."""
    first = rows[done[0].title]
    levels = [level for level in LEVELS if level in first["levels"]]
    head = ["", "IoU with float32's masks", *(f"IoU, {level}" for level in levels), "presence AUC"]
    lines = [
        [f"{done[0].title}", "1", *(f"{first['levels'][n]:.3f}" for n in levels), told(first["auc"], ".3f")]
    ]
    for variant in done[1:]:
        row = rows[variant.title]
        line = [variant.title, f"{row['turns']['iou']:.4f}"]
        line += [f"{row['levels'][level] - first['levels'][level]:+.4f}" for level in levels]
        lines.append([*line, told(row["auc"] and row["auc"] - first["auc"], "+.4f")])
    return table(head, lines)


def verdict(done: Sequence, rows: dict) -> str:
    """Which variants stay within their bound of mean IoU on every level."""
    first, said = rows[done[0].title]["levels"], []
    for variant in done[1:]:
        most = max(abs(rows[variant.title]["levels"][level] - iou) for level, iou in first.items())
        word = "within" if most <= variant.quality else "**not within**"
        said.append(
            f"- {variant.title}: {word} {variant.quality} of mean IoU on every level (most {most:.4f})"
        )
    return "\n".join(said)


def agreement(done: Sequence, rows: dict) -> str:
    """Differences beside their bound, and the bound beside what the output spans."""
    head = ["", "output", "mean difference", "largest", "bound of the mean", "standard deviation", "holds"]
    lines = []
    for variant in done:
        for output in ("mask", "score"):
            values = rows[variant.title]["turns"][output]
            tells = values["spread"] >= SHARE * variant.apart
            holds = "yes" if values["apart"] <= variant.apart else "**no**"
            line = [variant.title, output, f"{values['apart']:.1e}", f"{values['largest']:.1e}"]
            line += [f"{variant.apart:g}", f"{values['spread']:.2f}"]
            lines.append([*line, holds if tells else f"says nothing: less than {SHARE} bounds"])
    return table(head, lines, left=2)


def floats(done: Sequence, rows: dict) -> str:
    """What computes in float32 where the variant says something smaller."""
    said = []
    for variant in done:
        for name, counted in rows[variant.title]["ops"].items():
            listed = ", ".join(f"{count} {kind}" for kind, count in counted.items()) or "nothing"
            said.append(f"- {variant.title}, `{name}`: {listed}")
    return "In float32:\n\n" + "\n".join(said) if said else ""


def told(value: float | None, how: str) -> str:
    return "" if value is None else f"{value:{how}}"


def table(head: list[str], lines: list[list[str]], left: int = 1) -> str:
    rules = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rules, *lines))
