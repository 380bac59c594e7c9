"""The paper's equations in plain NumPy, written from the paper and not from the code that they test."""

import numpy as np


def sigmoid_cross_entropy(p, logit):
    """L_xe(p, sigmoid(logit)) = -p log q - (1 - p) log(1 - q), element by element."""
    q = 1.0 / (1.0 + np.exp(-np.asarray(logit, np.float64)))
    return -p * np.log(q) - (1.0 - p) * np.log(1.0 - q)


def cosine_loss(e, t):
    """4.1: L_embed(e, t) = 1 - e.t / (|e| |t|), for one pair."""
    return 1.0 - np.dot(e, t) / np.sqrt(np.dot(e, e) * np.dot(t, t))


def annotated_term(logits, concepts, targets):
    """The first term of Eqn. 2 for one image: [h, w, V], [A], [h, w, A]; the mean over annotated concepts."""
    terms = [
        np.mean(sigmoid_cross_entropy(targets[..., a], logits[..., k]))
        for a, k in enumerate(concepts)
        if k >= 0
    ]
    return np.mean(terms) if terms else 0.0


def matching_term(logits, original, concepts, n, threshold, allowed=None):
    """The second term of Eqn. 2 without c for one image, and the list Psi_N of the maps that entered."""
    free = [k for k in range(logits.shape[-1]) if k not in concepts and (allowed is None or allowed[k])]
    psi = sorted(free, key=lambda k: -original[..., k].max())[:n]
    binary = np.where(original > threshold, 1.0, 0.0)
    return sum(np.mean(sigmoid_cross_entropy(binary[..., k], logits[..., k])) for k in psi), psi


def overlap_ratio(images, i, j):
    """Eqn. 3 over a list of {concept: bool mask}: images with both; None when there are none."""
    both = [masks for masks in images if i in masks and j in masks]
    if not both:
        return None
    shared = sum(np.sum(masks[i] & masks[j]) for masks in both)
    return shared / sum(np.sum(masks[i]) for masks in both)


def gamma(overlap):
    """Eqn. 4."""
    return 1.0 - overlap if overlap < 0.5 else 0.0


def discrimination_term(logits, concepts, targets, weights, keep_positives):
    """4.2's spatial discrimination loss for one image: where G_i = 1, alpha_j should be 0.

    Weighted by gamma_ij, averaged over the locations, the j that have a weight, and the annotated concepts i.
    """
    height, width, count = logits.shape
    per_i = []
    for a, i in enumerate(concepts):
        if i < 0:
            continue
        per_j = []
        for j in range(count):
            if weights[i, j] == 0:
                continue
            values = []
            for y in range(height):
                for x in range(width):
                    marked = any(k == j and targets[y, x, b] == 1 for b, k in enumerate(concepts))
                    if targets[y, x, a] == 1 and not (keep_positives and marked):
                        values.append(sigmoid_cross_entropy(0.0, logits[y, x, j]))
            per_j.append(weights[i, j] * np.mean(values) if values else 0.0)
        per_i.append(np.mean(per_j) if per_j else 0.0)
    return np.mean(per_i) if per_i else 0.0


def mask_cross_entropy(logits, mask, weight):
    """4.3's mask loss for one example: the mean cross entropy over the pixels that count."""
    return np.sum(weight * sigmoid_cross_entropy(mask, logits)) / np.sum(weight)


def box_projection(logit, box):
    """BoxInst's projection term on both axes, and the cross entropy outside, of planes [S, S, 1]."""
    p = 1 / (1 + np.exp(-logit))
    sides = sum(soft_dice(p.max(axis), box.max(axis)) for axis in (0, 1))
    return sides + np.mean((1 - box) * -np.log(1 - p))


def soft_dice(p, g):
    """1 - (2 sum p g + 1) / (sum p + sum g + 1)."""
    return 1.0 - (2.0 * np.sum(p * g) + 1.0) / (np.sum(p) + np.sum(g) + 1.0)


# --- models: attention (4.1), refinement (4.2), mixing (4.4), verification (supplement 5) ---


