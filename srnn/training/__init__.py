"""What a fit is made of: recipes, losses, the run, and where its weights begin."""

from srnn.training.loop import check_checkpoint, check_data, check_validation, train

__all__ = ["check_checkpoint", "check_data", "check_validation", "train"]
