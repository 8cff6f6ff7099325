from srnn.training.run import *
