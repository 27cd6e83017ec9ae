"""What every test runs under: the settings and the arithmetic of a training, set before TensorFlow is imported.

Without them a test's own process and those that it starts may multiply to other last digits.
"""

from pipeline.terminal import choose_arithmetic, quiet_environment

quiet_environment()
choose_arithmetic(is_serving=False)
