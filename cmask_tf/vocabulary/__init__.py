"""From tag lists to word vectors: counts, PMI, eigenvectors, the vocabulary directory. No TensorFlow."""
