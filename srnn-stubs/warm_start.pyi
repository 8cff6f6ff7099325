from srnn.training.guess.warm_start import *
