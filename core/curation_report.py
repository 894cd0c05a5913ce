"""What a curation leaves: a page with pictures, a list for programs, and views that leave frames out."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .contracts import ShardSet
from .curation import Bars, CurationFinding, Place
from .evaluate import decode_image
from .frame import CameraLabels
from .overlay import VIEW, OverlayWriter
from .pages import bars as value_bars
from .pages import write_page
from .pictures import draw_labels
from .rasters import decode_pixels

_SHOWN, _WIDTH = 12, 420  # pictures a check, px
_RED = (235, 30, 30)
_ORDER = ("error", "warning", "note")
_STYLE = """
body { max-width: 1400px } h2 { margin-top: 2.5rem; border-top: 1px solid var(--rule); padding-top: 1rem }
.cards { display: flex; flex-wrap: wrap; gap: 1rem }
figure { border: 1px solid var(--rule); border-radius: 6px; padding: .6rem; max-width: 880px }
figure img { display: inline-block; max-width: 420px; height: auto; margin-right: 4px }
figcaption { overflow-wrap: anywhere; max-width: 860px } small { color: var(--soft) }
.error { color: light-dark(#b00020, #ff7a85) } .warning { color: light-dark(#8a5a00, #e0b050) } .note { color: var(--soft) }
"""


def write_findings(path: Path, found: Mapping[str, Sequence[CurationFinding]], sets: Sequence[str]) -> None:
    """A JSON line a finding: key, set, camera, check, severity, what, evidence, partner's key and set."""
    with path.open("w") as file:
        for check, findings in found.items():
            file.writelines(json.dumps(_record(check, finding, sets)) + "\n" for finding in findings)


def _record(check: str, finding: CurationFinding, sets: Sequence[str]) -> dict[str, Any]:
    place, partner = finding.place, finding.partner
    return {
        "key": place and place.key, "set": None if place is None else sets[place.set], "camera": place and place.camera,
        "check": check, "severity": finding.severity, "what": finding.what, "evidence": dict(finding.evidence),
        "partner": partner and partner.key, "partner_set": None if partner is None else sets[partner.set],
    }  # fmt: skip


def write_views(folder: Path, found: Mapping[str, Sequence[CurationFinding]], sets: Sequence[ShardSet], names: Sequence[str],
                made_from: Mapping[str, Any]) -> dict[str, int]:  # fmt: skip
    """A view without the frames of ``found``: ``folder`` itself for one set, a folder a set in it for several.

    Returns set name -> frames left out."""
    counts = {}
    for number, (shards, name) in enumerate(zip(sets, names)):
        excluded = {f.place.key: f"{check}: {f.what}" for check, findings in found.items() for f in findings
                    if f.place is not None and f.place.set == number}  # fmt: skip
        with OverlayWriter(folder if len(sets) == 1 else folder / name) as writer:
            writer.finish(VIEW, {}, made_from, shards.info, excluded)
        counts[name] = len(excluded)
    return counts


def write_report(path: Path, found: Mapping[str, Sequence[CurationFinding]], bars: Mapping[str, Sequence[Bars]],
                 about: Mapping[str, str], sets: Sequence[ShardSet], names: Sequence[str], excluded: Mapping[str, int],
                 skipped: Sequence[str]) -> None:  # fmt: skip
    """One self-contained page; of each check the `_SHOWN` gravest findings with their pictures."""
    frames = ", ".join(f"{html.escape(name)} ({len(shards):,} frames)" for name, shards in zip(names, sets))
    body = [f"<h1>Curation of {frames}</h1>", _summary(found, about, excluded, skipped)]
    for check, findings in found.items():
        if findings or bars.get(check):
            body += _section(check, findings, bars.get(check, ()), about.get(check, ""), sets, names)
    write_page(path, "Curation", "\n".join(body), _STYLE)


def _summary(found: Mapping[str, Sequence[CurationFinding]], about: Mapping[str, str], excluded: Mapping[str, int],
             skipped: Sequence[str]) -> str:  # fmt: skip
    rows = [
        f"<tr><td><a href='#{check}'>{check}</a></td><td class=number>{len(findings):,}</td>"
        f"<td class=about>{html.escape(about.get(check, ''))}</td></tr>"
        for check, findings in found.items()
    ]
    left = ", ".join(f"{count:,} of {html.escape(name)}" for name, count in excluded.items())
    lines = [f"<p>The view leaves out {left}.</p>"]
    if skipped:
        lines.append(f"<p class=about>Not run, since no prediction set was given: {', '.join(skipped)}.</p>")
    return "<table><tr><th>check</th><th>findings</th><th></th></tr>" + "".join(rows) + "</table>" + "".join(lines)


def _section(check: str, findings: Sequence[CurationFinding], bars: Sequence[Bars], about: str, sets: Sequence[ShardSet],
             names: Sequence[str]) -> Iterator[str]:  # fmt: skip
    gravest = sorted(findings, key=lambda finding: _ORDER.index(finding.severity))
    yield f"<h2 id='{check}'>{check}: {len(findings):,}</h2><p class=about>{html.escape(about)}</p>"
    yield from (f"<h3>{html.escape(one.title)}</h3>{value_bars(one.values)}" for one in bars)
    yield "<div class=cards>"
    yield from (_card(finding, sets, names) for finding in gravest[:_SHOWN])
    yield "</div>"
    if len(findings) > _SHOWN:
        yield f"<p class=about>and {len(findings) - _SHOWN:,} more in findings.jsonl</p>"


def _card(finding: CurationFinding, sets: Sequence[ShardSet], names: Sequence[str]) -> str:
    places = [place for place in (finding.place, finding.partner) if place is not None]
    shown = finding.evidence.get("boxes", [])
    pictures = "".join(_picture(place, shown if place is finding.place else [], sets) for place in places)
    keys = " and ".join(f"{html.escape(place.key)} <small>({html.escape(names[place.set])})</small>" for place in places)
    said = f"<b class={finding.severity}>{html.escape(finding.what)}</b>"
    return f"<figure>{pictures}<figcaption>{said}<br>{keys}</figcaption></figure>"


def _picture(place: Place, boxes: Sequence[Sequence[float]], sets: Sequence[ShardSet]) -> str:
    try:
        camera = sets[place.set].frame(place.number).cameras[place.camera]
        assert camera.image is not None
        image = decode_image(camera.image)
    except Exception:  # what cannot be read is what was found
        return ""
    shown = CameraLabels(camera.boxes, None if camera.semantic is None else decode_pixels("semantic", camera.semantic))
    drawn = draw_labels(image, shown, sets[place.set].classes, alpha=0.3)
    for x1, y1, x2, y2 in np.rint(np.asarray(boxes, float).reshape(-1, 4)).astype(int).tolist():
        cv2.rectangle(drawn, (x1, y1), (x2, y2), _RED, max(2, drawn.shape[1] // 250))
    width = min(_WIDTH, drawn.shape[1])
    small = cv2.resize(drawn, (width, round(drawn.shape[0] * width / drawn.shape[1])), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return f"<img alt='' src='data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'>"
