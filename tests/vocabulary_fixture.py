"""A vocabulary of given words, each in a dimension of its own, that never co-occur."""

import numpy as np
import scipy.sparse

from cmask_tf.vocabulary.artefact import Vocabulary


def plain_vocabulary(names, aliases=None) -> Vocabulary:
    count = len(names)
    return Vocabulary(
        list(names),
        np.full(count, 5),
        np.ones(count, np.float32),
        ["unknown"] * count,
        aliases or [[] for _ in names],
        np.eye(count, dtype=np.float32),
        np.ones(count, np.float32),
        scipy.sparse.csr_matrix((count, count), dtype=np.int32),
        {"documents": 100},
    )
