"""Several hosts as one training: who they are, how they wait for each other, what is said when one is gone.

TF_CONFIG names the hosts. TensorFlow's coordination service, which the first of them runs, finds out that a
host is gone: connections break when its process ends, and one that is cut off or frozen misses its
heartbeats. Whatever is under way then fails on all other hosts, and they end with `LostHost`. Nothing is
mended in place: all hosts are started again with the same command and go on with the last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from cmask_tf.errors import LostHost, UserError

WAIT = 600  # seconds for the other hosts to come, by default
SILENCE = 60  # seconds without a heartbeat after which a host counts as lost
_FOREVER = 30 * 24 * 3600 * 1000  # ms; a host that waits for the chief's work learns of its end by heartbeats
_GONE = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)
_GONE_TEXTS = ("Collective ops is aborted", "Barrier failed", "CoordinationService")
_WATCHER = """
import os, sys, time
seconds, line, watched = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
end = time.monotonic() + seconds
while time.monotonic() < end:
    time.sleep(0.2)
    if os.getppid() != watched:
        sys.exit()
print(line, file=sys.stderr, flush=True)
os.kill(watched, 9)
"""

Host = tuple[str, int]
_used: Counter[str] = Counter()


@dataclass(frozen=True)
class Cluster:
    """The hosts that train together.

    Attributes:
        addresses: "name:port" of each ("chief" or "worker", index); the first is the chief.
        me: which of them this process is.
    """

    addresses: dict[Host, str]
    me: Host

    @classmethod
    def from_environment(cls) -> Cluster | None:
        """The cluster of TF_CONFIG; None without one, or with a single host.

        Raises:
            UserError: TF_CONFIG is not as TensorFlow documents it.
        """
        try:
            config = json.loads(os.environ.get("TF_CONFIG", "{}"))
            jobs = {job: config.get("cluster", {}).get(job, []) for job in ("chief", "worker")}
            addresses = {(job, i): str(a) for job, hosts in jobs.items() for i, a in enumerate(hosts)}
            if len(addresses) < 2:
                return None
            me = config["task"]["type"], int(config["task"]["index"])
            ports = [int(address.rpartition(":")[2]) for address in addresses.values()]
        except (ValueError, AttributeError, KeyError, TypeError):
            ports = me = None
        if not ports or me not in addresses:
            raise UserError(
                "TF_CONFIG: expected a JSON object with 'cluster', lists of host:port by 'worker' or "
                "'chief', and 'task', 'type' and 'index' of this host"
            ) from None
        return cls(addresses, me)

    def strategy(self, wait: float = WAIT) -> tf.distribute.MultiWorkerMirroredStrategy:
        """Waits for the other hosts and joins them. To be called before TensorFlow does anything else.

        Args:
            wait: seconds for all of them to come.

        Raises:
            LostHost: names the hosts that did not come.
        """
        self._meet(wait)
        jobs = Counter(job for job, _ in self.addresses)
        chief, number = next(iter(self.addresses))
        context.context().configure_coordination_service(
            "standalone",
            service_leader=f"/job:{chief}/replica:0/task:{number}",
            cluster_register_timeout_in_ms=round(1000 * wait),
            heartbeat_timeout_in_ms=1000 * SILENCE,
            coordinated_jobs=[
                coordination_config_pb2.CoordinatedJob(name=job, num_tasks=count)
                for job, count in jobs.items()
            ],
        )
        with _ended_after(wait, f"cmask: error: {self._place}: a host that came is gone again; {_AGAIN}"):
            return tf.distribute.MultiWorkerMirroredStrategy()

    def describe(self, hosts: Iterable[Host]) -> str:
        """Names and addresses, for people."""
        return ", ".join(f"{job} {index} ({self.addresses[job, index]})" for job, index in hosts)

    @property
    def _place(self) -> str:
        return f"{self.me[0]} {self.me[1]} of TF_CONFIG"

    def _meet(self, wait: float) -> None:
        """Returns when every other host was seen. Each listens at its own port until it has seen the others.

        Left to TensorFlow 2.20, the chief would wait for a host that never comes with no end.
        """
        missing, told = [host for host in self.addresses if host != self.me], False
        began = time.monotonic()
        with self._listening(began + wait):
            while missing := [host for host in missing if not _answers(self.addresses[host])]:
                waited = time.monotonic() - began
                if waited > wait:
                    raise LostHost(
                        f"{self._place}: waited {wait:.0f} s for {self.describe(missing)}; start "
                        "every host, and check that this one can reach those addresses"
                    )
                if waited > 5 and not told:
                    print(f"{self._place}: waiting for {self.describe(missing)}", file=sys.stderr)
                    told = True
                time.sleep(0.2)

    @contextmanager
    def _listening(self, deadline: float) -> Iterator[None]:
        port = int(self.addresses[self.me].rpartition(":")[2])
        while True:
            try:
                both = socket.has_dualstack_ipv6()
                family = socket.AF_INET6 if both else socket.AF_INET
                server = socket.create_server(("", port), family=family, dualstack_ipv6=both)
                break
            except OSError as error:  # an earlier run of this host may need seconds to end
                if time.monotonic() > deadline:
                    raise UserError(f"{self._place}: port {port}: {error.strerror}") from None
                time.sleep(0.5)
        with server:
            yield


def lost_host(error: tf.errors.OpError) -> LostHost | None:
    """What to say when `error` means that another host is gone; None when it means something else."""
    cluster, text = Cluster.from_environment(), str(error)
    if cluster is None or not (isinstance(error, _GONE) or any(t in text for t in _GONE_TEXTS)):
        return None
    found = re.findall(r"/job:(\w+)/(?:replica:0/)?task:(\d+)", text)
    named = dict.fromkeys((job, int(index)) for job, index in found)
    others = [host for host in cluster.addresses if host != cluster.me]
    lost = [host for host in others if not _answers(cluster.addresses[host])]
    lost = lost or [host for host in others if host in named] or others[:1]
    ended = f"it ended, or was silent for {SILENCE} s"
    return LostHost(f"{cluster._place}: lost {cluster.describe(lost)}: {ended}; {_AGAIN}")


_AGAIN = "start all hosts again with the same command: they go on with the last checkpoint"


def wait_for_all(strategy: tf.distribute.Strategy, name: str) -> None:
    """Returns when all hosts have come to this place of the program, `name`; at once on a single host."""
    if _several(strategy):
        _used[name] += 1
        context.context().wait_at_barrier(f"cmask {name} {_used[name]}", _FOREVER)


def told_by_chief(strategy: tf.distribute.Strategy, name: str, text: str) -> str:
    """The chief's `text`, on all hosts."""
    if not _several(strategy):
        return text
    _used[name] += 1
    key = f"cmask/{name}/{_used[name]}"
    if is_chief(strategy):
        context.context().set_config_key_value(key, text)
        return text
    return context.context().get_config_key_value(key)


