# Two commands do everything on a fresh machine: `make demo` and `make test`. Root is not needed.
PYTHON ?= python3.11
RUN := OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1 .venv/bin
DATA ?=

.PHONY: setup demo test quick lint up down status doctor lock starter recogniser clean

setup:            ## make both environments; at once when they are there
	@command -v $(PYTHON) >/dev/null || { echo "ratchet set-up: $(PYTHON) is not on PATH (install Python 3.11, or make PYTHON=/path/to/python3.11 $(MAKECMDGOALS))" >&2; exit 2; }
	@$(PYTHON) scripts/setup.py

demo: setup       ## the whole story end to end; DATA=../shared/data runs it on public data
	@$(RUN)/ratchet demo $(if $(DATA),--data $(DATA))

test: setup lint  ## everything: unit, real services, the end-to-end story
	$(RUN)/python -m pytest -m "not e2e" -n 2 --dist loadfile
	$(RUN)/python -m pytest -m e2e

quick:            ## what a developer runs all the time: under three minutes
	$(RUN)/python -m pytest -m "not slow and not services and not e2e" -n 2 --dist loadfile

lint:             ## style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

up: setup         ## start Airflow, MLflow, Triton, the gateway and the watcher
	@$(RUN)/ratchet up

down status doctor:
	@$(RUN)/ratchet $@

lock:             ## pin what is installed
	.venv/bin/python scripts/lock.py

starter:          ## build the starter model again (minutes)
	$(RUN)/python -m pipelines.training.starter.build --out models/starter --seed 7

recogniser:       ## build the recogniser of names again (twenty minutes of one core)
	$(RUN)/python -m pipelines.masking.recogniser.train --out models/recogniser --seed 7 --examples 100000 --stop-at 76527
	$(RUN)/python -m pipelines.masking.recogniser.train --out models/recogniser --seed 8 --examples 30000 --rate 4e-4 --resume

clean:            ## remove everything a run wrote; not the environments
	@$(RUN)/ratchet down || true
	rm -rf var
