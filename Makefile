.PHONY: demo test checks environment clean

BIN := .venv/bin
# TFRS runs on Keras 2; the child processes of tests and tools must agree before TensorFlow is imported.
export TF_USE_LEGACY_KERAS := 1
export TF_CPP_MIN_LOG_LEVEL := 2

demo: environment
	@$(BIN)/smalltowers demo configs/demo.toml

test: checks
	@$(BIN)/pytest

checks: environment
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@.venv-tools/docstrings/bin/pydoclint --quiet data models serving pipeline benchmarks
	@$(BIN)/mypy
	@$(BIN)/codespell

environment: .venv/.complete

.venv/.complete: pyproject.toml uv.lock deploy/environment.sh
	@deploy/environment.sh
	@touch $@

clean:
	rm -rf runs .pytest_cache .ruff_cache .mypy_cache .hypothesis
