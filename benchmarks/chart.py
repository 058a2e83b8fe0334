"""The chart of docs/scaling.md as SVG: events per second by batch size, on a logarithmic axis."""

import math
from pathlib import Path
from string import Template

from benchmarks.throughput import SIZES, Results, Way

_WIDTH, _HEIGHT = 720, 360
_LEFT, _BOTTOM, _TOP = 64, 300, 56
_BAR = 56
_DECADES = range(1, 5)  # the axis goes from 10 to 10,000 events a second
_COLOURS: dict[Way, str] = {"baseline": "#9aa5b1", "service": "#1f6feb"}
_NAMES: dict[Way, str] = {"baseline": "record by record, as documented", "service": "event-service"}
_PAGE = Template(
    """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height"
 font-family="sans-serif" font-size="13">
<title>Events a second by batch size: event-service and record by record</title>
<rect width="$width" height="$height" fill="#ffffff"/>
<text x="$left" y="24" font-size="15" font-weight="bold">
Events a second, one function, AWS-like delays on the wire</text>
$content
</svg>
"""
)


def draw(results: Results, path: Path) -> None:
    """Write the chart to a file."""
    lines = []
    for decade in _DECADES:
        y = _y(10**decade)
        lines.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 12}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dee4"/>')
        lines.append(_text(_LEFT - 8, y + 4, f"{10**decade:,}", "end"))
    for number, (way, name) in enumerate(_NAMES.items()):
        x = _LEFT + number * 240
        lines.append(f'<rect x="{x}" y="{_HEIGHT - 28}" width="12" height="12" fill="{_COLOURS[way]}"/>')
        lines.append(_text(x + 18, _HEIGHT - 17, name, "start"))
        for group, size in enumerate(SIZES):
            left = _LEFT + 24 + group * 160 + number * _BAR
            rate = results[True, size, way]["events_per_second"]
            y = _y(rate)
            box = f'x="{left}" y="{y:.1f}" width="{_BAR - 4}" height="{_BOTTOM - y:.1f}"'
            lines.append(f'<rect {box} fill="{_COLOURS[way]}"/>')
            lines.append(_text(left + _BAR / 2 - 2, y - 6, f"{rate:,.0f}"))
    for group, size in enumerate(SIZES):
        lines.append(_text(_LEFT + 24 + group * 160 + _BAR, _BOTTOM + 20, f"batch of {size:,}"))
    content = "\n".join(lines)
    path.write_text(_PAGE.substitute(width=_WIDTH, height=_HEIGHT, left=_LEFT, content=content))


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#24292f">{text}</text>'


def _y(rate: float) -> float:
    span = _DECADES[-1] - _DECADES[0]
    share = min(max((math.log10(rate) - _DECADES[0]) / span, 0.01), 1)
    return _BOTTOM - share * (_BOTTOM - _TOP)
