"""The demo's folder: the page, the figure, the student and the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch

from net2net._version import __version__
from net2net.demo import _data as data
from net2net.demo._experiment import EXPERIMENTS, RATES, TEACHER_RATE, Arm, Arms, Prepared, Settings, parameters, spread
from net2net.demo._figures import curves
from net2net.demo._page import page


def write(output: Path, prepared: Prepared, arms: Arms, settings: Settings) -> dict[str, Any]:
    """Write report.html, curves.svg, the students' weights and results.json; gives back the numbers."""
    results = _results(prepared, arms, settings)
    output.mkdir(parents=True, exist_ok=True)
    (output / "curves.svg").write_text(curves(arms, prepared.teacher_accuracy, titles=True))
    (output / "report.html").write_text(page(prepared, arms, settings))
    for key, student in prepared.students.items():
        safetensors.torch.save_model(student.growth.student, str(output / f"{key}.safetensors"))
    (output / "results.json").write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
    return results


def _results(prepared: Prepared, arms: Arms, settings: Settings) -> dict[str, Any]:
    return {
        "version": __version__,
        "settings": {
            "seed": settings.seed,
            "seeds": settings.seeds,
            "steps": settings.steps,
            "teacher_steps": settings.teacher_steps,
            "rates_tried": list(RATES),
        },
        "images": {
            "training": len(prepared.data.training),
            "validation": len(prepared.data.validation) // data.DRAWS,
            "test": len(prepared.data.test) // data.DRAWS,
            "noise": data.NOISE,
        },
        "teacher": {
            "parameters": parameters(prepared.teacher),
            "accuracy": prepared.teacher_accuracy,
            "rate": TEACHER_RATE,
        },
        "experiments": {key: _experiment(prepared, key, arms[key]) for key in EXPERIMENTS},
    }


def _experiment(prepared: Prepared, key: str, arms: list[Arm]) -> dict[str, Any]:
    student = prepared.students[key]
    return {
        "title": EXPERIMENTS[key].title,
        "student": {"parameters": parameters(student.growth.student), "accuracy_at_step_0": student.accuracy},
        "growth": {"version": __version__, **student.growth.summary()},
        "arms": {arm.key: _arm(arm, arms, prepared.teacher_accuracy) for arm in arms},
    }


def _arm(arm: Arm, arms: list[Arm], teacher: float) -> dict[str, Any]:
    scratch = next(a for a in arms if a.key == "scratch")
    return {
        "label": arm.label,
        "rate": arm.rate,
        "relative_error_at_step_0": arm.relative_error,
        "final_mean": arm.means[-1],
        "final_std": spread(arm.at(-1)),
        "steps_to_teacher": arm.steps_to([teacher] * len(arm.curves)),
        "steps_to_scratch_final": arm.steps_to(scratch.at(-1)),
        "curves": [{"steps": list(c.steps), "accuracy": list(c.accuracy)} for c in arm.curves],
    }
