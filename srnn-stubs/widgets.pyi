from srnn.results.widgets import *
