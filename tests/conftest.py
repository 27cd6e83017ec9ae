"""What every test runs under: the settings and the arithmetic of a training, set before TensorFlow is imported.

Without them a test's own process and those that it starts may multiply to other last digits.
"""

import os

from pipeline.terminal import ARITHMETIC_VARIABLE, choose_arithmetic, quiet_environment

quiet_environment()
os.environ.pop(ARITHMETIC_VARIABLE, None)
choose_arithmetic(is_serving=False)
