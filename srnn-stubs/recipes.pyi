from srnn.training.recipes import *
