# The usual commands; `just --list` shows them.

python := ".venv/bin/python"

# Make the environment.
setup:
    python3 -m venv .venv && .venv/bin/pip install --quiet -e '.[dev]'

# Run all tests, or those that are named.
test *arguments="-n 4":
    .venv/bin/pytest {{arguments}}

# Check style, types and layers.
lint:
    .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy notifier tests && .venv/bin/lint-imports

# Format, and fix what ruff can fix.
format:
    .venv/bin/ruff check --fix . && .venv/bin/ruff format .

# Take the newest versions of all libraries, for CI and for the service.
constraints:
    uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --extra dev \
        --custom-compile-command "just constraints" pyproject.toml --output-file .ci/constraints.txt
    uv pip compile --quiet --universal --python-version 3.11 --no-annotate --generate-hashes \
        --constraint .ci/constraints.txt --custom-compile-command "just constraints" pyproject.toml \
        --output-file systemd/requirements.txt

# Run the tests of modules, of the store and of messages with the lowest versions of the libraries that are allowed.
lowest:
    .ci/lowest

# Build the container image and run it; needs podman or docker.
image *base:
    .ci/image {{base}}

# Measure which branches the tests reach.
coverage:
    .ci/coverage

# Write the manual page and the generated parts of the documentation again.
docs:
    .venv/bin/notifier man > notifier/cli/notifier.1
    {{python}} -m tests.support.generated_docs

# Take the dashboard's pictures again.
screenshots:
    {{python}} -m tests.screenshots

# Measure: `just bench delivery`, `just bench latency`.
bench name *arguments:
    {{python}} -m tests.benchmarks.{{name}} {{arguments}}

# Look for faults of detection in simulated worlds for so many seconds.
hunt seconds="60":
    {{python}} -m tests.simulation hunt {{seconds}}
