"""The trained system as one SavedModel that TensorFlow Serving loads as it is."""