@contextmanager
def chief_first(strategy: tf.distribute.Strategy, name: str) -> Iterator[None]:
    """The chief runs the block while the other hosts wait; then they run it, and find what it has written."""
    if not is_chief(strategy):
        wait_for_all(strategy, name)
    yield
    if is_chief(strategy):
        wait_for_all(strategy, name)


def told_agreement(strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]) -> None:
    """On several hosts: each prints whether its weights are the chief's, bit by bit."""
    if not _several(strategy):
        return
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(variable.numpy().tobytes())
    mine = digest.hexdigest()[:16]
    chief = told_by_chief(strategy, "weights", mine)
    if not is_chief(strategy):
        mine += ", the chief's" if mine == chief else f", NOT the chief's {chief}"
    print(f"{Cluster.from_environment()._place}: weights {mine}", file=sys.stderr)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what the others only read: checkpoints, logs and results."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


def _several(strategy: tf.distribute.Strategy) -> bool:
    resolver = strategy.cluster_resolver
    return resolver is not None and Cluster.from_environment() is not None


def _answers(address: str) -> bool:
    name, _, port = address.rpartition(":")
    try:
        socket.create_connection((name.strip("[]"), int(port)), timeout=2).close()
    except OSError:  # also a name that is not known yet
        return False
    return True


@contextmanager
def _ended_after(seconds: float, line: str) -> Iterator[None]:
    """Ends this process with a line when the block takes longer.

    TensorFlow 2.20 holds Python's lock while it waits for the others to register: only another process can.
    """
    command = [sys.executable, "-S", "-c", _WATCHER, str(seconds), line, str(os.getpid())]
    with subprocess.Popen(command) as watcher:
        try:
            yield
        finally:
            watcher.kill()
