"""The page that shows the demo's results: one HTML file that loads nothing from anywhere."""

from __future__ import annotations

from html import escape

from net2net._version import __version__
from net2net.analysis import place_rows
from net2net.demo import _data as data
from net2net.demo._experiment import EXPERIMENTS, RATES, Arm, Arms, Prepared, Settings, Student, parameters, spread
from net2net.demo._figures import COLOURS, curves
from net2net.demo._findings import findings
from net2net.report import STYLE, Table, count, error, html_table, percent, steps


def page(prepared: Prepared, arms: Arms, settings: Settings) -> str:
    """The whole page."""
    students = prepared.students
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>net2net demo: bigger networks that start where their teacher stopped</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<p class="brand">net2net {escape(__version__)} demo</p>
<h1>Bigger networks that start where their teacher stopped</h1>
<p class="lead">A trained network was made wider, and deeper, without changing what it computes, so that training
goes on from what it has learned instead of from random weights.</p>
</header>
{_cards(prepared)}
{"".join(_experiment(prepared, key, arms[key], settings) for key in EXPERIMENTS)}
<section>
<h2>What can grow</h2>
<p>The axes of all the weights that must grow together, as <code>net2net.analyze</code> found them in the
network's graph. No list of layers was given.</p>
{html_table(*_dimensions(prepared, growable=True))}
<details><summary>What is fixed, and why</summary>{html_table(*_dimensions(prepared, growable=False))}</details>
<h3>Where it can be deeper</h3>
{html_table(*_places(prepared))}
</section>
<section>
<h2>The plans</h2>
{"".join(_plan(EXPERIMENTS[key].title, student) for key, student in students.items())}
</section>
<section>
<h2>The proofs</h2>
<p>Teacher and student ran on the same inputs in {escape(students["wider"].growth.verification.dtype)}, in eval mode
and in train mode, before the student was handed over. With a new BatchNorm eval mode is exact but for the rounding of
its stored numbers; train mode is only close, since every batch has a mean and a variance of its own.</p>
{"".join(_proof(EXPERIMENTS[key].title, student) for key, student in students.items())}
</section>
<section>
<h2>How it was done</h2>
{_method(settings)}
</section>
<section>
<h2>Do it again</h2>
<pre>net2net demo --output demo --seeds {settings.seeds} --steps {settings.steps} --seed {settings.seed}</pre>
<p>Each growth is one call:</p>
<pre>wider = net2net.widen(teacher, 2.0, images)
deeper = net2net.deepen(teacher, {{"residual": 1, "inception.wide.conv": 1}}, images, batches, kernel=[(1, 3), (3, 1)])
deeper.student, deeper.plan, deeper.verification</pre>
</section>
</main>
</body>
</html>
"""


def _cards(prepared: Prepared) -> str:
    cards = [("Teacher", prepared.teacher_accuracy, f"{parameters(prepared.teacher):,} parameters")]
    for key, student in prepared.students.items():
        worst = student.growth.verification.max_relative_error
        note = f"{parameters(student.growth.student):,} parameters<br>relative error {error(worst)}"
        cards.append((f"{key.capitalize()}, before any training", student.accuracy, note))
    inner = "".join(
        f'<div class="card"><p>{title}</p><strong>{percent(accuracy)}</strong><small>{note}</small></div>'
        for title, accuracy, note in cards
    )
    return f'<div class="cards">{inner}</div>'


def _experiment(prepared: Prepared, key: str, arms: list[Arm], settings: Settings) -> str:
    teacher = prepared.teacher_accuracy
    wide, narrow = (curves({key: arms}, teacher, narrow=narrow) for narrow in (False, True))
    return f"""<section>
