"""What a model is worth: masks where the concept is present, presence over all pairs, false masks."""
