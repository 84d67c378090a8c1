"""The timeline of a run as one HTML file: no scripts, nothing from elsewhere, all that a run said escaped.

Knows no journal: it gets a `Story`.
"""

from __future__ import annotations

from html import escape

from llmos.shell.processes import age
from llmos.shell.runlog import Step, Story
from llmos.shell.text import harmless

_WIDTH = 1000
_LANE = 26
_LABEL = 150
_MARGIN = 8
_STYLE = """
:root { color-scheme: light dark; --think: #7a5ae0; --act: #0d8a5f; --wait: #b5b8c0; --other: #6b8cae; --bad: #c8322b;
  --text: #1c1e22; --dim: #63676f; --line: #d9dce1; --page: #ffffff; --box: #f5f6f8; }
@media (prefers-color-scheme: dark) { :root { --think: #a48cff; --act: #3fc48e; --wait: #565b66; --other: #7fa5cc;
  --bad: #ff7b72; --text: #e6e8eb; --dim: #9aa0aa; --line: #343840; --page: #16181c; --box: #1e2126; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; overflow-wrap: anywhere; } h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
p { margin: .2rem 0; overflow-wrap: anywhere; } .dim { color: var(--dim); } .bad { color: var(--bad); }
svg { width: 100%; height: auto; background: var(--box); border-radius: 6px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim); } svg line { stroke: var(--line); }
.think { fill: var(--think); } .act { fill: var(--act); } .wait { fill: var(--wait); } .other { fill: var(--other); }
.failed { fill: var(--bad); }
.legend span::before { content: "■ "; } .legend span { margin-right: 1rem; }
.legend .think { color: var(--think); } .legend .act { color: var(--act); } .legend .wait { color: var(--dim); }
.box { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 500; } td.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; } td p { font-size: .9rem; } code { overflow-wrap: anywhere; font-size: .9rem; }
"""


def page(story: Story) -> str:
    """The whole page."""
    title = f"llmos run {story.run.id}"
    answer = "answer" if story.state == "done" else "ended"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{_text(story.task) or _text(title)}</h1>
<p class="dim">{_text(_summary(story))}</p>
{f"<p>{answer}: {_text(story.outcome)}</p>" if story.outcome else ""}
<h2>Timeline</h2>
{_timeline(story)}
<p class="legend"><span class="think">think</span><span class="act">act</span><span class="wait">wait</span></p>
<h2>Calls</h2>
<div class="box"><table>
<thead><tr><th>process</th><th>call</th><th>begun</th><th>took</th><th>read</th><th>reused</th><th>written</th></tr></thead>
<tbody>
{"".join(_row(step) for step in story.steps)}</tbody>
</table></div>
</body>
</html>
"""


def _text(text: str) -> str:
    return escape(harmless(text), quote=True)


def _summary(story: Story) -> str:
    return (
        f"{story.run.id} · {story.run.agent} · {story.state} · {age(story.seconds)} · "
        f"tokens: {story.total('read'):,} read, {story.total('reused'):,} reused, "
        f"{story.total('generated'):,} written"
    )


def _timeline(story: Story) -> str:
    """A lane of bars for each process and branch."""
    lanes = list(dict.fromkeys(step.path for step in story.steps)) or ["0"]
    whole = max([story.seconds, 0.001, *(step.after + (step.seconds or 0.0) for step in story.steps)])
    height = len(lanes) * _LANE + 2 * _MARGIN + 16
    scale = (_WIDTH - _LABEL - 2 * _MARGIN) / whole
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Timeline of the calls by process">']
    for place, path in enumerate(lanes):
        y = _MARGIN + place * _LANE
        name = story.run.id + path[1:]
        parts.append(f'<text x="{_MARGIN}" y="{y + 16}">{_text(name)}</text>')
        parts.append(f'<line x1="{_LABEL}" x2="{_WIDTH - _MARGIN}" y1="{y + _LANE - 2}" y2="{y + _LANE - 2}"/>')
        parts += [_bar(step, y + 3, scale, whole) for step in story.steps if step.path == path]
    for tick in range(5):
        x = _LABEL + (_WIDTH - _LABEL - 2 * _MARGIN) * tick / 4
        anchor = "end" if tick == 4 else "start"
        parts.append(f'<text x="{x:.0f}" y="{height - 6}" text-anchor="{anchor}">{whole * tick / 4:.2f} s</text>')
    return "\n".join([*parts, "</svg>"])


def _bar(step: Step, y: int, scale: float, whole: float) -> str:
    seconds = whole - step.after if step.seconds is None else step.seconds
    kind = "failed" if step.failed else step.group
    x, width = _LABEL + step.after * scale, max(seconds * scale, 2.0)
    told = f"{step.kind} {step.title} ({seconds:.2f} s)"
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_LANE - 8}" rx="2">'
        f"<title>{_text(told)}</title></rect>"
    )


def _row(step: Step) -> str:
    took = "under way" if step.seconds is None else f"{step.seconds:.2f} s"
    notes = [f"<p>{_text(step.why)}</p>"] if step.why else []
    notes += [f'<p class="dim">{_text(name)}: {_text(origin)}</p>' for name, origin in step.origins.items()]
    if step.result:
        notes.append(f'<p class="{"bad" if step.failed else "dim"}">→ {_text(step.result)}</p>')
    tokens = [f"{count:,}" if step.kind == "think" else "" for count in (step.read, step.reused, step.generated)]
    numbers = [f"{step.after:.2f} s", took, *tokens]
    cells = "".join(f'<td class="number">{_text(number)}</td>' for number in numbers)
    call = f"<b>{_text(step.kind)}</b> <code>{_text(step.title)}</code>{''.join(notes)}"
    return f"<tr><td>{_text(step.pid)}&#8203;#{step.number}</td><td>{call}</td>{cells}</tr>\n"
