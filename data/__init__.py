"""Click and engagement logs in, labelled tf.Examples out: columns in, columns out."""
