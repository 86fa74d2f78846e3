"""The page that shows the demo's results: one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from html import escape

import net2net
from net2net.demo import _data as data
from net2net.demo._experiment import RATES, Arm, Prepared, Settings, parameters, spread
from net2net.demo._figures import COLOURS
from net2net.demo._style import STYLE


def page(prepared: Prepared, arms: list[Arm], settings: Settings, wide: str, narrow: str) -> str:
    """The whole page; `wide` and `narrow` are the learning curves as SVG elements."""
    plan, verification = prepared.growth.plan, prepared.growth.verification
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>net2net demo: a wider network that starts where its teacher stopped</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<p class="brand">net2net {escape(net2net.__version__)} demo</p>
<h1>A wider network that starts where its teacher stopped</h1>
<p class="lead">A trained network was made twice as wide without changing what it computes, so that training
goes on from what it has learned instead of from random weights.</p>
</header>
{_cards(prepared)}
<section>
<h2>What training makes of it</h2>
<figure><div class="wide">{wide}</div><div class="narrow">{narrow}</div>
<figcaption>Mean of {_count(settings.seeds, "seed")}; the band reaches from the lowest to the highest.
The first point of each curve is step 0, before any training.</figcaption></figure>
{_table(*_results(prepared, arms))}
<h3>What the numbers say</h3>
<ul>{"".join(f"<li>{line}</li>" for line in findings(prepared, arms))}</ul>
</section>
<section>
<h2>What can grow</h2>
<p>The axes of all the weights that must grow together, as <code>net2net.analyze</code> found them in the
network's graph. No list of layers was given.</p>
{_table(*_dimensions(prepared, growable=True))}
<details><summary>What is fixed, and why</summary>{_table(*_dimensions(prepared, growable=False))}</details>
</section>
<section>
<h2>The plan</h2>
{_table(*_widenings(prepared))}
<details><summary>Every tensor: {len(plan.tensors)} change</summary><pre>{escape(str(plan))}</pre></details>
</section>
<section>
<h2>The proof</h2>
<p>Teacher and student ran on the same inputs in {escape(verification.dtype)}, in eval mode and in train mode,
before the student was handed over.</p>
<pre>{escape(str(verification))}</pre>
</section>
<section>
<h2>How it was done</h2>
{_method(settings)}
</section>
<section>
<h2>Do it again</h2>
<pre>net2net demo --output demo --seeds {settings.seeds} --steps {settings.steps} --seed {settings.seed}</pre>
<p>The growth itself is one call:</p>
<pre>growth = net2net.widen(teacher, 2.0, example_images)
growth.student, growth.plan, growth.verification</pre>
</section>
</main>
</body>
</html>
"""


def findings(prepared: Prepared, arms: list[Arm]) -> list[str]:
    """What the numbers say, whichever start they speak for."""
    by_key = {arm.key: arm for arm in arms}
    student, padded, scratch = by_key["net2net"], by_key["random_pad"], by_key["scratch"]
    teacher = prepared.teacher_accuracy
    lowest = min(student.means[1:])
    training = "stays at or above it" if lowest >= teacher else f"falls to {_percent(lowest)} at the lowest"
    ranked = sorted(arms, key=lambda arm: arm.means[-1], reverse=True)
    best, second = ranked[:2]
    lead = best.means[-1] - second.means[-1]
    more = "more" if lead > max(spread(best.at(-1)), spread(second.at(-1))) else "no more"
    lines = [
        f"The Net2Net student starts at {_percent(student.means[0])}, the teacher's own accuracy; while it "
        f"trains, its mean {training}.",
        "Random padding keeps the teacher's weights too, but fills the rest with random numbers: it starts at "
        f"{_percent(padded.means[0])} and reaches the teacher's accuracy {_when(padded, teacher)}.",
        f"From scratch, the same network starts at {_percent(scratch.means[0])} and reaches the teacher's "
        f"accuracy {_when(scratch, teacher)}.",
        f"At the end: {', '.join(f'{_SHORT[arm.key]} {_percent(arm.means[-1])}' for arm in ranked)}. The first "
        f"leads the second by {100 * lead:.1f} points, {more} than one standard deviation over the seeds.",
    ]
    ahead = [_SHORT[arm.key] for arm in ranked[: ranked.index(student)]]
    if ahead:
        lines.append(
            f"What Net2Net kept here is the head start, not the lead: {' and '.join(ahead)} ended ahead of it. "
            "A network this small is trained again in seconds."
        )
    return lines


