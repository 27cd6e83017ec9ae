"""The online side: model server, feature store, ranker."""
