# The commands of this repository. Each is a script in scripts/ that says what it does.

# Where `make quickstart` keeps its data, and where it listens.
DATA ?= data
LISTEN ?= 127.0.0.1:5000

.PHONY: quickstart test soak bench bench-pulls bench-replicas

# One process with a Postgres of its own; installs what is missing, builds, runs. Ctrl-C stops it.
quickstart:
	@scripts/quickstart.sh "$(DATA)" "$(LISTEN)"

# Everything that a change must pass, with the time of each suite.
test:
	@scripts/test.sh

# The long counts of the same tests; hours are fine.
soak:
	@scripts/soak.sh

# Figures, against other registries on the same machine.
bench:
	@scripts/bench.sh

# What Postgres costs a pull, against an answer that needs none.
bench-pulls:
	@scripts/bench.sh pulls

# What replicas and their lag cost pushes, and give to reads.
bench-replicas:
	@scripts/bench.sh replicas
