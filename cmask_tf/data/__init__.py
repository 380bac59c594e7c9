"""Annotated photos: public formats, tf.Example records, pipelines and ConceptWorld."""
