"""Weights & Biases: curves, pictures with truth and prediction to toggle, and the recipe, online or offline."""

from drivetrain import TrackerPlugin, hookimpl


@hookimpl
def drivetrain_trackers():
    return [
        TrackerPlugin(
            name="wandb", about="Weights & Biases, offline where there is no API key",
            config="drivetrain.plugins.trackers.wandb.config:WandbConfig",
            factory="drivetrain.plugins.trackers.wandb.tracker:build",
        )
    ]  # fmt: skip
