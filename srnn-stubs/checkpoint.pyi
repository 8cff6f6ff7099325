from srnn.training.checkpoint import *
