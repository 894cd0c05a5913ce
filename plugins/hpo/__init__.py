"""Hyperparameter search: algorithms, trial schedulers, executors."""

from drivetrain import SearchAlgorithmPlugin, TrialExecutorPlugin, TrialSchedulerPlugin, hookimpl

_HERE = "drivetrain.plugins.hpo"


def _algorithm(name: str, about: str, module: str, config: str | None = None, suits: bool = False) -> SearchAlgorithmPlugin:
    return SearchAlgorithmPlugin(
        name=name, about=about, factory=f"{_HERE}.{module}:{name}", config=config and f"{_HERE}.config:{config}",
        suits=f"{_HERE}.suits:{name}" if suits else None,
    )  # fmt: skip


@hookimpl
def drivetrain_search_algorithms():
    return [
        _algorithm("random", "Independent random points", "chance"),
        _algorithm("grid", "Every point of a grid, coarsely at first", "chance", "GridConfig", suits=True),
        _algorithm("bayes", "Gaussian process over ranks, for up to some hundred trials", "bayes", "BayesConfig",
                   suits=True),
        _algorithm("tpe", "Tree-structured Parzen estimators (Optuna)", "optuna_samplers", "TpeConfig", suits=True),
        _algorithm("gp", "Gaussian process with expected improvement (Optuna)", "optuna_samplers", "StartupConfig"),
        _algorithm("cmaes", "CMA-ES over numbers, the rest at random (Optuna)", "optuna_samplers", "CmaEsConfig"),
        _algorithm("qmc", "Sobol or Halton points, which fill the space evenly (Optuna)", "optuna_samplers", "QmcConfig"),
        _algorithm("nsga2", "Genetic, for several objectives (Optuna's NSGA-II)", "optuna_samplers", "Nsga2Config",
                   suits=True),
        _algorithm("genetic", "Genetic, on islands with migration, one child at a time", "genetic", "GeneticConfig"),
    ]  # fmt: skip


def _scheduler(name: str, about: str, module: str, factory: str, config: str | None = None, **more: bool):
    return TrialSchedulerPlugin(
        name=name, about=about, factory=f"{_HERE}.{module}:{factory}", config=config and f"{_HERE}.config:{config}",
        **more,
    )  # fmt: skip


@hookimpl
def drivetrain_trial_schedulers():
    return [
        _scheduler("none", "Every trial runs to its end", "stopping", "none", default=True),
        _scheduler("median", "Trials worse than the median of others stop", "stopping", "MedianStop", "MedianConfig"),
        _scheduler("asha", "Asynchronous successive halving: the best of a rung go on", "halving", "Asha", "HalvingConfig"),
        _scheduler("hyperband", "ASHA with several first rungs; with a model, BOHB", "halving", "Hyperband", "HyperbandConfig"),
        _scheduler("pbt", "Population-based training: the worst go on from the best", "population", "Population", "PbtConfig",
                   changes_trials=True),
    ]  # fmt: skip


@hookimpl
def drivetrain_trial_executors():
    return [
        TrialExecutorPlugin(
            name="local", about="Jobs on this machine, some at a time", factory=f"{_HERE}.local:LocalExecutor",
            config=f"{_HERE}.config:LocalConfig", default=True,
        ),
        TrialExecutorPlugin(
            name="slurm", about="Slurm: a job a trial, or steps of an allocation", factory=f"{_HERE}.slurm:from_config",
            config=f"{_HERE}.config:SlurmConfig",
        ),
        TrialExecutorPlugin(
            name="ray", about="A cluster of Ray places trials on its nodes", factory=f"{_HERE}.ray_executor:RayExecutor",
            config=f"{_HERE}.config:RayConfig",
        ),
        TrialExecutorPlugin(
            name="simulated", about="A Python function on a virtual clock, for tests", factory=f"{_HERE}.simulated:from_config",
            config=f"{_HERE}.config:SimulatedConfig",
        ),
    ]  # fmt: skip
