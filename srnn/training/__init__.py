"""What a fit is made of: recipes, losses, the run, and where its weights begin."""

from srnn.training.recipes import check_data, check_validation
from srnn.training.resuming import check_checkpoint
from srnn.training.run import train

__all__ = ["check_checkpoint", "check_data", "check_validation", "train"]
