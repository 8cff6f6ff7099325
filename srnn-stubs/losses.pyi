from srnn.training.losses import *
