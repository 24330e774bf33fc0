# The commands of this repository. Each is a script in scripts/ that says what it does.

# Where `make quickstart` keeps its data, and where it listens.
DATA ?= data
LISTEN ?= 127.0.0.1:5000

.PHONY: quickstart test soak bench

# One process with a Postgres of its own; installs what is missing, builds, runs. Ctrl-C stops it.
quickstart:
	@scripts/quickstart.sh "$(DATA)" "$(LISTEN)"

# Everything that a change must pass, with the time of each suite.
test:
	@scripts/test.sh

# The long counts of the same tests; hours are fine.
soak:
	@scripts/soak.sh

# Figures: against other registries on the same machine, what Postgres costs a pull, what replicas cost and give, and what
# a pooler costs. `scripts/bench.sh PART` for one of them.
bench:
	@scripts/bench.sh
