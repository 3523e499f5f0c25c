"""The main job: the models that ship generate, complete and edit real samples that ship, into one page.

A room is a module `suffuse/demo/<modality>.py` with `demo(report, folder)`. See docs/architecture.md.
"""

from suffuse.demo.report import Report, Watch
from suffuse.demo.run import run_demo

__all__ = ["Report", "Watch", "run_demo"]
