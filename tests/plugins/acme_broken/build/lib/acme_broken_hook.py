from drivetrain import hookimpl


@hookimpl
def drivetrain_modles():
    return []
