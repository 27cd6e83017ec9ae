"""Pure TensorFlow: feature transforms, the multi-task ranker, its losses, metrics and export."""
