"""How the page of a study looks, and what it does under a pointer."""

from __future__ import annotations

from collections.abc import Iterable

_LIGHT = ("#c9cdd6", "#bac5d8", "#a5badb", "#8daedb", "#739fd8", "#5189ce", "#2f6fbd", "#0d4f9e")
_DARK = ("#464d58", "#465567", "#45607d", "#446c97", "#4676a8", "#548dc8", "#6ea8e6", "#a5cdfb")
_PLAIN = """
:root { --complete: #2f6db3; --pruned: #a8842c; --running: #2c8a4b; --failed: #c0392b; --paused: #8d96a3; --best: #d9480f }
@media (prefers-color-scheme: dark) { :root { --complete: #6fa8e6; --pruned: #d1ad57; --running: #5fc281; --failed: #ef7466;
  --paused: #7b8694; --best: #ff9f5a } }
svg { width: 100%; height: auto; display: block } .wide { overflow-x: auto } .wide svg { min-width: 760px }
svg text { font-size: 11px; fill: var(--soft) } svg .label { fill: var(--ink) }
svg .halo { paint-order: stroke; stroke: var(--page); stroke-width: 3px }
.line, .mark, .grid { fill: none } .grid { stroke: var(--rule) } .axis { stroke: var(--soft) } .mark { stroke-width: 1.6 }
.rung { stroke: var(--soft); stroke-dasharray: 3 4; opacity: .6 } .line { stroke-width: 1.2 } .taken { stroke: var(--paused) }
.line.best { stroke: var(--best); stroke-width: 2 } .front { stroke: var(--best); stroke-width: 1.5; opacity: .6 }
.member { stroke-width: 5 } .strong { stroke: var(--best); stroke-width: 10; opacity: .55 }
.complete { fill: var(--complete) } .pruned { fill: var(--pruned) } .running { fill: var(--running) }
.paused { fill: var(--paused) } .failed { fill: var(--failed) } .mark.failed { stroke: var(--failed); fill: none }
circle.best { fill: var(--best) } circle { opacity: .85 } .beyond { opacity: .35 }
circle.hollow { fill: var(--page); stroke: var(--complete); stroke-width: 1.5 }
.looks span { margin-right: 1.4em; white-space: nowrap } .looks svg { display: inline; width: 10px; height: 10px }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 12px 24px }
.big { grid-template-columns: repeat(auto-fill, minmax(480px, 1fr)) }
.trials td { white-space: nowrap; border-top: 1px solid var(--rule) }
.trials td:last-child { white-space: normal; min-width: 18em }
.trials th { cursor: pointer; vertical-align: bottom }
.trials tr.on td { background: var(--raised) }
path.on { stroke: var(--best) !important; stroke-width: 3.5 !important; opacity: 1 !important }
circle.on { stroke: var(--best); stroke-width: 3; opacity: 1 }
#tip { position: fixed; display: none; max-width: 30em; padding: .4em .7em; background: var(--raised);
  border: 1px solid var(--rule); border-radius: 4px;
  font-size: 13px; white-space: pre-wrap; overflow-wrap: anywhere; pointer-events: none }
"""
SCRIPT = """
const tip = document.getElementById('tip'), texts = JSON.parse(document.getElementById('texts').textContent);
let on = null;
function mark(t) {
  if (t === on) return;
  document.querySelectorAll('.on').forEach(e => e.classList.remove('on'));
  if (t !== null) document.querySelectorAll(`[data-t="${t}"]`).forEach(e => e.classList.add('on'));
  on = t;
}
document.addEventListener('mousemove', e => {
  const found = e.target.closest('[data-t]'), t = found && found.dataset.t;
  mark(t);
  tip.style.display = t !== null && !e.target.closest('table') ? 'block' : 'none';
  tip.textContent = t === null ? '' : texts[t];
  tip.style.left = Math.max(4, Math.min(e.clientX + 14, innerWidth - tip.offsetWidth - 8)) + 'px';
  tip.style.top = (e.clientY + tip.offsetHeight + 24 > innerHeight ? e.clientY - tip.offsetHeight - 10 : e.clientY + 16) + 'px';
});
document.querySelectorAll('.trials th').forEach((head, n) => head.addEventListener('click', () => {
  const body = head.closest('table').tBodies[0], down = head.dataset.down !== '1';
  head.dataset.down = down ? '1' : '0';
  const value = row => { const text = row.cells[n].textContent; return text && !isNaN(Number(text)) ? Number(text) : text };
  const less = (a, b) => a === '' ? 1 : b === '' ? -1 : (down ? 1 : -1) * (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0)
    : typeof a === 'number' ? -1 : 1);
  body.append(...[...body.rows].sort((a, b) => less(value(a), value(b))));
}));
"""


def _shades() -> str:
    def rules(colours: Iterable[str]) -> str:
        return "".join(f"path.q{n} {{ stroke: {c} }} circle.q{n} {{ fill: {c} }}\n" for n, c in enumerate(colours))

    return f"{rules(_LIGHT)}@media (prefers-color-scheme: dark) {{ {rules(_DARK)} }}\n"


STYLE = _PLAIN + _shades()
