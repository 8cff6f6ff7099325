"""What is observed: trajectories, the units they are learnt in, and their files."""

from srnn.data.trajectories import Trajectories

__all__ = ["Trajectories"]
