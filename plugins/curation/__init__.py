"""Checks of ``drivetrain data curate``, one file each."""

from drivetrain import CurationCheckPlugin, hookimpl

_CHECKS = [
    ("exact_duplicates", "Pictures that are byte for byte the same as an earlier one", {"excludes": True}),
    ("near_duplicates", "Pictures that look like an earlier one of the same set: standing still, or copied and re-encoded", {}),
    ("leakage", "What should be apart and is not: a drive in two sets, pictures of one set that look like another's", {}),
    ("exposure", "Pictures that are black, or white for the most part", {"excludes": True}),
    ("blur", "Pictures with far less fine detail than the others of their set", {"excludes": True}),
    (
        "label_sanity",
        "Labels that cannot be: boxes outside the picture, absurd sizes, unknown classes, boxes against the mask",
        {},
    ),
    ("label_errors", "Likely wrong labels, by a model's confident predictions", {"needs_predictions": True}),
    ("balance", "How often classes and scenarios occur, and which are rare", {}),
    ("informative", "Unlabelled frames from which most would be learnt", {"needs_predictions": True}),
]


@hookimpl
def drivetrain_curation_checks():
    here = "drivetrain.plugins.curation"
    return [
        CurationCheckPlugin(
            name=name,
            about=about,
            config=f"{here}.config:{_camel(name)}Config",
            factory=f"{here}.{name}:{_camel(name)}",
            **more,
        )
        for name, about, more in _CHECKS
    ]


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
