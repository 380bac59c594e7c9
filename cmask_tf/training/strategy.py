"""Where a training runs: one device, several, or several hosts, by the same code; and the random seeds.

Several hosts are described by the environment variable TF_CONFIG, as TensorFlow documents it.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from cmask_tf.data.order import Share
from cmask_tf.errors import UserError
from cmask_tf.training.cluster import WAIT, Cluster


def make_strategy(devices: Sequence[str] | None = None, wait: float = WAIT) -> tf.distribute.Strategy:
    """The strategy for the devices asked for, for TF_CONFIG's cluster, or for every GPU that is there.

    Args:
        devices: names such as "GPU:0" or "CPU:0"; by default all GPUs, or the CPU.
        wait: seconds for the other hosts to come.

    Raises:
        UserError: a device that is not there, or a TF_CONFIG that is not as it should be.
        LostHost: another host did not come.
    """
    if cluster := Cluster.from_environment():
        return cluster.strategy(wait)
    known = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    chosen = list(devices or [name for name in known if name.startswith("GPU")] or ["CPU:0"])
    for name in chosen:
        if name not in known:
            raise UserError(f"device {name}: not on this machine; here: {', '.join(known)}")
    if len(chosen) == 1:
        return tf.distribute.OneDeviceStrategy(chosen[0])
    if all(name.startswith("CPU") for name in chosen):
        return tf.distribute.MirroredStrategy(chosen, tf.distribute.ReductionToOneDevice())
    return tf.distribute.MirroredStrategy(chosen)


def set_determinism(seed: int, kernels: bool = True) -> None:
    """Seeds Python, NumPy, TensorFlow and Keras. Call it before anything is built.

    Args:
        seed: of all generators.
        kernels: ask TensorFlow for reproducible kernels too, at some speed.
    """
    keras.utils.set_random_seed(seed)
    if kernels:
        tf.config.experimental.enable_op_determinism()


def distribute(
    batches: tf.data.Dataset, strategy: tf.distribute.Strategy, deterministic: bool
) -> tf.distribute.DistributedDataset:
    """Deals the rows of global batches evenly to the replicas.

    tf.distribute's own split can leave a replica empty at the end of an epoch, and convolutions fail on
    nothing. With fewer rows than replicas each replica gets all of them here, at a smaller weight: the same
    mean loss, gradient and batch statistics.

    Args:
        batches: a structure of tensors [B, ...], the last batch may be smaller; every host then makes every
            batch and keeps its own rows. Or, as the pipelines give them when they know the host's `share`,
            (the host's rows, the number of rows of the global batch).
        strategy: whose replicas get them.
        deterministic: in a fixed order; always so on several hosts, which have to agree.

    Returns:
        For each replica: its rows; the number of rows of the global batch, int64; the weight of one of its
        rows in the global mean, float32.
    """
    replicas = strategy.num_replicas_in_sync

    known = isinstance(batches.element_spec, tuple)

    def deal(rows, count, replica, step):
        """Every step-th row, from the replica's place on; all rows when they are too few."""
        enough = count >= replicas
        if step > 1:
            start, stride = tf.where(enough, replica, 0), tf.where(enough, tf.constant(step, tf.int64), 1)
            places = tf.range(start, _rows(rows), stride)
            rows = tf.nest.map_structure(lambda t: tf.gather(t, places), rows)
        dealt = tf.where(enough, count, count * replicas)
        return rows, count, 1.0 / tf.cast(dealt, tf.float32)

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines
        first, step = (0, local) if known else (context.input_pipeline_id * local, replicas)
        mine = tf.data.Dataset.range(first, first + local)
        counted = batches if known else batches.map(lambda rows: (rows, _rows(rows)))
        options = tf.data.Options()
        options.deterministic = deterministic or context.num_input_pipelines > 1
        dealt = counted.flat_map(lambda rows, count: mine.map(lambda place: deal(rows, count, place, step)))
        return dealt.with_options(options).prefetch(local)

    return strategy.distribute_datasets_from_function(of_host)


def share(strategy: tf.distribute.Strategy) -> Share:
    """Which rows of every global batch this host's replicas get from `distribute`."""
    replicas, cluster = strategy.num_replicas_in_sync, Cluster.from_environment()
    if cluster is None or strategy.cluster_resolver is None:
        return Share(0, replicas, replicas)
    local = replicas // len(cluster.addresses)
    place = list(cluster.addresses).index(cluster.me)
    return Share(place * local, (place + 1) * local, replicas)


def _rows(batch) -> tf.Tensor:
    return tf.shape(tf.nest.flatten(batch)[0], out_type=tf.int64)[0]
