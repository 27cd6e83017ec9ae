"""The ranker's protocol; the modules beside are generated from ranker.proto."""