def cosine(a, b):
    """a . b / (|a| |b|), 0 where either is null."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.dot(a, b) / lengths) if lengths > 0 else 0.0


def attention(e, w):
    """Eqn. 1 as a cosine, place by place: e [h, w, D], w [D] -> [h, w]."""
    alpha = np.zeros(e.shape[:2])
    for i in range(e.shape[0]):
        for j in range(e.shape[1]):
            alpha[i, j] = cosine(e[i, j], w)
    return alpha


def stretch(alpha):
    """Normalising a map to [0, 1] (4.3); a constant one becomes zeros."""
    low, high = alpha.min(), alpha.max()
    return np.zeros_like(alpha) if high == low else (alpha - low) / (high - low)


def refinement(alphas, kernel1, bias1, kernel2, bias2):
    """Two 1x1 convolutions (4.2), ReLU between, sigmoid behind: [h, w, V] -> [h, w, V]."""
    refined = np.zeros(alphas.shape)
    for i in range(alphas.shape[0]):
        for j in range(alphas.shape[1]):
            hidden = np.maximum(alphas[i, j] @ kernel1 + bias1, 0)
            refined[i, j] = 1 / (1 + np.exp(-(hidden @ kernel2 + bias2)))
    return refined


def mixing(theta, alpha_q, alpha_p):
    """4.4: theta * q + (1 - theta) * p, both normalised to [0, 1] first."""
    return theta * stretch(alpha_q) + (1 - theta) * stretch(alpha_p)


def verification(alpha, features, embed, w):
    """Supplement 5, step by step: alpha [h, w], features [h, w, C], embed [C] -> [D], w [D] -> the score."""
    weights = alpha / alpha.sum()
    pooled = np.zeros(features.shape[2])
    for i in range(alpha.shape[0]):
        for j in range(alpha.shape[1]):
            pooled += weights[i, j] * features[i, j]
    return cosine(embed(pooled), w)


def min_max(values):
    """4.3: one map stretched to [0, 1]; a constant one becomes zeros."""
    low, high = values.min(), values.max()
    return np.zeros_like(values) if high == low else (values - low) / (high - low)


def boxes_to_grid(boxes, slots, columns, height, width):
    """4.2: G, cell by cell: 1 where the centre lies in a box (ymin, xmin, ymax, xmax) of the column.

    Along an axis where a box holds no centre, the cell that holds the box's own centre stands in.
    """
    grid = np.zeros((height, width, columns))
    for (top, left, bottom, right), slot in zip(boxes, slots, strict=True):
        if slot < 0:
            continue
        rows = [i for i in range(height) if top <= (i + 0.5) / height <= bottom]
        cols = [i for i in range(width) if left <= (i + 0.5) / width <= right]
        rows = rows or [min(int((top + bottom) / 2 * height), height - 1)]
        cols = cols or [min(int((left + right) / 2 * width), width - 1)]
        for i in rows:
            grid[i, cols, slot] = 1
    return grid


def precision_recall_iou(prediction, truth):
    """5.3, one mask against its truth, counted pixel by pixel; an empty prediction has precision 0."""
    pairs = [(bool(p), bool(t)) for p, t in zip(np.ravel(prediction), np.ravel(truth), strict=True)]
    hit = sum(p and t for p, t in pairs)
    predicted, true, either = (
        sum(p for p, _ in pairs),
        sum(t for _, t in pairs),
        sum(p or t for p, t in pairs),
    )
    return (hit / predicted if predicted else 0.0), hit / true, hit / either


def pointing_hit(attention, truth):
    """5.2: whether the map's maximum lies in the true mask; the first of several in row-major order."""
    best, where = -np.inf, None
    for y in range(attention.shape[0]):
        for x in range(attention.shape[1]):
            if attention[y, x] > best:
                best, where = attention[y, x], (y, x)
    return bool(truth[where])


def soft_iou(attention, truth):
    """Eqn. 5: sum of alpha * G over sum of max(alpha, G), alpha in [0, 1]."""
    alpha, g = np.asarray(attention, np.float64), np.asarray(truth, np.float64)
    return np.sum(alpha * g) / np.sum(np.maximum(alpha, g))


