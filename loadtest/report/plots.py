"""Plots as SVG, by hand, so that a page needs nothing from anywhere. Each has a title for those who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#0b6e99", "#d1495b", "#2a9d5c", "#8338ec", "#c77d0a", "#5c677d", "#e07be0", "#3d405b", "#7aa02c", "#008080")
WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 34, 46
BAR = 26


@dataclass(frozen=True, slots=True)
class Point:
    """`low` and `high` are the spread over the rounds, where there is one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    label: str
    points: tuple[Point, ...]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    value: float
    low: float
    high: float


def lines(title: str, x_label: str, y_label: str, drawn: Sequence[Line], *, marks: bool = True) -> str:
    """A line for each contestant; empty when there is nothing to draw."""
    drawn = [line for line in drawn if line.points]
    if not drawn:
        return ""
    every = [point for line in drawn for point in line.points]
    x_top = max(point.x for point in every) or 1.0
    y_top = ceiling(max(point.high if point.high is not None else point.y for point in every))
    height = HEIGHT + 18 * len(drawn)

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (WIDTH - LEFT - RIGHT) * x / x_top, (HEIGHT - TOP - BOTTOM) * y / y_top
        return round(LEFT + across, 1), round(HEIGHT - BOTTOM - up, 1)

    parts = _frame(title, x_label, y_label, y_top, sorted({point.x for point in every}) if marks else (), x_top, height)
    for number, line in enumerate(drawn):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x},{y}" for x, y in (place(point.x, point.y) for point in line.points))
        dash = ' stroke-dasharray="6 4"' if line.dashed else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts += [_mark(place, point, colour) for point in line.points] if marks else []
        parts.append(_legend(line.label, colour, HEIGHT + 4 + 18 * number))
    return _svg(title, height, parts)


def bars(title: str, unit: str, drawn: Sequence[Bar]) -> str:
    """Lying bars, with the spread over the rounds; empty when there is nothing to draw."""
    if not drawn:
        return ""
    top, left = ceiling(max(bar.high for bar in drawn)), 300
    height = TOP + BAR * len(drawn) + 12

    def across(value: float) -> float:
        return round(left + (WIDTH - left - 90) * value / top, 1)

    parts = [_text(LEFT, 18, f"{title}, {unit}", weight="bold")]
    for number, bar in enumerate(drawn):
        y = TOP + BAR * number
        colour = COLOURS[number % len(COLOURS)]
        parts.append(_text(left - 8, y + 15, bar.label, anchor="end"))
        parts.append(
            f'<rect x="{left}" y="{y + 3}" width="{across(bar.value) - left:.1f}" height="16" fill="{colour}"/>'
        )
        low, high = across(bar.low), across(bar.high)
        parts.append(f'<line x1="{low}" y1="{y + 11}" x2="{high}" y2="{y + 11}" class="ink"/>')
        parts.append(_text(max(high, across(bar.value)) + 6, y + 15, f"{bar.value:.3g}"))
    return _svg(title, height, parts)


def ceiling(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9)))


def _frame(
    title: str, x_label: str, y_label: str, y_top: float, ticks: Sequence[float], x_top: float, height: int
) -> list[str]:
    ticks = ticks or [x_top * step / 5 for step in range(6)]
    parts = [_text(LEFT, 18, title, weight="bold")]
    for step in range(6):
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * step / 5
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" class="grid"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{y_top * step / 5:g}", anchor="end"))
    for tick in ticks:
        x = LEFT + (WIDTH - LEFT - RIGHT) * tick / x_top
        parts.append(_text(x, HEIGHT - BOTTOM + 16, f"{tick:.3g}", anchor="middle"))
    parts.append(_text((LEFT + WIDTH) / 2, HEIGHT - 10, x_label, anchor="middle"))
    parts.append(_text(WIDTH - RIGHT, 18, y_label, anchor="end"))
    return parts


def _mark(place: object, point: Point, colour: str) -> str:
    assert callable(place)
    x, y = place(point.x, point.y)
    spread = ""
    if point.low is not None and point.high is not None and point.low != point.high:
        (_, low), (_, high) = place(point.x, point.low), place(point.x, point.high)
        spread = f'<line x1="{x}" y1="{low}" x2="{x}" y2="{high}" stroke="{colour}"/>'
    return f'{spread}<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>'


def _legend(label: str, colour: str, y: float) -> str:
    swatch = f'<rect x="{LEFT}" y="{y - 9}" width="12" height="10" fill="{colour}"/>'
    return swatch + _text(LEFT + 18, y, label)


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}">'
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>"])
