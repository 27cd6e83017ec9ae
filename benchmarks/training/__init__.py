"""The race of training: the Trainer from TFRecords, its step on tensors in memory, and peers on the same MMoE and columns."""
