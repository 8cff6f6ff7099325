from srnn.results.diagnostics import *
