"""The page of an experiment: one HTML file that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from net2net.experiments._findings import COUNTED_GOAL, FREE_GOAL, default_of, findings, goals
from net2net.experiments._looks import look
from net2net.experiments._recipes import RECIPES, SIZES
from net2net.experiments._results import Header
from net2net.experiments._summary import GroupSummary, Summary
from net2net.experiments._tables import Cells, cells, cost_cells, missing, rate_cells, score_cells
from net2net.experiments._words import lead, ratio
from net2net.report import STYLE, count, html_table

_STYLE = """
main { max-width: 1240px; }
figure { margin: 26px 0 18px; }
.scroll th:first-child, .scroll td:first-child { white-space: normal; min-width: 210px; }
.scroll td:first-child { padding-left: 18px; text-indent: -18px; }
.scroll th, .scroll td { padding: 7px 8px; }
.missing { padding: 12px 16px; background: #fdf0d0; color: #7a5200; border-radius: 8px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0 0 14px; font-size: 14.5px; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
"""
_CAPTIONS = {
    "compute": "Each point is the end of whole runs, whose learning rate fell to zero at that budget: the mean of the "
    "seeds with its 95 % interval. Points of one budget are moved apart a little, so that their intervals can be seen. "
    "What grew saves compute where it lies to the left of random initialisation: on the left if the teacher is "
    "there anyway, on the right if it must be trained for this. Low scores of short runs from scratch may be cut "
    "off.",
    "curves": "The runs with the longest budget: the mean of the seeds in a band from the lowest to the highest, the "
    "y axis cut to where they differ. Against FLOPs and time, what grew begins where the teacher ended, and random "
    "initialisation is its run at equal compute; against steps it is its run with the full budget. Training "
    "scores are means over the batches since the last point; validation scores are on all examples "
    "at the first and the last point, on a part of them in between. Time is the median time of a step.",
}


def page(summary: Summary, pictures: Mapping[tuple[str, str], str]) -> str:
    """The whole page; `pictures` are SVG elements by kind ("compute", "curves") and group."""
    header = summary.header
    seeds = count(len(header.seeds), "seed")
    steps = f"{header.steps:,} steps from random initialisation"
    warning = f'<p class="missing">Not finished: {escape(missing(summary))}.</p>' if summary.missing else ""
    if not summary.groups:
        warning += "<p>There is nothing to compare yet: that needs the teacher and random initialisation.</p>"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>net2net: {escape(header.title)}</title>
<style>{STYLE}{_STYLE}</style>
</head>
<body>
<main>
<header>
<p class="brand">net2net {escape(header.version)} reproduce {escape(header.experiment)}</p>
<h1>{escape(header.title)}</h1>
<p class="lead">Does starting from a trained smaller network save training, and how much?
On {escape(header.data)}; {seeds}; {steps}.</p>
{warning}
</header>
{"".join(_section(group, summary, pictures) for group in summary.groups)}
<section>
<h2>How it was done</h2>
{_method(header)}
</section>
<section>
<h2>Do it again</h2>
<pre>{escape(command(header))}</pre>
</section>
</main>
</body>
</html>
"""


def command(header: Header) -> str:
    """The command that makes such results; the folder of the data is the user's."""
    seed = f" --seed {header.seeds[0] - 1}" if header.seeds[0] != 1 else ""
    steps = f" --steps {header.steps}"
    budget = ""
    for name, size in SIZES.items():
        recipe = RECIPES[header.experiment](size) if header.experiment in RECIPES else None
        if recipe is not None and repr(recipe.teacher) == header.settings.get("teacher"):
            budget = f" --budget {name}"
            steps = "" if recipe.steps == header.steps else steps
    return f"net2net reproduce {header.experiment} --data DATA --seeds {len(header.seeds)}{seed}{budget}{steps}"


def _section(group: GroupSummary, summary: Summary, pictures: Mapping[tuple[str, str], str]) -> str:
    metric = summary.header.metric
    title = f"The {group.name} network" if len(summary.groups) > 1 else "What the numbers say"
    lines = "".join(f"<li>{escape(line)}</li>" for line in findings(group, metric))
    figures = {
        kind: f"<figure>{pictures[kind, group.name]}<figcaption>{caption}</figcaption></figure>"
        for kind, caption in _CAPTIONS.items()
    }
    return f"""{_cards(group, metric)}
<section>
<h2>{escape(title)}</h2>
<ul>{lines}</ul>
</section>
<section>
<h2>What it takes to be as good as random initialisation</h2>
<p>Ratios to what random initialisation took for its full budget; ± is half of the 95 % interval over the seeds.
Leads are in {"points of accuracy" if metric == "accuracy" else "nats a token"}; better is positive.</p>
{_table(cells(group, summary), group)}
{figures["compute"]}
</section>
<section>
<h2>The scores</h2>
{_table(score_cells(group, summary), group)}
{figures["curves"]}
<details><summary>Time, and the score of random initialisation at equal compute</summary>
<p>The ratios on the right are to the score that random initialisation reaches with the compute of the teacher
and of the longest student together, and to what it took for that.</p>
{_table(cost_cells(group, summary), group)}</details>
<details><summary>Learning rates tried</summary>
<p>The score with each rate after a part of the steps, on examples held out of the training data and with a seed that is
not reported. A run has the best rate (*) of the largest such part that isn't longer than itself.</p>
{_table(rate_cells(group, summary), group)}</details>
</section>
"""


def _cards(group: GroupSummary, metric: str) -> str:
    default = default_of(group)
    if default is None or default.scratch is None or default.equal is None:
        return ""
    free, counted = goals(default)
    unit = "points" if metric == "accuracy" else "nats"
    cards = [
        ("FLOPs to scratch's score, teacher free", default.scratch.flops, f"goal at most {FREE_GOAL:g}: {free}"),
        ("The same, teacher counted", default.scratch.flops_counted, f"goal below {COUNTED_GOAL:g}: {counted}"),
    ]
    shown = [(title, ratio(value), note) for title, value, note in cards]
    shown.append(
        ("Lead over scratch, full budgets", lead(default.scratch.lead, metric), f"{unit}, with its longest budget")
    )
    shown.append(("Lead over scratch, equal compute", lead(default.equal.lead, metric), f"{unit}, teacher counted"))
    inner = "".join(
        f'<div class="card"><p>{escape(title)}</p><strong>{_number(value)}</strong><small>{escape(note)}</small></div>'
        for title, value, note in shown
    )
    several = f"<h2>{escape(default.label)}, {escape(group.name)}</h2>"
    return f'<div style="margin-top:26px">{several}</div><div class="cards">{inner}</div>'


def _number(text: str) -> str:
    """The mean large, what follows small."""
    mean, space, rest = text.partition(" ")
    if not mean[-1:].isdigit():
        return escape(text)
    return escape(mean) + (f' <span style="font-size:15px;font-weight:400">{escape(rest)}</span>' if space else "")


def _table(found: Cells, group: GroupSummary) -> str:
    headers, rows = found
    marked = []
    for arm, (label, *rest) in zip(group.arms, rows, strict=True):
        dot = f'<span class="dot" style="background:{look(arm.key, group.name)[0]}"></span>'
        marked.append([dot + escape(label), *(escape(cell) for cell in rest)])
    return html_table([escape(h) for h in headers], marked, range(1, len(headers)))


def _method(header: Header) -> str:
    settings = {"data": header.data, "learning rates": header.rates, "seeds": header.seeds, **header.settings}
    entries = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_plain(value))}</dd>" for name, value in settings.items()
    )
    middle = header.settings.get("teacher_decays") is False
    teacher = " The teacher is the exception: it was grown in the middle of its training." if middle else ""
    return f"""<p>Every run has a learning rate that rises at first and ends at zero at the end of its own budget, a
fraction of the steps that random initialisation gets.{teacher} So each point of a score against a budget is a network
that somebody could have wanted, not a moment in the middle of a longer run. Every arm has the learning rate that was
best for it.</p>
<p>A ratio says how much of the steps or FLOPs of random initialisation an arm needs until its final score is the mean
one of random initialisation: for each seed the first crossing of the line through its final scores, over the logarithm
of the budget; below the smallest budget over the budget itself, from the score before training. A seed that doesn't get
there with its longest budget is counted and shown, and there is no interval then. FLOPs are those of matrix products
and convolutions, forward and backward. Intervals are 95 % t-intervals over the seeds, which differ in the teacher, the
new weights and the order of the data; differences are taken seed by seed. Two arms are tied if the interval of their
difference holds 0, which with few seeds says little more than that they weren't told apart.</p>
<dl>{entries}</dl>"""


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ((key, f"({_plain(v)})" if isinstance(v, Mapping) else _plain(v)) for key, v in value.items())
        return "; ".join(f"{key}: {shown}" for key, shown in inner)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
