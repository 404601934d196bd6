"""Knowledge distillation: a small network learns from a large one, with data or without (docs/distillation.md)."""

from .datafree import DataFreeDistiller, StepReport
from .generators import ImageGenerator, save_image_grid
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