def boundary_iou(prediction, truth):
    """Cheng et al. 2021: |(G_d and G) and (P_d and P)| / |(G_d and G) or (P_d and P)|, G_d the pixels within
    d of G's contour, d 2 % of the diagonal; what lies beyond the photo is not in the mask."""
    height, width = truth.shape
    d = max(1, round(0.02 * np.sqrt(height**2 + width**2)))
    bands = []
    for mask in (prediction, truth):
        padded = np.zeros((height + 2 * d, width + 2 * d), bool)
        padded[d : d + height, d : d + width] = mask
        band = [
            (y, x)
            for y in range(height)
            for x in range(width)
            if mask[y, x] and not padded[y : y + 2 * d + 1, x : x + 2 * d + 1].all()
        ]
        bands.append(set(band))
    return len(bands[0] & bands[1]) / len(bands[0] | bands[1])


def roc_auc(truth, scores):
    """The share of couples of a present and an absent one that the scores order rightly; ties are half."""
    won = [(p > a) + 0.5 * (p == a) for p in scores[truth] for a in scores[~truth]]
    return np.mean(won)


def average_precision(truth, scores):
    """The sum of (R_n - R_n-1) P_n over the thresholds n, from the highest score down."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        said = scores >= threshold
        now = (said & truth).sum() / truth.sum()
        total += (now - recall) * (said & truth).sum() / said.sum()
        recall = now
    return total


def expected_calibration_error(truth, scores, bins=10):
    """The mean over all pairs of |share of present ones - mean score| of their bin."""
    total = 0.0
    for b in range(bins):
        inside = (scores >= b / bins) & ((scores < (b + 1) / bins) | (b == bins - 1))
        if inside.any():
            total += inside.sum() * abs(truth[inside].mean() - scores[inside].mean())
    return total / len(scores)


def level_means(rows, levels, minimum):
    """The tables' mean: photo -> concept -> level. rows: (photo, concept, value)."""
    means = {}
    for level in sorted(set(levels.values())):
        of_concepts = []
        for concept in [c for c in levels if levels[c] == level]:
            values = [value for _, c, value in rows if c == concept]
            if len(values) >= minimum:
                of_concepts.append(np.mean(values))
        if of_concepts:
            means[level] = np.mean(of_concepts)
    return means


def pmi(images, words, k=0.0):
    """Supplement 2.1: M over a list of tag sets; k images are added to observed and expected counts."""
    n = len(images)
    m = np.zeros((len(words), len(words)))
    for i, a in enumerate(words):
        for j, b in enumerate(words):
            both = sum(a in tags and b in tags for tags in images)
            p_a, p_b = (sum(w in tags for tags in images) / n for w in (a, b))
            if i == j:
                m[i, j] = -np.log(p_a)
            else:
                ratio = (both + k) / (n * p_a * p_b + k)
                m[i, j] = np.log(ratio) if ratio > 0 else -np.inf
    return m


def word_vectors(m, d):
    """Supplement 2.1: W = U S^(1/2) of M = U S U^T, largest eigenvalues first, d columns (signs are free)."""
    s, u = np.linalg.eigh(m)
    order = np.argsort(-s)[:d]
    return u[:, order] @ np.diag(np.sqrt(s[order]))


def soft_topic(tags, p, w):
    """4.1: t = sum_i -log p(w_i) w_i over the tags of one image."""
    t = np.zeros(w.shape[1])
    for i in tags:
        t += -np.log(p[i]) * w[i]
    return t


def second_order_neighbour(m, q, candidates):
    """The candidate whose row of M is most like q's by cosine, columns p and q left out of both rows."""
    best, best_cosine = None, -np.inf
    for p in candidates:
        columns = [c for c in range(len(m)) if c not in (p, q)]
        a, b = m[q, columns], m[p, columns]
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        if p != q and cosine > best_cosine:
            best, best_cosine = p, cosine
    return best


def pmi_neighbour(words, q, boxed):
    """4.4 by brute force: the one of `boxed` whose word vector has the largest cosine with q."""
    return max(boxed, key=lambda p: cosine(words[p], q))
