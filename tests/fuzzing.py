"""What the fuzzed commands share: ways to mutilate a file, and what holds of every run."""

import contextlib
import io
import os
import re
import warnings
from functools import partialmethod
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from tqdm import tqdm

from cmask_tf.cli import main

Files = dict[str, bytes]  # name -> content
# The same examples in every run; to make a failing one smaller takes longer than a test may.
SETTINGS = {"deadline": None, "derandomize": True, "database": None, "phases": [Phase.generate]}
SETTINGS |= {"suppress_health_check": list(HealthCheck)}

# A text in quotes, or a number, a word, a cell of a table.
_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[^\s,;:"\[\]{}]+')
_OTHERS = r"""null true -1 0 1 0.5 7 1e400 -1e308 NaN Infinity 12345678901234567890123 [] {} [[]] "" "x" " "
    1. "\ud800" "\u0000" "éﬁ" "🦄" "a\nb" "../../etc" "https://[" ' , ; 1,2 ٣ x/y""".split()
_NUMBERS = "-1 0 1 0.5 0.05 1.5 2 7 300 -0.2 1e400 -1e308 NaN Infinity 12345678901234567890123".split()
_JUNK = [
    b"\x00",
    b"\xff\xfe",
    b"\xc3",
    b'"',
    b",",
    b"{",
    b"]",
    b"\n",
    b"\r",
    b"\t",
    b"\xef\xbb\xbf",
    b"e",
    b"-",
]


@st.composite
def _other(draw, token: bytes) -> bytes:
    """What a token becomes: mostly another number where it is one."""
    if token[-1:].isdigit() and draw(st.integers(0, 2)):
        return draw(st.sampled_from(_NUMBERS)).encode()
    return draw(st.sampled_from(_OTHERS)).encode() if draw(st.integers(0, 9)) else b'"' + b"a" * 5000 + b'"'


@st.composite
def _with_other_values(draw, content: bytes) -> bytes:
    """One to three tokens are something else."""
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        tokens = list(_TOKEN.finditer(content))
        token = tokens[draw(st.integers(0, len(tokens) - 1))] if tokens else re.match(b"", content)
        content = content[: token.start()] + draw(_other(token.group())) + content[token.end() :]
    return content


@st.composite
def _with_other_lines(draw, content: bytes) -> bytes:
    """A line is gone, there twice, elsewhere, or two are one."""
    lines = content.splitlines(keepends=True) or [b""]
    place = draw(st.integers(0, len(lines) - 1))
    line = lines.pop(place)
    kind = draw(st.sampled_from(("gone", "twice", "elsewhere", "joined")))
    if kind == "twice":
        lines[place:place] = [line, line]
    elif kind == "elsewhere":
        lines.insert(draw(st.integers(0, len(lines))), line)
    elif kind == "joined":
        lines.insert(place, line.rstrip(b"\r\n"))
    return b"".join(lines)


@st.composite
def _with_other_bytes(draw, content: bytes) -> bytes:
    """A few bytes are gone, doubled, changed or new."""
    for _ in range(draw(st.sampled_from((1, 1, 2)))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 6)))
        middle = draw(st.sampled_from([b"", content[start:end] * 2, *_JUNK]) | st.binary(max_size=3))
        content = content[:start] + middle + content[end:]
    return content


def mutilated(content: bytes) -> st.SearchStrategy[bytes]:
    """The content of a file, with damage of any kind."""
    return st.one_of(
        _with_other_values(content),
        _with_other_values(content),
        _with_other_values(content),
        _with_other_lines(content),
        _with_other_bytes(content),
        st.integers(0, len(content)).map(lambda end: content[:end]),
        st.sampled_from(
            [b"\xef\xbb\xbf" + content, content.replace(b"\n", b"\r\n"), b"", b"\n", b"\x00" * 9]
        ),
        st.sampled_from([content * 2, content.decode("utf-8", "replace").encode("utf-16")]),
    )


def damaged(data, files: Files) -> tuple[str, Files]:
    """The name of the file that is not as it was, and the files."""
    largest = max(files, key=lambda name: len(files[name]))
    name = data.draw(st.sampled_from([*sorted(files), largest]))
    return name, files | {name: data.draw(mutilated(files[name]))}


def put(folder: Path, files: Files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def lines_of(content):
    return [line.rstrip("\r") for line in content.decode("utf-8-sig", "replace").split("\n")]


@contextlib.contextmanager
def impatient():
    """A disk that is never waited for, and no bars when the machine is slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(tqdm, "__init__", partialmethod(tqdm.__init__, disable=True))
        yield


def run(out: Path, *argv) -> int:
    """Runs a command that writes `out`: it ends with 0, or with 2, one line that says why, and no output."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("ignore", DeprecationWarning)  # as Python does
        code = main([*map(str, argv), "--out", str(out)])
    assert not warned, "a warning is printed on stderr"
    if code == 0:
        assert not stderr.getvalue(), stderr.getvalue()
        assert out.is_dir()
        return code
    (line,) = stderr.getvalue().splitlines()
    assert code == 2 and line.startswith("cmask: error: ") and len(line) < 1500
    assert not out.exists()
    return code
