"""drivetrain's own recipes: YAML, one file per thing that a user would run."""