<h2>{escape(EXPERIMENTS[key].title)}</h2>
<figure><div class="wide">{wide}</div><div class="narrow">{narrow}</div>
<figcaption>Mean of {count(settings.seeds, "seed")}; the band reaches from the lowest to the highest.
The first point of each curve is step 0, before any training.</figcaption></figure>
{html_table(*_results(arms, teacher))}
<h3>What the numbers say</h3>
<ul>{"".join(f"<li>{line}</li>" for line in findings(arms, teacher))}</ul>
</section>
"""


def _results(arms: list[Arm], teacher: float) -> Table:
    scratch = next(arm for arm in arms if arm.key == "scratch")
    headers = [
        "start",
        "relative error at step 0",
        "accuracy at step 0",
        "accuracy at the end",
        "steps to the teacher's accuracy",
        "steps to the final accuracy of random initialisation",
        "learning rate",
    ]
    rows = [
        [
            f'<span class="dot" style="background:{COLOURS[arm.key]}"></span>{escape(arm.label)}',
            "&ndash;" if arm.relative_error is None else error(arm.relative_error),
            percent(arm.means[0]),
            f"{percent(arm.means[-1])} ± {100 * spread(arm.at(-1)):.1f}",
            steps(arm.steps_to([teacher] * len(arm.curves))),
            steps(arm.steps_to(scratch.at(-1))),
            f"{arm.rate:g}",
        ]
        for arm in arms
    ]
    return headers, rows, range(1, 7)


def _dimensions(prepared: Prepared, *, growable: bool) -> Table:
    chosen = [d for d in prepared.analysis.dimensions.values() if (d.growth != "fixed") == growable]
    rows = [
        [f"<code>{escape(d.name)}</code>", str(d.size), str(len(d.tensors)), _badge(d.growth), escape(d.reason)]
        for d in chosen
    ]
    headers = ["dimension", "size", "tensors", "growth", "why" if any(d.reason for d in chosen) else ""]
    return headers, rows, (1, 2)


def _places(prepared: Prepared) -> Table:
    rows = [
        [f"<code>{escape(p.name)}</code>", p.kind, _badge(p.growth), escape(p.reason)]
        for p in place_rows(prepared.analysis.places.values())
    ]
    return ["place", "kind", "growth", "how"], rows, ()


def _badge(growth: str) -> str:
    return f'<span class="badge {growth}">{growth}</span>'


def _plan(title: str, student: Student) -> str:
    plan = student.growth.plan
    grown = [(w.dimension, w.before, w.after, w.how) for w in plan.widenings]
    grown += [(d.place, d.before, d.after, f"{d.kind}: {d.init}") for d in plan.deepenings]
    rows = [
        [f"<code>{escape(name)}</code>", str(a), str(b), f"<code>{escape(how)}</code>"] for name, a, b, how in grown
    ]
    return f"""<h3>{escape(title)}</h3>
{html_table(["dimension" if plan.widenings else "place", "from", "to", "how"], rows, (1, 2))}
<details><summary>Every tensor: {len(plan.tensors)} change</summary><pre>{escape(str(plan))}</pre></details>
"""


def _proof(title: str, student: Student) -> str:
    return f"<h3>{escape(title)}</h3><pre>{escape(str(student.growth.verification))}</pre>"


def _method(settings: Settings) -> str:
    rates = ", ".join(f"{rate:g}" for rate in RATES)
    return f"""<p>The data are the 1,797 digits of 8 by 8 pixels of scikit-learn under Gaussian noise (clean
ones are too easy to tell networks apart): {data.TRAINING:,} to learn from, {data.VALIDATION} to choose learning
rates on, the rest for the accuracies on this page. The network has convolutions with BatchNorm, a residual
block, an Inception block that concatenates three branches, global pooling and a linear classifier. The teacher
trained for {settings.teacher_steps:,} steps, each student for {settings.steps:,}, with SGD, momentum and a
cosine schedule. For one seed, all students see the same batches in the same order. There is one teacher; the seeds
differ in the new weights and in the batches.</p>
<p>The experiments are small relatives of those of the Net2Net paper: wider against random pad and a random
initialisation of the same wider network, deeper against a random initialisation of the same deeper one. The new units
of the wider network are silent at first, which is the library's default; the paper copies units. The deeper network got
a residual block that hands on its input, and a pair of identity convolutions, 1 x 3 and 3 x 1, each with BatchNorm and
ReLU.</p>
<p>Every way to start has its own learning rate: the one of {rates} with the highest mean validation accuracy over
a run with another seed. The steps in the tables are means over the seeds of the first measured step (one in
{settings.every}) at that accuracy. ± is one standard deviation over the seeds. The steps that the teacher took
are not counted: the question is what to do once a teacher is there.</p>
<p>The noise, the number of steps and the places to deepen were set by hand, after looking at runs with other settings.
Read the numbers as an illustration, not as a benchmark.</p>"""
