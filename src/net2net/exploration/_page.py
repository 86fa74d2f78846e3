"""The page of a search: one HTML file that loads nothing from anywhere."""

from __future__ import annotations

from html import escape
from pathlib import Path

from net2net._version import __version__
from net2net.exploration._baselines import RANDOM, Baseline
from net2net.exploration._drawings import scatter, tree
from net2net.exploration._exploration import Best, Exploration
from net2net.exploration._models import MODEL, PLAN
from net2net.exploration._tried import Tried, grown_in_words
from net2net.report import STYLE, html_table


def write_report(found: Exploration, path: Path | str) -> Path:
    """Write the page of a search to a file, and give back where it is."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(found))
    return file


def page(found: Exploration) -> str:
    """The whole page: the front, baselines, the genealogy, the plan of the best, how to have it again, all trials."""
    best = found.best
    line = found.lineage(best.trial)
    trained = [t for t in found.trials if t.outcome == "trained"]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>net2net explore: {escape(found.study.study_name)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<p class="brand">net2net {escape(__version__)} explore</p>
<h1>Which growth pays?</h1>
<p class="lead">{len(trained)} networks were grown from one teacher and trained on, each from the best one before it
that fits into it.</p>
</header>
{_cards(found, best)}
<section>
<h2>Score against size</h2>
<figure>{scatter(trained, found.front, best.trial.number)}
<figcaption>Each point is a trained network; the line is the front: nothing with as few operations has a better
score. The large point is the best.</figcaption></figure>
{html_table(*_rows(found.front))}
</section>
{_compared(found)}
<section>
<h2>Who grew from whom</h2>
<div class="scroll">{tree(found.trials, [t.number for t in line])}</div>
</section>
<section>
<h2>The best one</h2>
<p>{_story(line)}</p>
<pre>{escape(recipe(best))}</pre>
{_plan(best)}
</section>
<section>
<h2>All trials</h2>
{html_table(*_rows(found.trials))}
</section>
</main>
</body>
</html>
"""


def recipe(best: Best) -> str:
    """The lines that load the best network again: `teacher` and `inputs` are those of the search."""
    lines = ["import net2net, safetensors.torch"]
    if best.plan is None:
        lines += ["model = teacher  # training on was best"]
    else:
        lines += [f"plan = net2net.Plan.load({str(best.folder / PLAN)!r})"]
        lines += ["model = net2net.replay(plan, teacher, inputs).student"]
    return "\n".join([*lines, f"safetensors.torch.load_model(model, {str(best.folder / MODEL)!r})"])


def _cards(found: Exploration, best: Best) -> str:
    first = found.trials[0]
    size = f", {best.trial.cost.parameters:,} parameters" if best.trial.cost else ""
    cards = [
        ("Best score", f"{best.score:.5g}", f"trial {best.trial.number}{size}"),
        ("First trial", "&ndash;" if first.score is None else f"{first.score:.5g}", "the teacher, trained on once"),
        ("Trials", str(sum(t.counts for t in found.trials)), _counts(found.trials)),
        ("Training", f"{sum(t.compute for t in found.trials):.3g}", "FLOPs, of all trials"),
    ]
    inner = "".join(f'<div class="card"><p>{a}</p><strong>{b}</strong><small>{c}</small></div>' for a, b, c in cards)
    return f'<div class="cards">{inner}</div>'


def _counts(trials: tuple[Tried, ...]) -> str:
    names = [t.outcome for t in trials]
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))


def _compared(found: Exploration) -> str:
    """What the baselines scored, and what that says."""
    runs = found.baselines
    if not runs:
        return ""
    trials = {t.number: t for t in found.trials}
    rows = [
        [str(b.of), f"{trials[b.of].score:.5g}", escape(b.start), f"{b.score:.5g}", _verdict(found, trials[b.of], b),
         str(b.rounds), f"{b.compute:.3g}"]
        for b in runs
    ]  # fmt: skip
    headers = ["trial", "its score", "against", "score", "", "rounds", "FLOPs"]
    return f"""<section>
<h2>What inheritance and size gave</h2>
<p>Each network below trained, by the same loop, for at least as many operations as the trial and all its ancestors
together. The teacher's own training is not counted unless that was asked for. One run
each: small differences mean nothing.</p>
{html_table(headers, rows, (0, 1, 3, 5, 6))}
</section>"""


def _verdict(found: Exploration, trial: Tried, baseline: Baseline) -> str:
    gain = found.search.sign * (baseline.score - (trial.score or 0.0))
    what = "inheriting" if baseline.start == RANDOM else "growing"
    return f"{what} was better by {gain:.3g}" if gain > 0 else f"{what} was no better: behind by {-gain:.3g}"


def _rows(trials: tuple[Tried, ...]) -> tuple[list[str], list[list[str]], tuple[int, ...]]:
    headers = ["trial", "of", "grown", "score", "parameters", "FLOPs for a sample", "FLOPs of training", "outcome"]
    rows = [
        [
            str(t.number),
            "teacher" if t.parent is None else str(t.parent),
            f"<code>{escape(grown_in_words(t))}</code>",
            "" if t.score is None else f"{t.score:.5g}",
            f"{t.cost.parameters:,}" if t.cost else "",
            f"{t.cost.flops:.3g}" if t.cost else "",
            f"{t.compute:.3g}" if t.compute else "",
            escape(t.outcome + (f": {t.reason}" if t.reason else "")),
        ]
        for t in trials
    ]
    return headers, rows, (3, 4, 5, 6)


def _story(line: tuple[Tried, ...]) -> str:
    steps = [f"trial {t.number}: {escape(grown_in_words(t))}, {t.score:.5g}" for t in line]
    return "From the teacher: " + "; ".join(steps) + "."


def _plan(best: Best) -> str:
    if best.plan is None:
        return "<p>Nothing grew: the teacher, trained on, was best.</p>"
    return f"<details><summary>The plan, growth by growth</summary><pre>{escape(str(best.plan))}</pre></details>"
