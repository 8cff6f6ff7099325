from srnn.results.metrics import *
