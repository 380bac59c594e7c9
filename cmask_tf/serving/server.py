"""The embedded server: gRPC and REST in one process and on one event loop, until it is told to stop.

gRPC runs on asyncio and not on threads: a request that waits in the queue costs a coroutine instead of a
thread, so that an overload is refused at once and not after its turn in a pool; a cancelled or late
request is a cancelled task; and the queue and the versions need no locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from pathlib import Path

import grpc
import uvicorn

from cmask_tf.errors import UserError
from cmask_tf.serving import grpc_api, log, rest_api, version_folder
from cmask_tf.serving.batching import Batcher
from cmask_tf.serving.http_timeouts import TimedProtocol
from cmask_tf.serving.metrics import Metrics
from cmask_tf.serving.options import ServerOptions
from cmask_tf.serving.predictor import Predictor
from cmask_tf.serving.versions import Versions, watching

_FIRST_LOOKS = 0.2  # seconds between the two looks at a directory that a start needs
_CONNECTIONS = 512  # that REST takes at once
_RPCS_BEYOND = 256  # what gRPC takes at once beside all that may wait and run
_HANDSHAKE_MS = 10_000
_FLUSH_SECONDS = 1.0


class Server:
    """One server; `start` it and `stop` it on the same event loop."""

    def __init__(self, options: ServerOptions):
        self.options = options
        self.port = 0
        self.rest_port = 0
        metrics = Metrics()
        self.versions = Versions(options.model_name, options.model_base_path, self._version_changed)
        self._batcher = Batcher(options, metrics)
        self.predictor = Predictor(options, self.versions, self._batcher, metrics)
        self._closing = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Loads the latest version that is whole, then listens on both ports.

        Raises:
            UserError: no version can be served, a port is taken, or a TLS file is not what it should be.
        """
        await self._load_first()
        self._batcher.start()
        self._closing.push_async_callback(self._batcher.stop)
        try:
            await self._listen()
        except BaseException:
            await self._closing.aclose()
            raise
        await self._closing.enter_async_context(
            watching(self.versions, self.options.file_system_poll_wait_seconds)
        )
        await grpc_api.set_health(self._health, True)
        log.line("serving", model=self.options.model_name, grpc=self.port, rest=self.rest_port)

    async def stop(self) -> None:
        """Drains: health says NOT_SERVING, new predictions are refused, running ones get their time."""
        log.line("draining", seconds=self.options.grace_seconds)
        await grpc_api.set_health(self._health, False)
        whole = await self.predictor.drain(self.options.grace_seconds)
        await self._closing.aclose()
        log.line("stopped", whole=whole)

    async def _load_first(self) -> None:
        await self.versions.poll()
        await asyncio.sleep(_FIRST_LOOKS)
        await self.versions.poll()
        if self.versions.available is not None:
            return
        base = self.options.model_base_path
        found = version_folder.scan(base)
        if not found:
            raise UserError(f"{base}: no version in it; expected folders 1, 2, ... with a SavedModel each")
        latest = max(found)
        refused = self.versions.status.get(latest)
        reason = version_folder.missing(found[latest]) or (refused.message if refused else "still changing")
        raise UserError(f"{found[latest].directory}: not a whole SavedModel: {reason}")

    async def _listen(self) -> None:
        options = self.options
        _check_tls(options)
        waiting = (options.max_enqueued_batches + options.num_batch_threads) * options.max_batch_size
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", options.max_request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
            ],
            maximum_concurrent_rpcs=waiting + _RPCS_BEYOND,
        )
        self._health = grpc_api.add_services(server, self.predictor)
        self.port = _bind_grpc(server, options)
        await server.start()
        self._closing.push_async_callback(server.stop, _FLUSH_SECONDS)
        await self._listen_rest()

    async def _listen_rest(self) -> None:
        options = self.options
        listener = _bind(options.host, options.rest_api_port)
        self.rest_port = listener.getsockname()[1]
        tls = {}
        if options.ssl_key_file is not None:
            tls = {"ssl_keyfile": options.ssl_key_file, "ssl_certfile": options.ssl_cert_file}
        if options.ssl_client_ca_file is not None:
            tls |= {"ssl_ca_certs": options.ssl_client_ca_file, "ssl_cert_reqs": ssl.CERT_REQUIRED}
        config = uvicorn.Config(
            rest_api.application(self.predictor), http=TimedProtocol, ws="none", lifespan="off",
            log_config=None, access_log=False, proxy_headers=False, server_header=False,
            limit_concurrency=_CONNECTIONS, timeout_graceful_shutdown=1, **tls,
        )  # fmt: skip
        server = _Uvicorn(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))

        async def close() -> None:
            server.should_exit = True
            await task

        self._closing.push_async_callback(close)
        while not server.started and not task.done():
            await asyncio.sleep(0.01)

    def _version_changed(self) -> None:
        self.predictor.metrics.version(self.options.model_name, self.versions.available)


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handlers: `run` decides what a signal does."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


def run(options: ServerOptions) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal ends at once.

    Raises:
        UserError: the server cannot start.
    """
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    log.start()
    asyncio.run(_run(options))


async def _run(options: ServerOptions) -> None:
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    server = Server(options)
    if await _unless_signalled(server.start(), signals):
        await signals.get()
        await _unless_signalled(server.stop(), signals)


async def _unless_signalled(work, signals: asyncio.Queue[int]) -> bool:
    """Whether `work` ended before a signal came, which cancels it."""
    task, told = asyncio.create_task(work), asyncio.create_task(signals.get())
    await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    return False


def _check_tls(options: ServerOptions) -> None:
    """gRPC takes any bytes for a certificate and fails at each handshake; this fails at the start."""
    if options.ssl_key_file is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.ssl_cert_file, options.ssl_key_file)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"{options.ssl_cert_file}, {options.ssl_key_file}: expected a certificate and its key ({error})"
        ) from None
    if options.ssl_client_ca_file is not None:
        try:
            context.load_verify_locations(options.ssl_client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise UserError(f"{options.ssl_client_ca_file}: expected certificates in PEM ({error})") from None


def _bind_grpc(server: grpc.aio.Server, options: ServerOptions) -> int:
    address = f"{_bracketed(options.host)}:{options.port}"
    try:
        if options.ssl_key_file is None:
            return server.add_insecure_port(address)
        pair = (_read(options.ssl_key_file), _read(options.ssl_cert_file))
        ca = _read(options.ssl_client_ca_file) if options.ssl_client_ca_file else None
        credentials = grpc.ssl_server_credentials([pair], ca, require_client_auth=ca is not None)
        return server.add_secure_port(address, credentials)
    except RuntimeError:
        raise UserError(f"{address}: cannot listen there; is the port taken?") from None


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise UserError(f"{_bracketed(host)}:{port}: cannot listen there ({error.strerror})") from None
    return listener


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _read(file: Path) -> bytes:
    return file.read_bytes()