def _cards(prepared: Prepared) -> str:
    before, after = parameters(prepared.teacher), parameters(prepared.growth.student)
    cards = [
        ("Teacher", _percent(prepared.teacher_accuracy), "test accuracy"),
        ("Student at step 0", _percent(prepared.student_accuracy), "test accuracy, before any training"),
        (
            "Relative error",
            _error(prepared.growth.verification.max_relative_error),
            "the largest over all outputs",
        ),
        ("Parameters", f"{before:,} → {after:,}", f"{after / before:.1f} times as many"),
    ]
    inner = "".join(
        f'<div class="card"><p>{title}</p><strong>{value}</strong><small>{note}</small></div>'
        for title, value, note in cards
    )
    return f'<div class="cards">{inner}</div>'


_SHORT = {"net2net": "Net2Net", "random_pad": "random padding", "scratch": "from scratch"}
_Table = tuple[Sequence[str], Iterable[Sequence[str]], Sequence[int]]


def _results(prepared: Prepared, arms: list[Arm]) -> _Table:
    scratch = next(arm for arm in arms if arm.key == "scratch")
    teacher = [prepared.teacher_accuracy] * len(scratch.curves)
    headers = [
        "start",
        "relative error at step 0",
        "accuracy at step 0",
        "accuracy at the end",
        "steps to the teacher's accuracy",
        "steps to scratch's final accuracy",
        "learning rate",
    ]
    rows = [
        [
            f'<span class="dot" style="background:{COLOURS[arm.key]}"></span>{escape(arm.label)}',
            "&ndash;" if arm.relative_error is None else _error(arm.relative_error),
            _percent(arm.means[0]),
            f"{_percent(arm.means[-1])} ± {100 * spread(arm.at(-1)):.1f}",
            _steps(arm.steps_to(teacher)),
            _steps(arm.steps_to(scratch.at(-1))),
            f"{arm.rate:g}",
        ]
        for arm in arms
    ]
    return headers, rows, range(1, 7)


def _dimensions(prepared: Prepared, *, growable: bool) -> _Table:
    chosen = [d for d in prepared.analysis.dimensions.values() if (d.growth != "fixed") == growable]
    rows = [
        [
            f"<code>{escape(d.name)}</code>",
            str(d.size),
            str(len(d.tensors)),
            f'<span class="badge {d.growth}">{d.growth}</span>',
            escape(d.reason),
        ]
        for d in chosen
    ]
    headers = ["dimension", "size", "tensors", "growth", "why" if any(d.reason for d in chosen) else ""]
    return headers, rows, (1, 2)


def _widenings(prepared: Prepared) -> _Table:
    rows = [
        [f"<code>{escape(w.dimension)}</code>", str(w.before), str(w.after), f"<code>{escape(w.how)}</code>"]
        for w in prepared.growth.plan.widenings
    ]
    return ["dimension", "from", "to", "how"], rows, (1, 2)


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int]) -> str:
    """A table that scrolls by itself where the window is narrow. The cells are HTML."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = ["right" if i in right else "left" for i in range(len(cells))]
        inner = (f'<{tag} class="{kind}">{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table><thead>{line(headers, "th")}</thead><tbody>{body}</tbody></table></div>'


def _method(settings: Settings) -> str:
    rates = ", ".join(f"{rate:g}" for rate in RATES)
    return f"""<p>The data are the 1,797 digits of 8 by 8 pixels of scikit-learn under Gaussian noise (clean
ones are too easy to tell networks apart): {data.TRAINING:,} to learn from, {data.VALIDATION} to choose learning
rates on, the rest for the accuracies on this page. The network has convolutions with BatchNorm, a residual
block, an Inception block that concatenates three branches, global pooling and a linear classifier. The teacher
trained for {settings.teacher_steps:,} steps, each student for {settings.steps:,}, with SGD, momentum and a
cosine schedule. For one seed, all three see the same batches in the same order. There is one teacher; the seeds
differ in the new weights and in the batches.</p>
<p>Each of the three has its own learning rate: the one of {rates} with the highest mean validation accuracy over
a run with another seed. The steps in the table are means over the seeds of the first measured step (one in
{settings.every}) at that accuracy. ± is one standard deviation over the seeds. The steps that the teacher took
are not counted: the question is what to do once a teacher is there.</p>
<p>The noise and the number of steps were set by hand, after looking at runs with other settings. Read the
numbers as an illustration, not as a benchmark.</p>"""


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}&nbsp;%"


def _error(error: float) -> str:
    return f"{error:.1e}" if error else "0 (exact)"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _steps(steps: list[int | None]) -> str:
    """Mean steps; with how many of the seeds got there if not all did."""
    reached = [s for s in steps if s is not None]
    if not reached:
        return "never"
    mean = f"{statistics.fmean(reached):.0f}"
    return mean if len(reached) == len(steps) else f"{mean} ({len(reached)} of {len(steps)} seeds)"


def _when(arm: Arm, level: float) -> str:
    text = _steps(arm.steps_to([level] * len(arm.curves)))
    if text == "never":
        return "in no run"
    return "at once" if text == "0" else f"after {text} steps"
