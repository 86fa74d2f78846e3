"""Experiments that compare ways to make a network bigger: the Net2Net paper's, language, late growth."""

from net2net.experiments._chain_file import ChainFile, read_chain
from net2net.experiments._experiment import Arm, Experiment, Group
from net2net.experiments._findings import findings
from net2net.experiments._images import Examples, ImageData, from_datasets, load_images
from net2net.experiments._inception import Inception, InceptionShape
from net2net.experiments._language import Language, LanguageShape
from net2net.experiments._recipes import RECIPES, SIZES
from net2net.experiments._report import write_report
from net2net.experiments._reproduce import reproduce
from net2net.experiments._results import Header, Point, Results, Run, read
from net2net.experiments._runner import carry_out
from net2net.experiments._search import SearchResults, reproduce_search
from net2net.experiments._studies import STUDIES, Order, Outcome
from net2net.experiments._summary import Summary, summarise
from net2net.experiments._tables import cells
from net2net.experiments._tasks import ImageTask, Task, TextTask
from net2net.experiments._text import TextData, load_text

__all__ = [
    "RECIPES",
    "SIZES",
    "STUDIES",
    "Arm",
    "ChainFile",
    "Examples",
    "Experiment",
    "Group",
    "Header",
    "ImageData",
    "ImageTask",
    "Inception",
    "InceptionShape",
    "Language",
    "LanguageShape",
    "Order",
    "Outcome",
    "Point",
    "Results",
    "Run",
    "SearchResults",
    "Summary",
    "Task",
    "TextData",
    "TextTask",
    "carry_out",
    "cells",
    "findings",
    "from_datasets",
    "load_images",
    "load_text",
    "read",
    "read_chain",
    "reproduce",
    "reproduce_search",
    "summarise",
    "write_report",
]
