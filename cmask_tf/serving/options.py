"""What the server is told on the command line; the names are TensorFlow Serving's where it has them."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from cmask_tf.errors import UserError

_MOST_PIXELS = 178_956_970  # Pillow's own limit


def _flag(default, text: str, metavar: str = "N"):
    return field(default=default, metadata={"help": text, "metavar": metavar})


@dataclass(frozen=True)
class ServerOptions:
    """The settings of one server. Each field is a flag of the same name (`_` and `-` both work)."""

    model_base_path: Path = _flag(None, "the folder with the versions 1, 2, ... of the SavedModel", "DIR")
    model_name: str = _flag("default", "the name that requests ask for", "NAME")
    host: str = _flag("127.0.0.1", "the address to listen on", "ADDRESS")
    port: int = _flag(8500, "the gRPC port; 0 takes a free one", "PORT")
    rest_api_port: int = _flag(8501, "the REST port; 0 takes a free one", "PORT")
    file_system_poll_wait_seconds: float = _flag(1.0, "between two looks for versions", "SECONDS")
    max_batch_size: int = _flag(8, "rows that one run of the graph takes at most", "ROWS")
    batch_timeout_micros: int = _flag(0, "how long a batch waits for more rows while a thread is free")
    max_enqueued_batches: int = _flag(10, "batches that wait at most; more is RESOURCE_EXHAUSTED")
    num_batch_threads: int = _flag(1, "batches that run at once")
    rest_api_timeout_in_ms: int = _flag(30_000, "the time limit of a REST request", "MS")
    max_request_bytes: int = _flag(32 << 20, "the largest gRPC message or REST body", "BYTES")
    max_image_pixels: int = _flag(50_000_000, "the largest image, by its header", "PIXELS")
    max_concepts: int = _flag(256, "concepts that a row may ask for")
    ssl_key_file: Path | None = _flag(None, "the server's key (PEM): TLS on both ports", "FILE")
    ssl_cert_file: Path | None = _flag(None, "the server's certificate chain (PEM)", "FILE")
    ssl_client_ca_file: Path | None = _flag(None, "ask clients for a certificate of this CA (PEM)", "FILE")
    grace_seconds: float = _flag(30.0, "how long running requests may take after SIGTERM", "SECONDS")

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads", "rest_api_timeout_in_ms",
                     "max_request_bytes", "max_image_pixels", "max_concepts"):  # fmt: skip
            if getattr(self, name) < 1:
                raise UserError(f"--{name}: {getattr(self, name)}; expected at least 1")
        for name in ("batch_timeout_micros", "grace_seconds"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name}: {getattr(self, name)}; expected 0 or more")
        if self.file_system_poll_wait_seconds <= 0:
            raise UserError(
                f"--file_system_poll_wait_seconds: {self.file_system_poll_wait_seconds}; expected more than 0"
            )
        if self.max_image_pixels > _MOST_PIXELS:
            raise UserError(
                f"--max_image_pixels: {self.max_image_pixels}; expected at most {_MOST_PIXELS}, "
                "beyond which no header is read"
            )
        for name in ("port", "rest_api_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise UserError(f"--{name}: {getattr(self, name)}; expected 0 to 65535")
        if not self.model_base_path.is_dir():
            raise UserError(
                f"{self.model_base_path}: no such folder; expected versions of a SavedModel in it"
            )
        if (self.ssl_key_file is None) != (self.ssl_cert_file is None):
            raise UserError("--ssl_key_file and --ssl_cert_file: expected both or neither")
        if self.ssl_client_ca_file is not None and self.ssl_key_file is None:
            raise UserError("--ssl_client_ca_file: expected --ssl_key_file and --ssl_cert_file with it")
        for name in ("ssl_key_file", "ssl_cert_file", "ssl_client_ca_file"):
            file = getattr(self, name)
            if file is not None and not file.is_file():
                raise UserError(f"{file}: no such file; expected one in PEM for --{name}")


_KINDS = {"int": int, "float": float, "str": str}  # a field's annotation -> what argparse calls


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds every field of `ServerOptions` as a flag."""
    for each in dataclasses.fields(ServerOptions):
        spellings = dict.fromkeys((f"--{each.name}", f"--{each.name.replace('_', '-')}"))
        required = each.name == "model_base_path"
        text = each.metadata["help"]
        if each.default is not None:
            text += f" (default: {each.default})"
        parser.add_argument(*spellings, type=_KINDS.get(each.type, Path), default=each.default,
                            required=required, metavar=each.metadata["metavar"], help=text)  # fmt: skip


def from_arguments(args: argparse.Namespace) -> ServerOptions:
    """The options as `add_arguments` understood them.

    Raises:
        UserError: a value is out of range, or a file is not there.
    """
    return ServerOptions(
        **{each.name: getattr(args, each.name) for each in dataclasses.fields(ServerOptions)}
    )
