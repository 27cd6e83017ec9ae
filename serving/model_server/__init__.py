"""TF Serving's gRPC API over a folder of SavedModel versions."""
