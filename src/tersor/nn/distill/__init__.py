"""Knowledge distillation: a small network learns from a large one, with data or without.

docs/distillation.md has the sources of the losses, and results.
"""

from .datafree import DataFreeDistiller, StepReport
from .distiller import BatchReport, Distiller, EpochReport, Hint, TeacherLoss
from .generators import ImageGenerator, ImageMixer, save_image_grid
from .losses import (
    AttentionLoss,
    DecoupledKDLoss,
    FeatureLoss,
    KDLoss,
    LogitsLoss,
    MultiTeacherLoss,
    RegressionLoss,
    RelationalLoss,
)
from .student import student_like

__all__ = [
    "AttentionLoss",
    "BatchReport",
    "DataFreeDistiller",
    "DecoupledKDLoss",
    "Distiller",
    "EpochReport",
    "FeatureLoss",
    "Hint",
    "ImageGenerator",
    "ImageMixer",
    "KDLoss",
    "LogitsLoss",
    "MultiTeacherLoss",
    "RegressionLoss",
    "RelationalLoss",
    "StepReport",
    "TeacherLoss",
    "save_image_grid",
    "student_like",
]
