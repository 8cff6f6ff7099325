from srnn.training.guess.variable_projection import *
