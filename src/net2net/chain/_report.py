"""The page of a finished chain: score against cumulative FLOPs, and the ledger."""

from __future__ import annotations

from html import escape
from pathlib import Path

from net2net.chain._ledger import Ledger
from net2net.errors import MissingExtraError
from net2net.report import STYLE, html_table, svg

_HEADERS = ("model", "began", "error", "parameters", "steps", "FLOPs", "teacher's FLOPs", "so far", "seconds", "score")


def write_report(ledger: Ledger, path: Path, metric: str) -> None:
    """Write one HTML file that loads nothing from anywhere.

    Raises:
        MissingExtraError: matplotlib isn't installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("reports need matplotlib: install net2net[demo].") from error
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "net2net chain"}):
        figure = Figure(figsize=(8.0, 4.5), layout="constrained")
        panel = figure.subplots()
        panel.plot(ledger.cumulative, [entry.score for entry in ledger.entries], "o-", color="#0067b1")
        for entry, flops in zip(ledger.entries, ledger.cumulative, strict=True):
            panel.annotate(entry.name, (flops, entry.score), textcoords="offset points", xytext=(6, 6))
        panel.set_xlabel("FLOPs until the model was finished, those of its teachers included")
        panel.set_ylabel(metric)
        picture = svg(figure, f"{metric} of every model against cumulative FLOPs")
    rows = [
        [escape(e.name), e.init, "" if e.error is None else f"{e.error:.1e}", f"{e.parameters:,}", f"{e.steps:,}",
         f"{e.flops:.3e}", f"{e.teacher_flops:.3e}", f"{so_far:.3e}", f"{e.seconds:.0f}", f"{e.score:.4f}"]
        for e, so_far in zip(ledger.entries, ledger.cumulative, strict=True)
    ]  # fmt: skip
    path.write_text(f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>net2net: a chain of models</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<p class="brand">net2net chain</p>
<h1>A chain of {len(ledger.entries)} models</h1>
<p class="lead">{ledger.flops:.3e} FLOPs in all, {ledger.seconds:.0f} seconds.</p>
<section>
<figure>{picture}<figcaption>Forward and backward passes of each model, and forward passes of its teacher; evaluation is
not counted.</figcaption></figure>
{html_table(_HEADERS, rows, range(3, 10))}
</section>
</main>
</body>
</html>
""")
