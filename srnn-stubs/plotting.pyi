from srnn.results.plotting import *
